"""The best run: by the best value over the history, finished runs only, ties to the earlier, NaN never."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sweepkit.errors import SweepkitError, UsageError
from sweepkit.sweeps.best import Best, at, best, best_in, nothing, winner
from sweepkit.sweeps.metric import Metric
from sweepkit.sweeps.wandb_api import Run, SweepRef, WandbApi

ACCURACY = {"name": "acc", "goal": "maximize"}
NUMBERS = st.one_of(st.floats(), st.integers(-5, 5), st.booleans(), st.none(), st.text(max_size=2))


def grid(metric: dict[str, Any] | None) -> dict[str, Any]:
    parameters = {"lr": {"values": [0.1, 0.2, 0.3, 0.4, 0.5]}}
    return {"method": "grid", "program": "train.py", "parameters": parameters} | ({"metric": metric} if metric else {})


def a_run(name: str = "r", **summary: Any) -> Run:
    return Run("me", "p", name, name, "finished", {}, summary, "", None, "s")


def test_the_best_of_a_real_sweep(record: Any, api: WandbApi) -> None:
    """The highest value on the way wins, not the last one; NaN, infinities, failed runs and later ties do not."""
    ref, ids = record(
        grid(ACCURACY),
        [
            ("falls back", [{"acc": 0.5}, {"acc": 0.9}, {"acc": 0.1}], 0),
            ("ends higher", [{"acc": 0.2}, {"acc": 0.8}], 0),
            ("the same, later", [{"acc": 0.9}], 0),
            ("not finite", [{"acc": math.nan}, {"acc": math.inf}, {"acc": 0.3}], 0),
            ("failed", [{"acc": 0.99}], 1),
        ],
    )
    found = best(api, ref)
    assert (found.run.id, found.run.name, found.value, found.step) == (ids[0], "falls back", 0.9, 1)


def test_why_there_is_no_best_run() -> None:
    """A metric that was never logged is answered with those that were; unfinished runs with their states."""
    ref, metric = SweepRef("me", "p", "s"), Metric("val_acc", "maximize")
    failed = replace(a_run(val_acc=0.5), state="failed")
    finished = a_run(acc=0.5, loss=1.0, note="x", _step=3)
    told = nothing(ref, metric, [failed, finished])
    assert "'val_acc' was never logged" in told.message
    assert told.message.endswith("they logged: acc, loss")
    assert told.exit_code == 1
    assert "has finished (1 failed)" in nothing(ref, metric, [failed]).message
    assert "no finite number" in nothing(ref, metric, [a_run(val_acc=math.nan)]).message


def test_a_sweep_without_runs_or_metric(record: Any, api: WandbApi) -> None:
    ref, _ = record(grid(ACCURACY), [])
    with pytest.raises(SweepkitError, match="no runs yet"):
        best(api, ref)
    ref, _ = record(grid(None), [])
    with pytest.raises(UsageError, match="has no metric"):
        best(api, ref)


@pytest.mark.parametrize(
    ("summary", "value"),
    [({"acc": 0.7}, 0.7), ({"acc": {"max": 0.8, "last": 0.1}}, 0.8), ({"acc": "NaN"}, None), ({"acc": math.inf}, None)],
)
def test_the_summary_answers_where_the_history_has_nothing(summary: dict[str, Any], value: float | None) -> None:
    found = best_in(a_run(**summary), [{"_step": 0, "loss": 1.0}], Metric("acc", "maximize"))
    assert (found and found.value) == value
    assert found is None or found.step is None


@given(st.lists(st.lists(NUMBERS, max_size=4), max_size=4), st.sampled_from(["maximize", "minimize"]))
def test_the_winner_is_the_first_of_the_extreme_finite_values(histories: list[list[Any]], goal: str) -> None:
    metric = Metric("m", goal)
    runs = [(a_run(str(n)), values) for n, values in enumerate(histories)]
    found = [best_in(run, [{"_step": s, "m": v} for s, v in enumerate(values)], metric) for run, values in runs]
    leader = winner([each for each in found if each], metric)
    finite = [
        (value, run, step)
        for run, values in runs
        for step, value in enumerate(values)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    ]
    if not finite:
        assert leader is None
        return
    extreme = (max if goal == "maximize" else min)(value for value, _, _ in finite)
    value, run, step = next(each for each in finite if each[0] == extreme)
    assert leader == Best(run, value, step)


def test_dotted_names_reach_into_nested_values() -> None:
    assert at({"a": {"b": 1}, "a.c": 2}, "a.b") == 1
    assert at({"a": {"b": 1}, "a.c": 2}, "a.c") == 2
    assert at({"a": 3}, "a.b") is None
