"""Trials that go wrong, in every way that a program can: real processes, the real client, the real backend."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from sweepkit.sweeps.agents.devices import Slot, slots
from sweepkit.sweeps.agents.options import AgentOptions
from sweepkit.sweeps.agents.pool import run_agents
from sweepkit.sweeps.backends import Backend
from sweepkit.sweeps.wandb_api import SweepRef, WandbApi

from ...conftest import start_server, stop_server
from .conftest import Host
from .desk import Desk, until

ONE: dict[str, Any] = {"parameters": {"lr": {"values": [0.5]}}}
STEPS = """
    import os, pathlib, signal, time
    import wandb
    run = wandb.init()
    resumed = pathlib.Path(f"{run.id}.tried").exists()
    pathlib.Path(f"{run.id}.tried").touch()
    for step in range(run.step, 6):
        run.log({"score": step, "resumed": resumed}, step=step)
        if step == 2 and not resumed:
            FAULT
    run.finish()
"""


def steps(desk: Desk, ref: SweepRef) -> list[int]:
    (run,) = desk.api.runs(ref)
    return [row["_step"] for row in desk.api.history(run)]


def test_a_killed_trial_goes_on_under_its_id_without_a_doubled_or_missing_step(desk: Desk) -> None:
    ref = desk.sweep(STEPS.replace("FAULT", "os.kill(os.getpid(), signal.SIGKILL)"), **ONE)
    code, data, words = desk.outcome(desk.agents(ref, "--cpu-slots", "2"))
    assert (code, data["finished"], data["failed"]) == (0, 1, 0), words
    assert "failed on cpu:" in words and "(killed by signal 9, SIGKILL); it is tried again (retry 1)" in words
    (run,) = desk.api.runs(ref)
    assert run.state == "finished" and run.summary["resumed"] and steps(desk, ref) == [0, 1, 2, 3, 4, 5]


def test_wandbs_preemption_goes_on_as_well(desk: Desk) -> None:
    ref = desk.sweep(
        STEPS.replace("FAULT", "run.mark_preempting(); run.finish(exit_code=1); raise SystemExit(1)"), **ONE
    )
    code, data, words = desk.outcome(desk.agents(ref, "--cpu-slots", "1", "--retries", "0"))
    assert (code, data["finished"], data["failed"], data["stopped"]) == (0, 1, 0, 0), words
    assert "(it said so, and goes on later)" in words and steps(desk, ref) == [0, 1, 2, 3, 4, 5]


def test_an_exit_code_is_tried_again_only_where_that_is_asked_for(desk: Desk) -> None:
    program = "import sys\nprint('no luck')\nsys.exit(7)"
    code, data, words = desk.outcome(desk.agents(desk.sweep(program, **ONE), "--cpu-slots", "1"))
    assert (code, data["failed"]) == (1, 1) and "tried again" not in words
    asked = ("--retry-on", "exit:7", "--retries", "1")
    code, data, words = desk.outcome(desk.agents(desk.sweep(program, **ONE), "--cpu-slots", "1", *asked))
    assert (code, data["failed"]) == (1, 1), words
    assert words.count("it is tried again (retry 1)") == 1 and words.count("| no luck") == 3  # the log goes on


def test_a_trial_that_takes_too_long_and_ignores_sigterm_is_killed_and_has_failed(desk: Desk) -> None:
    ref = desk.sweep("import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(99)", **ONE)
    process = desk.agents(ref, "--cpu-slots", "1", "--trial-timeout", "1s", WANDB_AGENT_KILL_DELAY="1")
    code, data, words = desk.outcome(process, 30)
    assert (code, data["failed"]) == (1, 1) and "(it took longer than 1 s)" in words and desk.left() == []


def test_a_timed_out_trial_that_says_it_is_preempted_is_not_handed_out_again(desk: Desk) -> None:
    program = """
        import signal, sys, time
        import wandb
        run = wandb.init()
        def save(*_):
            run.mark_preempting()
            run.finish(exit_code=143)
            sys.exit(143)
        signal.signal(signal.SIGTERM, save)
        time.sleep(99)
    """
    ref = desk.sweep(program, **ONE)
    process = desk.agents(ref, "--cpu-slots", "1", "--count", "1", "--trial-timeout", "10")
    code, data, words = desk.outcome(process)
    assert (code, data["failed"], data["stopped"]) == (1, 1, 0), words
    assert words.count(" started on ") == 1
    (run,) = desk.api.runs(ref)
    assert desk.api.was_stopped(ref, run.id)  # such a run waits for nobody


def test_a_person_stops_a_run_and_it_is_told_in_time(desk: Desk) -> None:
    program = """
        import pathlib, signal, sys, time
        import wandb
        run = wandb.init()
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
        pathlib.Path("ready").touch()
        time.sleep(99)
    """
    ref = desk.sweep(program, **ONE)
    process = desk.agents(ref, "--cpu-slots", "1")
    until(desk.there("ready"))
    (run,) = desk.api.runs(ref)
    desk.api.stop_run(ref, run.id)
    code, data, words = desk.outcome(process, 20)
    assert (code, data["stopped"], data["failed"]) == (0, 1, 0) and "early termination, or by a person" in words


def test_a_bad_slot_is_taken_out_and_its_trials_run_elsewhere_whatever_the_wall_clock_does(
    desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slot is bad by its environment. The clock on the wall jumps to and fro, which no deadline may notice."""
    program = """
        import os, time
        if os.environ.get("BAD"):
            raise SystemExit("the GPU has fallen off the bus")
        import wandb
        run = wandb.init()
        run.log({"score": run.config.lr})
        run.finish()
    """
    ref = desk.sweep(program, parameters={"lr": {"values": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]}})
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + random.uniform(-1e7, 1e7))
    places = [Slot("good", {"CUDA_VISIBLE_DEVICES": ""}), Slot("bad", {"CUDA_VISIBLE_DEVICES": "", "BAD": "1"})]
    outcome = run_agents(desk.api, ref, places, AgentOptions())
    monkeypatch.undo()
    words = capsys.readouterr().err
    assert (outcome.finished, outcome.failed, outcome.exit_code) == (6, 0, 0), words
    assert "bad is taken out: its last 3 trials failed while others did not (exit code 1" in words
    assert "1 slot left" in words and "| the GPU has fallen off the bus" in words


