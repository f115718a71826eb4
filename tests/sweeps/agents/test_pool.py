"""Agents at work: the real command, the real backend, the real wandb client, real signals."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from sweepkit.home import read_server
from sweepkit.sweeps.backends import Backend
from sweepkit.sweeps.wandb_api import WandbApi

from .desk import Desk, until

GOOD = """
    import wandb
    run = wandb.init()
    for epoch in range(2):
        run.log({"epoch": epoch, "score": run.config.lr * (epoch + 1)})
    run.finish()
"""
SLOW = """
    import pathlib, signal, sys, time
    import wandb
    run = wandb.init()
    def save(*_):
        pathlib.Path(f"{run.id}.saved").touch()
        run.mark_preempting()
        run.finish(exit_code=1)
        sys.exit(1)
    signal.signal(signal.SIGTERM, save)
    run.log({"score": 1})
    pathlib.Path(f"{run.id}.ready").touch()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not pathlib.Path("finish").exists():
        time.sleep(0.05)
    run.finish()
"""


def test_a_sweep_runs_to_its_end_and_every_step_is_told(desk: Desk) -> None:
    ref = desk.sweep(GOOD)
    code, data, words = desk.outcome(desk.agents(ref, "--cpu-slots", "2"))
    assert (code, data["finished"], data["failed"]) == (0, 3, 0), words
    runs = desk.api.runs(ref)
    assert sorted((run.state, run.config["lr"], run.config["fixed"]) for run in runs) == [
        ("finished", 0.1, 7), ("finished", 0.2, 7), ("finished", 0.3, 7)]  # fmt: skip
    assert "started on cpu:0: lr=0." in words and "started on cpu:1: lr=0." in words
    assert "fixed=" not in words  # only what was searched is worth a person's eyes
    assert "(best 0.6) 3/3" in words and words.endswith("trials: 3 finished\n")
    assert desk.api.sweep(ref).state == "FINISHED"


def test_a_program_that_always_fails_is_stopped_with_its_last_words(desk: Desk) -> None:
    ref = desk.sweep("raise SystemExit('no data here')", parameters={"lr": {"min": 0.0, "max": 1.0}}, method="random")
    code, data, words = desk.outcome(desk.agents(ref, "--cpu-slots", "1"))
    assert (code, data["finished"], data["failed"]) == (1, 0, 3)
    assert (
        "failed on cpu:0 after 0:00 (exit code 1, before it called wandb.init())" in words
        and "  | no data here" in words
    )
    assert "the first 3 trials all failed, so no more are started" in words


KILLED = """
    import os, signal
    import wandb
    run = wandb.init()
    run.log({"score": 1})
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("isolation", ["process", "warm"])
def test_a_killed_trial_has_crashed_and_its_agent_is_gone_by_the_end(desk: Desk, isolation: str) -> None:
    ref = desk.sweep(KILLED)
    options = ("--cpu-slots", "1", "--count", "1", "--retries", "0", "--isolation", isolation)
    code, data, words = desk.outcome(desk.agents(ref, *options))
    assert (code, data["failed"]) == (1, 1), words
    assert [run.state for run in desk.api.runs(ref)] == ["crashed"]
    assert [agent["state"] for agent in desk.api.agents(ref)] == ["FINISHED"]
    assert desk.api.sweep(ref).state == "RUNNING"  # there are two more for others


def test_headers_that_no_client_can_read_are_told_before_a_trial(desk: Desk) -> None:
    ref = desk.sweep(GOOD)
    process = desk.agents(ref, WANDB__EXTRA_HTTP_HEADERS="Team: a")
    code, _, words = desk.outcome(process)
    assert code == 2 and "WANDB__EXTRA_HTTP_HEADERS in the environment is no JSON object" in words
    assert desk.api.runs(ref) == []


def test_a_trial_that_records_nothing_has_failed(desk: Desk) -> None:
    code, data, words = desk.outcome(desk.agents(desk.sweep("print('done')"), "--count", "1"))
    assert (code, data["finished"], data["failed"]) == (1, 0, 1)
    assert "the program must call wandb.init()" in words


def test_a_folder_for_output_that_cannot_be_made_is_told(desk: Desk, server: Any) -> None:
    ref = desk.sweep(GOOD)
    (server.home / "trials").mkdir(exist_ok=True)
    (server.home / "trials" / ref.id).touch()  # a file stands where the sweep's folder would be
    code, _, words = desk.outcome(desk.agents(ref, "--cpu-slots", "1"))
    assert code == 1 and "error: a trial cannot be started on cpu:0: File exists" in words
    assert "SWEEPKIT_HOME" in words and "Traceback" not in words


