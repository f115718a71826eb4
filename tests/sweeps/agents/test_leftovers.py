"""What an agent that was killed together with its guards left is ended by the next agents on the host."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from sweepkit.sweeps.agents import leftovers

IDLE = [sys.executable, "-c", "import time; time.sleep(99)"]
AGENT = f"""
import os, subprocess, sys, time
from sweepkit.sweeps.agents import leftovers
os.environ[leftovers.MARK] = leftovers.new_mark()
for _ in range(2):
    print(subprocess.Popen({IDLE!r}, start_new_session=True).pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def agent() -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A process that marks as agents do, and two processes of its trial, each in a session of its own."""
    process = subprocess.Popen([sys.executable, "-c", AGENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pids = [int(process.stdout.readline()) for _ in range(2)]
    yield process, pids
    process.kill()
    process.wait()
    for pid in filter(lives, pids):
        os.kill(pid, signal.SIGKILL)


def lives(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] != b"Z"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="marks tell their process by /proc")
def test_only_what_dead_agents_left_is_ended(
    agent: tuple[subprocess.Popen[str], list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leftovers, "GUARDED", 0.1)
    process, pids = agent
    leftovers.finish()
    assert all(map(lives, pids)), "its agent lives"
    process.kill()
    process.wait()
    leftovers.finish()
    deadline = time.monotonic() + 10
    while any(map(lives, pids)):
        assert time.monotonic() < deadline


def test_a_mark_tells_its_process_and_no_other() -> None:
    mine, again = leftovers.new_mark(), leftovers.new_mark()
    assert mine != again and len(mine) == leftovers.LENGTH and int(mine[:8], 16) == os.getpid()
    assert not leftovers._is_dead(mine)
    assert leftovers._is_dead(f"{os.getpid():08x}" + "0" * 24), "another process had the number before"
    for no_mark in ("0" * 32, "x" * 32):
        assert not leftovers._is_dead(no_mark)
