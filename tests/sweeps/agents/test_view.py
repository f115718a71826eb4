"""What the live table shows, at the widths that terminals have."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, cast

import pytest
from rich.console import Console
from sweepkit.sweeps.agents.devices import Slot
from sweepkit.sweeps.agents.trial import Trial
from sweepkit.sweeps.agents.view import Live, clock, parameters, searched
from sweepkit.sweeps.wandb_api import Run, Sweep, SweepRef

PARAMETERS = {
    "lr": {"min": 0.0, "max": 1.0}, "epochs": {"value": 3}, "seed": {"values": [1]},
    "optimizer": {"parameters": {"name": {"values": ["Adam", "SGD"]}, "beta": {"value": 0.9}}},
}  # fmt: skip
SWEEP = Sweep(SweepRef("me", "demo", "s"), "s", "RUNNING", "random", {}, 0, 12, "")


def run(name: str, state: str, score: Any) -> Run:
    config = {"lr": 0.5, "optimizer": {"name": "SGD"}}
    return Run("me", "demo", name, name, state, config, {"score": score, "epoch": 2}, "", None, "s")


def trial(name: str, slot: Slot, lr: float) -> Trial:
    args = {"lr": lr, "epochs": 3, "optimizer": {"name": "Adam\x1b[2J"}}
    return Trial(name, args, slot, cast(Any, None), cast(Any, None), "")


@pytest.fixture
def view() -> Live:
    slots = [Slot("gpu:0/0"), Slot("gpu:10/1")]
    view = Live(slots, {"metric": {"name": "score", "goal": "maximize"}, "parameters": PARAMETERS}, None, 12)
    view.started(trial("aa", slots[0], 0.00123456))
    runs = [run("aa", "running", 0.91234), run("bb", "finished", 0.95), run("cc", "finished", {"max": 0.95})]
    view.look(SWEEP, [*runs, run("dd", "crashed", 0.99), run("ee", "finished", math.nan)])
    return view


def drawn(view: Live, width: int) -> list[str]:
    console = Console(width=width, color_system=None, record=True, file=__import__("io").StringIO())
    console.print(view.render())
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_a_line_a_slot_a_bar_and_the_best(view: Live) -> None:
    lines = drawn(view, 100)
    assert lines[0].split() == ["slot", "trial", "epoch", "score", "time"]
    assert lines[1].startswith("gpu:0/0   lr=0.001235 optimizer.name=Adam\\x1b[2J ")
    assert lines[1].split()[-3:-1] == ["2", "0.9123"]
    assert lines[2] == "gpu:10/1  waiting"
    assert lines[3].endswith("4/12 trials")
    assert lines[4] == "best  score=0.95 bb lr=0.5 optimizer.name=SGD"  # the earlier of two; not what crashed, not NaN
    assert len(lines) == 5


@pytest.mark.parametrize("width", [80, 50])
def test_a_narrow_terminal_shortens_the_trial_and_nothing_else(view: Live, width: int) -> None:
    lines = drawn(view, width)
    assert len(lines) == 5 and all(len(line) <= width for line in lines)
    assert lines[2].startswith("gpu:10/1 ") and "0.9123" in lines[1]
    assert width == 80 or "…" in lines[1]


def test_the_best_value_seen_counts_and_not_the_last(view: Live) -> None:
    view.look(SWEEP, [replace(run("aa", "running", 0.97))])
    view.look(SWEEP, [replace(run("aa", "running", 0.2))])
    assert view.best_text().startswith("score=0.97 aa")


def test_only_what_is_searched_is_shown() -> None:
    assert searched(PARAMETERS) == ["lr", "optimizer.name"]
    assert parameters({"lr": 1e-4, "epochs": 3}, searched(PARAMETERS)) == "lr=0.0001"
    assert [clock(seconds) for seconds in (5.9, 61, 3700)] == ["0:05", "1:01", "1:01:40"]
