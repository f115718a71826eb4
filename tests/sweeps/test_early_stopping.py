"""Status explains early termination: each band, its threshold, and who was stopped and why; for any backend's runs."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sweepkit.hyperband import Bands, note, read_note
from sweepkit.sweeps import early_stopping, status
from sweepkit.sweeps.metric import Metric
from sweepkit.sweeps.wandb_api import Run, WandbApi

CONFIG = {
    "method": "grid",
    "program": "train.py",
    "metric": {"name": "loss"},
    "early_terminate": {"type": "hyperband", "min_iter": 2, "eta": 2},
    "parameters": {"lr": {"values": [0.1, 0.2, 0.3, 0.4]}},
}


RUN = """
import sys, wandb
settings = wandb.Settings(sweep_id=sys.argv[3], x_file_stream_transmit_interval=1, x_disable_stats=True)
run = wandb.init(id=sys.argv[1], project=sys.argv[2], name="d", notes="mine", settings=settings)
run.log({"loss": 9.0})
run.log({"loss": 0.375})
sys.stdin.readline()
run.finish(exit_code=1)
"""


def losses(*values: float) -> list[dict[str, float]]:
    return [{"loss": value} for value in values]


def test_a_run_that_was_stopped_is_explained(record: Any, api: WandbApi, capfd: pytest.CaptureFixture[str]) -> None:
    ref, ids = record(CONFIG, [("a", losses(9, 0.1, 9, 0.3), 0), ("b", losses(9, 0.2), 0), ("c", losses(0.01), 1)])
    agent = api.create_agent(ref, "d")
    (command,) = api.heartbeat(agent, {})
    words = [sys.executable, "-c", RUN, command["run_id"], ref.project, ref.id]
    program = subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not any(each["type"] == "stop" for each in api.heartbeat(agent, {command["run_id"]: True})):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    program.communicate(b"go on\n")
    run = api.run(f"{ref.project}/{command['run_id']}")
    assert run.notes.splitlines()[0] == "mine"
    now = status.status(api, ref)
    assert now["early_stopping"] == {
        "bands": [
            {"iteration": 2, "runs": 3, "threshold": 0.2, "stopped": 1},
            {"iteration": 4, "runs": 1, "threshold": 0.3, "stopped": 0},
        ],
        "stops": [
            {"id": run.id, "name": "d", "iteration": 2, "value": 0.375, "threshold": 0.2, "exact": True},
        ],
    }  # fmt: skip
    command_line = [sys.executable, "-m", "sweepkit", "status", ref.path]
    shown = subprocess.run(command_line, capture_output=True, text=True, check=True).stdout
    assert [line.split() for line in shown.split("\n\n")[-1].splitlines()] == [
        ["stopped", "early", "iteration", "loss", "to", "reach"], ["d", "2", "0.375", "0.2"],
    ]  # fmt: skip
    asked = subprocess.run([*command_line, "--format", "json"], capture_output=True, text=True, check=True).stdout
    assert json.loads(asked)["early_stopping"] == now["early_stopping"]


def ended(name: str, notes: str = "", stopped: bool = False) -> Run:
    return Run("e", "p", name, name, "killed", {}, {}, "", None, "s", (), notes, stopped)


def test_where_no_reason_was_written_down_it_is_judged_by_what_is_known_now() -> None:
    """As on W&B's servers: a run that was asked to stop and misses the threshold; others a person has stopped."""
    runs = [
        ended("good"),
        ended("bad", "my own words", stopped=True),
        ended("fine", stopped=True),
        ended("unseen", stopped=True),
    ]
    values = {"good": {2: 0.9, 6: 0.95}, "bad": {2: 0.4}, "fine": {2: 0.9}}
    found = early_stopping.explained(Bands((2, 6), 3), Metric("acc", "maximize"), runs, values)
    assert found["bands"] == [
        {"iteration": 2, "runs": 3, "threshold": 0.9, "stopped": 1},
        {"iteration": 6, "runs": 1, "threshold": 0.95, "stopped": 0},
    ]
    (stop,) = found["stops"]
    assert (stop["id"], stop["iteration"], stop["value"], stop["threshold"], stop["exact"]) == (
        "bad",
        2,
        0.4,
        0.9,
        False,
    )
    assert early_stopping.lines(found, "acc")[-1].split() == ["bad", "2", "0.4", "0.9", "(now)"]


def test_a_long_list_is_cut() -> None:
    runs = [ended(f"r{n}", note("loss", 3, float(n), 0.5)) for n in range(15)]
    found = early_stopping.explained(Bands((3,)), Metric("loss"), runs, {each.id: {3: 1.0} for each in runs})
    assert found["bands"][0]["stopped"] == len(found["stops"]) == 15
    lines = early_stopping.lines(found, "loss")
    assert lines[5].split() == ["r14", "3", "14", "0.5"] and lines[-1] == "… and 5 more; --format json has all"
    assert early_stopping.lines(None, "loss") == early_stopping.lines({"bands": [], "stops": []}, "loss") == []


@pytest.mark.parametrize(
    "config", [{}, {"metric": {"name": "x"}}, {"metric": {"name": "x"}, "early_terminate": {"type": "median"}}]
)
def test_a_sweep_without_it_has_nothing_to_explain(config: dict[str, Any]) -> None:
    assert early_stopping.bands_in(config) is None


@given(
    metric=st.text(max_size=20),
    band=st.integers(1, 2**53),
    value=st.floats(allow_nan=False, allow_infinity=False),
    threshold=st.floats(allow_nan=False, allow_infinity=False),
    around=st.text(max_size=30),
)
def test_a_note_is_read_back(metric: str, band: int, value: float, threshold: float, around: str) -> None:
    line = note(metric, band, value, threshold)
    assert "\n" not in line
    assert read_note(f"{around}\n{line}\n{around}") == (band, value, threshold) == read_note(line)
    assert read_note(around) is None


def test_words_that_only_look_like_a_note_are_none() -> None:
    assert read_note("stopped early: loss much at iteration 3, where little was to be reached") is None
    assert read_note(f"stopped early: loss 1 at iteration {'9' * 5000}, where 2 was to be reached") is None
