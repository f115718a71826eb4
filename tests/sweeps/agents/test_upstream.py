"""Two faults of W&B's own agent, beside sweepkit's: the same sweep, the same programs, the same backend.

`wandb agent` signals only the leader of a trial's process group, so that a grandchild lives on; and it takes a child
that was killed by a signal, as the kernel does it for want of memory, for a success (`poll_result > 0`). If a release
of wandb mends one of them, its test here fails, and the comparison can go.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from .desk import Desk, until

FAMILY = """
    import pathlib, subprocess, sys, time
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])  # a DataLoader's worker, say
    pathlib.Path("grandchild").write_text(str(sleeper.pid))
    pathlib.Path("ready").touch()
    time.sleep(300)
"""
# Always fails, as the kernel's OOM killer would have it. A few trials are enough to see whether anybody minds.
KILLED = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"


@pytest.fixture
def path(monkeypatch: pytest.MonkeyPatch) -> None:
    """`wandb agent` starts whatever `python` is first in the path."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture
def theirs(desk: Desk, path: None) -> Iterator[list[str]]:
    """W&B's agent, as a command without its sweep. What it leaves behind is ended here."""
    yield [sys.executable, "-m", "wandb", "agent"]
    for process in desk.left():
        process.kill()


def start_theirs(desk: Desk, command: list[str]) -> subprocess.Popen[bytes]:
    with (desk.folder / "theirs").open("wb") as output:
        process = subprocess.Popen(command, cwd=desk.folder, stdout=output, stderr=output)
    desk.started.append(process)
    return process


def grandchild_lives(desk: Desk) -> bool:
    pid = int((desk.folder / "grandchild").read_text())
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_wandbs_agent_leaves_the_grandchild(desk: Desk, theirs: list[str]) -> None:
    ref = desk.sweep(FAMILY)
    agent = start_theirs(desk, [*theirs, "--count", "1", ref.path])
    until(desk.there("ready"))
    for _ in range(3):  # wait for it, terminate it, kill it
        agent.send_signal(signal.SIGINT)
        try:
            agent.wait(3)
        except subprocess.TimeoutExpired:
            continue
        break
    agent.wait(30)
    assert grandchild_lives(desk)


def test_sweepkits_does_not(desk: Desk) -> None:
    process = desk.agents(desk.sweep(FAMILY), "--cpu-slots", "1")
    until(desk.there("ready"))
    for _ in range(3):
        process.send_signal(signal.SIGINT)
        try:
            process.wait(1)
        except subprocess.TimeoutExpired:
            continue
        break
    process.wait(30)
    assert not grandchild_lives(desk) and desk.left() == []


def test_wandbs_agent_counts_a_killed_child_as_a_success(desk: Desk, theirs: list[str]) -> None:
    """Four killed trials are none that failed: neither its check for flapping nor its exit code says a word."""
    ref = desk.sweep(KILLED, method="random", parameters={"lr": {"min": 0.0, "max": 1.0}})
    agent = start_theirs(desk, [*theirs, "--count", "4", ref.path])
    assert agent.wait(120) == 0
    output = (desk.folder / "theirs").read_text()
    assert output.count("Cleaning up finished run") == 4, output
    assert "failed runs" not in output


def test_sweepkit_counts_it_as_what_it_is(desk: Desk) -> None:
    ref = desk.sweep(KILLED, method="random", parameters={"lr": {"min": 0.0, "max": 1.0}})
    code, data, words = desk.outcome(desk.agents(ref, "--cpu-slots", "1", "--count", "4", "--retries", "0"))
    assert (code, data["finished"], data["failed"]) == (1, 0, 3), words
    assert words.count("killed by signal 9, SIGKILL, before it called wandb.init()") == 3
    assert data["reason"] == "the first 3 trials all failed, so no more are started"
