"""What the live view knows of a sweep and of this command's slots, and how it shows it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, cast

import pytest
from sweepkit.sweeps.agents.crew import Ended
from sweepkit.sweeps.agents.devices import Slot
from sweepkit.sweeps.agents.gauges import Gauge
from sweepkit.sweeps.agents.outcomes import FINISHED, Ending
from sweepkit.sweeps.agents.trial import Trial
from sweepkit.sweeps.agents.view import Live
from sweepkit.sweeps.board import clock
from sweepkit.sweeps.course import parameters, searched
from sweepkit.sweeps.wandb_api import Run, Sweep, SweepRef

PARAMETERS = {
    "lr": {"min": 0.0, "max": 1.0}, "epochs": {"value": 3}, "seed": {"values": [1]},
    "optimizer": {"parameters": {"name": {"values": ["Adam", "SGD"]}, "beta": {"value": 0.9}}},
}  # fmt: skip
SWEEP = Sweep(SweepRef("me", "demo", "s"), "s", "RUNNING", "random", {}, 0, 12, "")
SLOTS = [Slot("gpu:0/0"), Slot("gpu:10/1")]


def run(name: str, state: str, score: Any, seconds: int = 30, **more: Any) -> Run:
    config = {"lr": 0.5, "optimizer": {"name": "SGD"}, "epochs": 3}
    times = ("2026-01-01T00:00:00Z", f"2026-01-01T00:00:{seconds:02}Z")
    return Run("me", "demo", name, name, state, config, {"score": score, "epoch": 2, **more}, *times, "s")


def trial(name: str, slot: Slot, lr: float) -> Trial:
    args = {"lr": lr, "epochs": 3, "optimizer": {"name": "Adam\x1b[2J"}}
    return Trial(name, args, slot, cast(Any, None), cast(Any, None), "")


@pytest.fixture
def view() -> Live:
    view = Live(SLOTS, {"metric": {"name": "score", "goal": "maximize"}, "parameters": PARAMETERS}, None, 12)
    view.started(trial("aa", SLOTS[0], 0.00123456))
    runs = [run("aa", "running", 0.91234), run("bb", "finished", 0.95), run("cc", "finished", {"max": 0.95})]
    view.look(SWEEP, [*runs, run("dd", "crashed", 0.99), run("ee", "finished", math.nan)])
    return view


def test_a_line_a_slot_a_bar_and_the_best(view: Live) -> None:
    lines = view.draw(100, 20)
    assert lines[0].split() == ["slot", "trial", "epoch", "score", "rate", "time"]
    assert lines[1].startswith("gpu:0/0   lr=0.001235 optimizer.name=Adam\\x1b[2J ")
    assert lines[1].split()[-3:-1] == ["2/3", "0.9123"]
    assert lines[2] == "gpu:10/1  waiting"
    assert "4/12 trials · 1 crashed · " in lines[3] and lines[3].endswith(" left")
    # The earlier of two; not what crashed, not NaN.
    assert lines[4] == "best  ▁▁  score=0.95 bb lr=0.5 optimizer.name=SGD"
    assert len(lines) == 5


@pytest.mark.parametrize("width", [80, 50])
def test_a_narrow_terminal_shortens_the_trial_and_nothing_else(view: Live, width: int) -> None:
    lines = view.draw(width, 20)
    assert len(lines) == 5 and all(len(line) <= width for line in lines)
    assert lines[2].startswith("gpu:10/1 ") and "0.9123" in lines[1]
    assert width == 80 or "…" in lines[1]


def test_the_best_value_seen_counts_and_not_the_last(view: Live) -> None:
    view.look(SWEEP, [replace(run("aa", "running", 0.97))])
    view.look(SWEEP, [replace(run("aa", "running", 0.2))])
    assert view.course.best_text().startswith("score=0.97 aa")


def test_only_what_is_searched_is_shown() -> None:
    assert searched(PARAMETERS) == ["lr", "optimizer.name"]
    assert parameters({"lr": 1e-4, "epochs": 3}, searched(PARAMETERS)) == "lr=0.0001"
    assert [clock(seconds) for seconds in (5.9, 61, 3700)] == ["0:05", "1:01", "1:01:40"]


def test_gauges_and_rates_stand_in_the_slots_line(view: Live) -> None:
    view.look(SWEEP, [run("aa", "running", 0.9, samples_per_second=12345.6)])
    row, idle = view.board({"gpu:0/0": Gauge(0.83, 12 * 2**30, 80 * 2**30)}).rows
    assert (row.use, row.memory, row.rate, row.reached) == (0.83, "12.0G", "12.3k samples/s", "2/3")
    assert idle.use is None and not idle.busy


def test_steps_a_second_between_two_looks(view: Live) -> None:
    for step, time in ((10, 100.0), (10, 100.0), (30, 110.0)):
        view.look(SWEEP, [run("aa", "running", 0.9, _step=step, _timestamp=time)])
    assert view.board({}).rows[0].rate == "2 steps/s"
    view.look(SWEEP, [run("aa", "running", 0.9, _step=31, _timestamp=114.0)])
    assert view.board({}).rows[0].rate == "4 s/step"
    view.look(SWEEP, [run("aa", "running", 0.9, _step=3, _timestamp=120.0)])  # it was resumed
    assert view.board({}).rows[0].rate == ""


def test_a_trial_that_is_tried_again_is_one_and_says_so(view: Live) -> None:
    first = trial("xx", SLOTS[1], 0.5)
    view.started(first)
    done, _ = view.progress()
    view.ended(Ended(first, Ending("finished"), retry=2))
    assert view.progress()[0] == done
    again = trial("xx", SLOTS[1], 0.5)
    view.started(again)
    board = view.board({})
    assert board.rows[1].trial.startswith("retry 2: lr=0.5")
    assert board.retries == 2
    view.ended(Ended(again, FINISHED))
    assert view.progress()[0] == done + 1


def test_a_trial_that_is_left_to_other_agents_is_not_done(view: Live) -> None:
    there, _ = view.progress()
    left = trial("yy", SLOTS[1], 0.5)
    view.started(left)
    view.ended(Ended(left, Ending("preempted"), left=True))
    assert view.progress()[0] == there


def test_slots_come_and_go(view: Live) -> None:
    view.look(SWEEP, [], serving=["gpu:1"])
    assert [row.place for row in view.board({}).rows] == ["gpu:1", "gpu:0/0"]  # the one that still runs a trial
    view.look(SWEEP, [], serving=["gpu:10/1", "gpu:1", "gpu:0/0"])
    assert [row.place for row in view.board({}).rows] == ["gpu:1", "gpu:10/1", "gpu:0/0"]


def test_the_time_left_counts_every_host_and_every_way_to_end(view: Live) -> None:
    """Four are over after 30, 30, 30 and 30 s; one runs here and has told 2 of 3 epochs, seven wait for two slots."""
    left = view.board({}).left
    assert left is not None
    assert left.seconds == pytest.approx(4 * 30, abs=1)
    view.look(SWEEP, [run("ff", "running", 0.1, 20), run("gg", "running", 0.1, 20)])  # on other hosts, at 2 of 3 too
    board = view.board({})
    assert board.elsewhere == 2 and board.left is not None
    assert board.left.seconds == pytest.approx(60, abs=11)
    view.look(replace(SWEEP, state="FINISHED"), [])
    board = view.board({})
    assert board.left is not None and board.left.seconds == pytest.approx(10, abs=1)
    view.look(replace(SWEEP, state="PAUSED"), [])
    assert view.board({}).state == "PAUSED"
