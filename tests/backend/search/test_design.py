"""Where a search begins: in the middle, then spread as believed, then where its model says, also at the edge."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sweepkit.backend.search import MemoryLedger, RunWithMetrics, make, settings
from sweepkit.backend.search.axes import axes, decoded
from sweepkit.backend.search.bayes import BayesEngine
from sweepkit.backend.search.design import belief, spread, start
from sweepkit.space import parse

SPACE: dict[str, dict[str, Any]] = {
    "dropout": {"min": 0.0, "max": 0.5},
    "layers": {"min": 1, "max": 5},
    "lr": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-1},
    "optimizer": {"values": ["adam", "sgd", "rmsprop"]},
    "width": {"values": [64, 16, 32]},
}
AXES = axes(parse(SPACE).parameters)


def begin(seed: int, count: int = 64) -> list[dict[str, Any]]:
    return decoded(AXES, start(AXES, count, np.random.default_rng(seed)))


def test_the_first_point_is_the_middle_and_its_categories_are_drawn() -> None:
    firsts = [begin(seed)[0] for seed in range(60)]
    drawn = Counter(first.pop("optimizer") for first in firsts)
    assert set(drawn) == {"adam", "sgd", "rmsprop"}
    for first in firsts:
        assert first == {"dropout": 0.25, "layers": 3, "lr": pytest.approx(1e-3), "width": 32}


def test_the_others_are_spread_as_believed() -> None:
    (axis,) = axes(parse({"x": {"min": 0.0, "max": 1.0}}).parameters)
    points = np.concatenate([start([axis], 64, np.random.default_rng(seed))[1:, 0] for seed in range(40)])
    assert stats.kstest(points, stats.beta(1.5, 1.5).cdf).pvalue > 0.01
    assert stats.kstest(points, stats.uniform.cdf).pvalue < 0.01


def test_categories_are_drawn_as_often_as_meant() -> None:
    found = axes(parse({"kind": {"values": ["a", "b"], "probabilities": [0.25, 0.75]}}).parameters)
    points = np.concatenate([start(found, 64, np.random.default_rng(seed)) for seed in range(40)])
    drawn = Counter(point["kind"] for point in decoded(found, points))
    assert 0.24 < drawn["a"] / drawn.total() < 0.26


def test_belief_is_highest_in_the_middle_and_knows_no_categories() -> None:
    rng = np.random.default_rng(0)
    points = spread(AXES, 256, rng)
    assert belief(AXES, start(AXES, 2, rng)[:1]) == 0
    assert (belief(AXES, points) <= 0).all()
    others = points.copy()
    category = [axis.is_category for axis in AXES].index(True)
    others[:, category] = (points[:, category] + 1) % 3
    assert (belief(AXES, others) == belief(AXES, points)).all()
    (axis,) = axes(parse({"x": {"min": 0.0, "max": 1.0}}).parameters)
    end, near_end, inner, middle = belief([axis], np.array([[1.0], [0.98], [0.9], [0.5]]))
    assert -np.inf < end == near_end < inner < middle


@pytest.mark.parametrize(("begun", "over", "is_asked"), [(8, 2, False), (8, 3, True), (3, 3, False), (4, 4, True)])
def test_the_model_is_asked_after_a_few_runs(begun: int, over: int, is_asked: bool) -> None:
    config = {"method": "bayes", "metric": {"name": "loss", "goal": "minimize"}, "parameters": SPACE}
    engine = BayesEngine(settings.read(config), "few", MemoryLedger(settings.read(config)))
    asked = list(engine.ask_n_runs(begun) or ())
    for n, run in enumerate(asked[:over]):
        engine.tell_run(run.run_id, RunWithMetrics(run.config, "finished", run.run_id, (float(n),)))
    assert (engine.problem() is not None) == is_asked


def test_a_search_begins_in_the_middle_and_finds_what_lies_at_the_edge_all_the_same() -> None:
    config = {
        "method": "bayes",
        "metric": {"name": "loss", "goal": "minimize"},
        "parameters": {"x": {"min": 0.0, "max": 1.0}, "y": {"min": 0.0, "max": 1.0}},
    }
    engine = make(settings.read(config), "edge")
    tried = []
    for _ in range(25):
        asked = list(engine.ask_n_runs(1) or ())[0]
        x, y = asked.config["x"], asked.config["y"]
        tried.append((x, y))
        engine.tell_run(asked.run_id, RunWithMetrics(asked.config, "finished", asked.run_id, (x - 2 * y,)))
    assert tried[0] == (0.5, 0.5)
    assert min(x - 2 * y for x, y in tried) < -1.98
