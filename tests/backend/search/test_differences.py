"""Where sweepkit differs from W&B's engine on purpose: what both do, for each line of docs/search.md."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from searching.wandb_engine import EngineError, WandbEngine
from sweepkit import space
from sweepkit.backend import search
from sweepkit.backend.search import RunWithMetrics, SettingsError
from sweepkit.backend.search import settings as sweep_settings
from sweepkit.distributions import Parameter
from sweepkit.space import SpaceError


def one(entry: dict[str, Any]) -> Parameter:
    return space.parse({"x": entry}).parameters[0]


def drawn(entry: dict[str, Any]) -> list[Any]:
    rng = random.Random(1)
    return [one(entry).sample(rng) for _ in range(300)]


def engine(method: str, parameters: dict[str, Any], **more: Any) -> search.Engine:
    config = {"method": method, "parameters": parameters, "metric": {"name": "loss"}, **more}
    return search.make(sweep_settings.read(config), "seed")


@pytest.mark.parametrize(
    ("entry", "left", "kept"),
    [
        ({"distribution": "q_uniform", "min": 1, "max": 10, "q": 4}, 0, {4, 8}),
        ({"distribution": "q_uniform", "min": 0, "max": 11, "q": 4}, 12, {0, 4, 8}),
        ({"distribution": "q_log_uniform_values", "min": 0.5, "max": 8.0, "q": 2}, 0, {2, 4, 6, 8}),
        ({"distribution": "q_beta", "q": 0.6}, 1.2, {0.0, 0.6}),
    ],
)
def test_rounding_never_leaves_the_range(
    theirs: WandbEngine, entry: dict[str, Any], left: float, kept: set[float]
) -> None:
    assert left in {round(value, 9) for value in theirs.draws(entry, 300, seed=1)}
    assert set(drawn(entry)) == kept


def test_multiples_are_written_as_people_write_them(theirs: WandbEngine) -> None:
    entry = {"distribution": "q_uniform", "min": 0, "max": 1, "q": 0.1}
    assert 0.30000000000000004 in theirs.draws(entry, 300, seed=1)
    assert 0.3 in drawn(entry) and 0.30000000000000004 not in drawn(entry)
    assert {"x": 0.30000000000000004} in theirs.grid({"x": entry}, most=20)
    assert one(entry).grid_values()[:4] == [0.0, 0.1, 0.2, 0.3]


def test_a_grid_does_not_pass_max_by_rounding(theirs: WandbEngine) -> None:
    entry = {"distribution": "q_uniform", "min": 1.0, "max": 1.3, "q": 0.1}
    assert [found["x"] for found in theirs.grid({"x": entry}, most=20)][-1] > 1.3
    assert one(entry).grid_values() == [1.0, 1.1, 1.2]


def test_no_spread_is_a_constant(theirs: WandbEngine) -> None:
    for name, value in (("normal", 2.0), ("log_normal", math.exp(2.0))):
        entry = {"distribution": name, "mu": 2.0, "sigma": 0.0}
        assert all(math.isnan(draw) for draw in theirs.draws(entry, 3, seed=1))
        assert set(drawn(entry)) == {value}


def test_what_has_no_number_to_draw_is_refused(theirs: WandbEngine) -> None:
    for entry, theirs_draw in (
        ({"distribution": "beta", "a": 0, "b": 1}, math.isnan),
        ({"distribution": "log_uniform", "min": 0, "max": 10_000}, math.isinf),
        ({"distribution": "q_uniform", "min": 1, "max": 2, "q": 5}, lambda draw: draw == 0),
    ):
        assert any(map(theirs_draw, theirs.draws(entry, 100, seed=1)))
        with pytest.raises(SpaceError):
            one(entry)


def test_values_that_json_cannot_carry_are_refused(theirs: WandbEngine) -> None:
    entry = {"values": [1, math.nan]}
    assert any(math.isnan(draw) for draw in theirs.draws(entry, 50, seed=1))
    with pytest.raises(SpaceError, match="JSON cannot carry"):
        one(entry)


def test_two_parameters_of_one_name_are_refused(theirs: WandbEngine) -> None:
    parameters = {"a.b": {"value": 1}, "a": {"parameters": {"b": {"value": 2}}}}
    assert theirs.grid(parameters, most=9) == [{"a.b": 1, "a": {"b": 2}}]
    with pytest.raises(SpaceError, match=r"two parameters are called a\.b"):
        space.parse(parameters)


def test_random_repeats_nothing_and_ends(theirs: WandbEngine) -> None:
    config = {"method": "random", "parameters": {"x": {"values": [1, 2, 3]}}}
    again = [theirs.next_run(config, [], seed)["x"] for seed in range(9)]
    assert len(again) == 9 and set(again) == {1, 2, 3}
    mine = engine("random", config["parameters"])  # type: ignore[arg-type]
    assert sorted(asked.config["x"] for asked in mine.ask_n_runs(9) or ()) == [1, 2, 3]
    assert mine.ask_n_runs(1) == []


def test_a_run_is_named_once_to_be_stopped(theirs: WandbEngine) -> None:
    early = {"type": "hyperband", "min_iter": 1, "eta": 2}
    told = [{"name": name, "state": "running", "history": [{"loss": n}]} for n, name in enumerate("abc")]
    config = {"method": "random", "metric": {"name": "loss"}, "early_terminate": early}
    assert theirs.stopped(config, told) == theirs.stopped(config, told) == ["c"]
    mine = engine("random", {"x": {"min": 0.0, "max": 1.0}}, early_terminate=early)
    ids = [asked.run_id for asked in mine.ask_n_runs(3) or ()]
    runs = [RunWithMetrics({}, "running", name, (float(n),)) for n, name in enumerate("abc")]
    assert mine.prune_runs(ids, runs) == [ids[2]]
    assert mine.prune_runs(ids, runs) == []


def test_an_unknown_goal_is_refused_rather_than_minimized(theirs: WandbEngine) -> None:
    early = {"type": "hyperband", "min_iter": 1}
    metric = {"name": "loss", "goal": "maximise"}
    told = [{"name": name, "state": "running", "history": [{"loss": n}]} for n, name in enumerate("abc")]
    assert theirs.stopped({"metric": metric, "early_terminate": early}, told) == ["c"]
    with pytest.raises(SettingsError, match="maximise"):
        sweep_settings.read({"method": "random", "parameters": {"x": {"value": 1}}, "metric": metric})


def test_bayes_takes_weighted_values(theirs: WandbEngine) -> None:
    parameters = {"x": {"values": ["a", "b"], "probabilities": [0.5, 0.5]}, "y": {"min": 0.0, "max": 1.0}}
    config = {"method": "bayes", "metric": {"name": "loss"}, "parameters": parameters}
    run = {"state": "finished", "config": {"x": {"value": "a"}, "y": {"value": 0.5}}, "summary_metrics": {"loss": 1}}
    with pytest.raises(EngineError):
        theirs.next_run(config, [run], seed=1)
    mine = engine("bayes", parameters)
    (asked,) = mine.ask_n_runs(1) or ()
    mine.tell_run(asked.run_id, RunWithMetrics({}, "finished", "w", (1.0,)))
    assert set((mine.ask_n_runs(1) or ())[0].config) == {"x", "y"}