def test_output_without_end_and_a_full_pipe_do_not_hold_a_trial(desk: Desk, server: Any) -> None:
    program = """
        import os
        import wandb
        run = wandb.init(settings=wandb.Settings(console="off"))
        for _ in range(64):
            os.write(1, b"x" * 2**20)
        run.log({"score": 1})
        run.finish()
    """
    ref = desk.sweep(program, **ONE)
    code, data, words = desk.outcome(desk.agents(ref, "--cpu-slots", "1"))
    assert (code, data["finished"]) == (0, 1), words
    (log,) = (server.home / "trials" / ref.id).glob("*.log")
    assert log.stat().st_size < 3.1 * 2**20


def test_a_host_that_sleeps_finds_its_trial_moved_and_leaves_it_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All processes of one agent are stopped for longer than the lease; another agent finishes the trial meanwhile."""
    process, server = start_server(tmp_path / "home", SWEEPKIT_AGENT_LOST_AFTER="3")
    for name, value in {**server.environment(), "WANDB_DIR": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    desk = Desk(tmp_path, WandbApi(Backend("embedded", server.url, server.key, server.entity)))
    program = STEPS.replace("FAULT", "pathlib.Path('ready').touch(); time.sleep(99)")
    ref = desk.sweep(program, **ONE)
    try:
        sleeper = desk.agents(ref, "--cpu-slots", "1", name="sleeper.")
        until(desk.there("ready"))
        asleep = [each for each in desk.left() if each.pid != process.pid]
        for each in asleep:
            each.suspend()
        other = desk.agents(ref, "--cpu-slots", "1", name="other.")
        code, data, words = desk.outcome(other, 60, "other.")
        assert (code, data["finished"]) == (0, 1), words
        for each in asleep:
            each.resume()
        code, data, words = desk.outcome(sleeper, 60, "sleeper.")
        assert (code, data["stopped"], data["finished"]) == (0, 1, 0), words
        assert "another agent has it, as this one had not been heard of" in words
        (run,) = desk.api.runs(ref)
        assert run.state == "finished" and steps(desk, ref) == [0, 1, 2, 3, 4, 5]
        assert [each for each in asleep if each.is_running() and each.status() != psutil.STATUS_ZOMBIE] == []
    finally:
        for each in desk.left():
            os.kill(each.pid, signal.SIGCONT)
        for each in desk.started:
            each.kill()
            each.wait()
        stop_server(process)


def test_a_program_that_opens_two_runs_is_told_that_they_are_one(desk: Desk) -> None:
    program = """
        import wandb
        for name in ("first", "second"):
            run = wandb.init(id=name, settings=wandb.Settings(x_disable_stats=True, console="off"))
            run.log({name: 1})
            run.finish()
    """
    ref = desk.sweep(program, parameters={"lr": {"values": [0.1, 0.2]}})
    code, data, words = desk.outcome(desk.agents(ref, "--cpu-slots", "1"))
    assert (code, data["finished"]) == (0, 2) and len(desk.api.runs(ref)) == 2
    assert words.count("called wandb.init() 2 times. In a sweep each call opens the trial's own run") == 1


def test_a_gpu_that_disappears_is_taken_out_and_its_trial_goes_elsewhere(
    desk: Desk, host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    nvml = host("GPU-aa", "GPU-bb")
    program = """
        import os, pathlib, time
        if os.environ["CUDA_VISIBLE_DEVICES"] == "1":
            pathlib.Path("gone").touch()
            time.sleep(1)  # in which the test takes the card away
            raise SystemExit("CUDA error: unspecified launch failure")
        import wandb
        run = wandb.init()
        run.log({"score": 1})
        run.finish()
    """
    ref = desk.sweep(program)
    thief = threading.Thread(target=lambda: (until(desk.there("gone")), setattr(nvml.cards[1], "fault", "GPU is lost")))
    thief.start()
    outcome = run_agents(desk.api, ref, slots(AgentOptions()), AgentOptions())
    thief.join()
    words = capsys.readouterr().err
    assert (outcome.finished, outcome.failed) == (3, 0), words
    assert "gpu:1 is taken out: GPU 1 does not answer: GPU is lost; 1 slot left" in words