def test_one_press_lets_running_trials_finish(desk: Desk) -> None:
    process = desk.agents(desk.sweep(SLOW), "--cpu-slots", "2")
    until(desk.there("*.ready", 2))
    process.send_signal(signal.SIGINT)
    until(lambda: "2 running trials may finish, no more are started. Press Ctrl-C again" in desk.words())
    (desk.folder / "finish").touch()
    code, data, words = desk.outcome(process)
    assert (code, data["finished"], data["interrupted"]) == (130, 2, True), words


def test_a_second_press_stops_trials_which_may_save(desk: Desk) -> None:
    ref = desk.sweep(SLOW)
    process = desk.agents(ref, "--cpu-slots", "1")
    until(desk.there("*.ready"))
    for _ in range(2):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
    code, data, words = desk.outcome(process)
    assert (code, data["stopped"], data["failed"]) == (130, 1, 0), words
    assert desk.there("*.saved")() and "Press Ctrl-C again to kill" in words
    assert [run.state for run in desk.api.runs(ref)] == ["preempted"]


def test_a_third_press_kills_what_does_not_listen(desk: Desk) -> None:
    process = desk.agents(desk.sweep("import signal\nsignal.signal(15, signal.SIG_IGN)\n" + """
import pathlib, time
pathlib.Path("deaf.ready").touch()
time.sleep(99)
"""), "--cpu-slots", "1")  # fmt: skip
    until(desk.there("*.ready"))
    for _ in range(3):
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
    assert desk.outcome(process, 10)[0] == 130


def test_a_killed_command_leaves_no_process(desk: Desk) -> None:
    process = desk.agents(desk.sweep(SLOW), "--cpu-slots", "2")
    until(desk.there("*.ready", 2))
    process.kill()
    until(lambda: desk.left() == [])


def test_a_cancelled_sweep_stops_its_trials(desk: Desk) -> None:
    ref = desk.sweep(SLOW)
    process = desk.agents(ref, "--cpu-slots", "1")
    until(desk.there("*.ready"))
    desk.api.set_state(ref, "CANCELED")
    code, data, words = desk.outcome(process)
    assert (code, data["stopped"], data["failed"]) == (0, 1, 0), words


def test_trials_outlive_a_backend_that_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("SWEEPKIT_HOME", str(home))
    backend = own_backend(home)
    note = json.loads((home / "server.json").read_text())
    for name, value in {"BASE_URL": note["url"], "API_KEY": note["key"], "DIR": str(tmp_path)}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    desk = Desk(tmp_path, WandbApi(Backend("embedded", note["url"], note["key"], note["entity"])))
    process = desk.agents(desk.sweep(SLOW), "--cpu-slots", "1", "--count", "1", "--backend", "wandb")
    try:
        until(desk.there("*.ready"))
        backend.kill()
        backend.wait()
        until(lambda: "is out of reach: connection refused; running trials go on" in desk.words())
        backend = own_backend(home, note["url"].rpartition(":")[2])
        until(lambda: "the backend answers again after" in desk.words())
        (tmp_path / "finish").touch()
        code, data, words = desk.outcome(process)
        assert (code, data["finished"]) == (0, 1), words
    finally:
        process.kill()
        backend.kill()
        backend.wait()


def own_backend(home: Path, port: str = "0") -> subprocess.Popen[bytes]:
    """A backend of the test's own, which it may kill and start again at the same address."""
    command = [sys.executable, "-m", "sweepkit.backend", "--home", str(home), "--port", port]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: (note := read_server()) is not None and note.pid == process.pid)
    return process


def test_a_terminal_shows_a_live_table_that_leaves_nothing_behind(desk: Desk) -> None:
    terminal, inside = pty.openpty()
    unhurried = GOOD + "    import time; time.sleep(3)\n"  # the view looks at the runs every two seconds
    process = desk.agents(desk.sweep(unhurried), "--cpu-slots", "1", "--count", "2", stderr=inside)
    os.close(inside)
    seen = b""
    while process.poll() is None or select.select([terminal], [], [], 0)[0]:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                seen += os.read(terminal, 65536)
            except OSError:  # the other end was closed
                break
    text = seen.decode()
    assert process.wait() == 0
    assert "lr=0." in text and "0/2 trials" in text and "slot" in text
    assert "1/2 trials" in text and "best  score=" in text and " left" in text
    rows = text.replace("\x1b[J", "").rstrip().splitlines()
    assert rows[-1].endswith("trials: 2 finished")
