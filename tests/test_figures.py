"""Figures are valid for Plotly, safe inside a page, and their statistics find what was put in."""

from __future__ import annotations

import json
import math
import random

import plotly.graph_objects as graph_objects
from hypothesis import given
from hypothesis import strategies as st
from sweepkit import figures

NAN = float("nan")


def runs(count: int) -> list[dict[str, object]]:
    """Runs whose accuracy depends on lr, a little on the optimizer, and not at all on the seed."""
    draw = random.Random(1)
    rows: list[dict[str, object]] = []
    for i in range(count):
        lr, optimizer = 10 ** draw.uniform(-5, -1), draw.choice(["Adam", "SGD"])
        accuracy = 1 + math.log10(lr) / 6 + (0.05 if optimizer == "Adam" else 0)
        rows.append({"name": f"run {i}", "lr": lr, "optimizer": optimizer, "seed": draw.random(), "acc": accuracy})
    return rows


def test_every_figure_is_one_that_plotly_knows() -> None:
    rows = runs(30)
    drawn = [
        figures.curves({"a": [(0, 1.0), (1, NAN)], "b": [(0, 2.0)]}, "loss"),
        figures.parallel(rows, ["lr", "optimizer"], "acc", "maximize"),
        figures.parallel([], ["lr"], "acc"),
        figures.importance_figure(figures.importance(rows, ["lr", "optimizer"], "acc"), "acc"),
        figures.importance_figure({}, "acc"),
    ]
    for figure in drawn:
        graph_objects.Figure(figure)  # refuses an unknown property or value


def test_points_that_are_not_finite_are_left_out() -> None:
    trace = figures.curves({"a": [(0, 1.0), (1, NAN), (2, math.inf), (3, 4.0)]}, "loss")["data"][0]
    assert (trace["x"], trace["y"]) == ([0, 3], [1.0, 4.0])


def test_the_best_run_by_the_goal_is_the_thick_line() -> None:
    rows = [{"name": "a", "lr": 0.1, "acc": 0.5}, {"name": "b", "lr": 0.2, "acc": 0.9}, {"name": "c", "acc": NAN}]

    def best(goal: str) -> str:
        return max(
            figures.parallel(rows, ["lr"], "acc", goal)["data"], key=lambda t: t.get("line", {}).get("width", 0)
        )["text"][0]

    assert "<b>b</b>" in best("maximize")
    assert "<b>a</b>" in best("minimize")
    assert "<b>c</b>" not in figures.render(figures.parallel(rows, ["lr"], "acc"))


def test_a_run_without_a_parameter_has_a_gap_in_its_line() -> None:
    rows = [{"name": "a", "lr": 0.1, "wd": 0.5, "acc": 1.0}, {"name": "b", "lr": 0.2, "acc": 2.0}]
    best = figures.parallel(rows, ["lr", "wd"], "acc", "maximize")["data"][-2]
    assert best["y"] == [1.0, None, 1.0, None]


def test_an_axis_is_logarithmic_where_the_values_are() -> None:
    rows = [{"name": i, "lr": 10.0 ** (i % 5 - 5), "dropout": (i + 0.02) / 40, "acc": float(i)} for i in range(40)]
    notes = figures.parallel(rows, ["lr", "dropout"], "acc")["layout"]["annotations"]
    ticks = {axis: [note["text"] for note in notes if note["x"] == axis] for axis in (0, 1)}
    assert ticks[0] == ["1e-05", "0.0001", "0.001", "0.01", "0.1"]
    assert ticks[1][2] == "0.488"


def test_importance_finds_what_matters() -> None:
    found = figures.importance(runs(60), ["lr", "optimizer", "seed", "absent"], "acc")
    assert next(iter(found)) == "lr"
    assert found["lr"].importance > 0.8
    assert found["lr"].correlation > 0.9
    assert found["optimizer=Adam"].correlation > 0 > found["optimizer=SGD"].correlation
    assert abs(sum(entry.importance for entry in found.values()) - 1) < 1e-9


def test_importance_of_too_few_or_broken_runs_is_empty() -> None:
    assert figures.importance(runs(3), ["lr"], "acc") == {}
    assert figures.importance([{"lr": i, "acc": NAN} for i in range(9)], ["lr"], "acc") == {}
    assert figures.importance([{"lr": 1, "acc": i} for i in range(9)], ["lr"], "acc") == {}
    holes = [{"lr": [NAN, None, 0.1, 0.2][i % 4], "acc": float(i)} for i in range(8)]
    assert math.isfinite(figures.importance(holes, ["lr"], "acc")["lr"].correlation)


def test_a_hostile_name_stays_text() -> None:
    name = "</script><script>alert(1)</script>\u2028"
    rows = [{"name": name, name: name, "acc": 1.0}, {"name": "b", name: "x", "acc": 2.0}]
    for figure in (figures.parallel(rows, [name], "acc"), figures.curves({name: [(0, 1.0)]}, name)):
        text = figures.render(figure)
        assert not set(text) & set("<>&\u2028\u2029")
        assert "<script" not in json.dumps(json.loads(text))  # nor as one of Plotly's pseudo-HTML tags


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=600), st.integers(4, 100))
def test_a_thinned_curve_keeps_its_ends_and_extremes(values: list[float], limit: int) -> None:
    points = [(float(i), value) for i, value in enumerate(values)]
    thinned = figures.thin(points, limit)
    assert len(thinned) <= limit or len(points) <= limit
    assert thinned == sorted(thinned)
    if points:
        assert (thinned[0], thinned[-1]) == (points[0], points[-1])
        assert {min(values), max(values)} <= {y for _, y in thinned}


def test_the_script_of_plotly_is_there_offline() -> None:
    assert "plotly.js v" in figures.plotly_script()[:200]
