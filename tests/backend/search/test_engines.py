"""The contract that every search engine keeps, and what is particular to each."""

from __future__ import annotations

import math
import time
from collections import Counter
from typing import Any

import pytest
from sweepkit.backend import search
from sweepkit.backend.search import Engine, Run, RunSuggestion, RunWithMetrics, SettingsError
from sweepkit.backend.search import settings as sweep_settings
from sweepkit.space import canonical

SPACE = {
    "lr": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-1},
    "width": {"values": [16, 32, 64, 128]},
    "optimizer": {"values": ["Adam", "SGD"]},
    "nested": {"parameters": {"dropout": {"min": 0.0, "max": 0.5}, "on": {"value": True}}},
}
FINITE = {"a": {"values": [1, 2, 3]}, "b": {"values": ["x", "y"]}, "c": {"value": 7}}
METRIC = {"name": "loss", "goal": "minimize"}


def make(method: str, parameters: dict[str, Any] = FINITE, seed: str = "abc", **more: Any) -> Engine:
    config = {"method": method, "parameters": parameters, "metric": METRIC, **more}
    return search.make(sweep_settings.read(config), seed)


def ask(engine: Engine, n: int = 1) -> list[RunSuggestion]:
    return list(engine.ask_n_runs(n) or [])


def finished(config: Any, loss: float | None, state: str = "finished") -> RunWithMetrics:
    return RunWithMetrics(config, state, "w", () if loss is None else (loss,), None)


@pytest.mark.parametrize("method", ["grid", "random", "bayes"])
class TestContract:
    def test_a_finite_space_is_walked_once_and_then_exhausted(self, method: str) -> None:
        engine = make(method)
        seen = set()
        for n in range(6):
            (asked,) = ask(engine)
            seen.add(canonical(asked.config))
            engine.tell_run(asked.run_id, finished(asked.config, float(n)))
        assert len(seen) == 6
        assert engine.ask_n_runs(1) == []

    def test_asking_for_more_than_there_is_gives_what_there_is(self, method: str) -> None:
        assert len(ask(make(method), 100)) == 6

    def test_a_forgotten_run_is_proposed_again(self, method: str) -> None:
        engine = make(method)
        asked = ask(engine, 6)
        engine.forget_run(asked[2].run_id)
        again = ask(engine, 2)
        assert [one.config for one in again] == [asked[2].config]

    def test_an_engine_made_anew_from_the_rows_goes_on_as_the_first_would_have(self, method: str) -> None:
        first, rows = make(method, SPACE if method != "grid" else FINITE), []
        for n in range(5):
            (asked,) = ask(first)
            row = finished(asked.config, math.sin(n))
            first.tell_run(asked.run_id, row)
            rows.append(row)
        second = make(method, SPACE if method != "grid" else FINITE)
        for row in rows:
            second.tell_run(second.tell_existing_active_run(row), row)
        assert [one.config for one in ask(first)] == [one.config for one in ask(second)]

    def test_existing_runs_are_not_repeated(self, method: str) -> None:
        engine = make(method)
        config = {"a": 2, "b": "y", "c": 7, "logged by the script": 1}
        engine.tell_existing_active_run(Run(config, "running", "w"))
        asked = ask(engine, 10)
        assert len(asked) == 5 and {"a": 2, "b": "y", "c": 7} not in [one.config for one in asked]

    def test_a_target_ends_the_sweep(self, method: str) -> None:
        metric = {"name": "acc", "goal": "maximize", "target": 0.9}
        engine = search.make(sweep_settings.read({"method": method, "parameters": FINITE, "metric": metric}), "s")
        (one, other) = ask(engine, 2)
        assert engine.has_terminator() and not engine.should_terminate_sweep()
        engine.tell_run(one.run_id, RunWithMetrics({}, "running", "w", (0.5, math.nan), 0.89))
        assert not engine.should_terminate_sweep()
        engine.tell_run(other.run_id, RunWithMetrics({}, "running", "w", (0.95, 0.1)))
        assert engine.should_terminate_sweep()

    def test_the_same_seed_asks_the_same(self, method: str) -> None:
        space = SPACE if method != "grid" else FINITE
        one, other = make(method, space, "7"), make(method, space, "7")
        for n in range(6):
            (first,), (second,) = ask(one), ask(other)
            assert first.config == second.config
            for engine, asked in ((one, first), (other, second)):
                engine.tell_run(asked.run_id, finished(asked.config, math.sin(n)))

    @pytest.mark.parametrize("at_a_time", [1, 4])
    def test_each_is_tried_as_often_as_was_asked_for(self, method: str, at_a_time: int) -> None:
        engine = make(method, controller={"type": "cloud", "repeats": 3})
        seen: list[str] = []
        while asked := ask(engine, at_a_time):
            seen += [canonical(one.config) for one in asked]
            for one in asked:
                engine.tell_run(one.run_id, finished(one.config, float(len(seen))))
        assert sorted(Counter(seen).values()) == [3] * 6
        if method == "grid":
            assert seen[:6] == seen[6:12] == seen[12:]
        else:
            assert seen[::3] == seen[1::3] == seen[2::3]

    def test_a_repetition_that_was_forgotten_is_made_up_for(self, method: str) -> None:
        engine = make(method, controller={"type": "cloud", "repeats": 2})
        asked = ask(engine, 12)
        engine.forget_run(asked[7].run_id)
        assert [one.config for one in ask(engine, 3)] == [asked[7].config]

    def test_prior_runs_may_be_tried_again(self, method: str) -> None:
        engine = make(method)
        engine.tell_existing_finished_run(finished({"a": 1, "b": "x", "c": 7}, 0.1))
        assert len(ask(engine, 10)) == 6


def test_a_grid_is_in_order_and_never_listed() -> None:
    engine = make("grid", {name: {"min": 0, "max": 10**6} for name in "abc"})
    started = time.perf_counter()
    asked = ask(engine, 3)
    assert time.perf_counter() - started < 0.5
    assert [one.config for one in asked] == [{"a": 0, "b": 0, "c": n} for n in range(3)]


def test_seeds_make_a_difference() -> None:
    assert ask(make("random", SPACE, "one"))[0].config != ask(make("random", SPACE, "two"))[0].config
    orders = [
        [one.config for one in ask(make("grid", FINITE, seed, controller={"shuffle": True}), 9)] for seed in "abc"
    ]
    assert orders[0] != orders[1] != orders[2]
    assert len({canonical(sorted(order, key=canonical)) for order in orders}) == 1
    assert all(len({canonical(config) for config in order}) == 6 for order in orders)


def test_a_shuffled_grid_is_never_listed_and_what_is_given_back_comes_again() -> None:
    engine = make("grid", {name: {"min": 0, "max": 10**6} for name in "abc"}, controller={"shuffle": True})
    started = time.perf_counter()
    asked = ask(engine, 50)
    engine.forget_run(asked[17].run_id)
    again = ask(engine, 2)
    assert time.perf_counter() - started < 1
    assert again[0].config == asked[17].config
    assert again[1].config not in [one.config for one in asked]
    assert len({one.config[name] for one in asked for name in "abc"}) > 140


def test_a_random_search_repeats_nothing_from_outside_its_space() -> None:
    engine = make("random", controller={"type": "cloud", "repeats": 2})
    engine.tell_existing_active_run(Run({"a": 9, "b": "x", "c": 7}, "running", "w"))
    assert {one.config["a"] for one in ask(engine, 20)} == {1, 2, 3}


def test_a_custom_search_says_later() -> None:
    assert make("custom").ask_n_runs(1) is None
    assert make("bayes", controller={"type": "local"}).ask_n_runs(1) is None


def test_random_ends_where_the_rest_is_out_of_reach() -> None:
    engine = make("random", {"p": {"distribution": "q_beta", "a": 50, "b": 50, "q": 0.1}})
    asked = ask(engine, 50)
    values = [one.config["p"] for one in asked]
    assert len(values) == len(set(values)) < 11 and engine.ask_n_runs(1) == []


@pytest.mark.parametrize("goal", ["minimize", "maximize"])
def test_bayes_learns(goal: str) -> None:
    """After 40 trials its suggestions lie near the optimum far more often than chance has it (a tenth of the range)."""
    sign = 1 if goal == "minimize" else -1
    config = {"method": "bayes", "metric": {"name": "m", "goal": goal}, "parameters": {"x": {"min": 0.0, "max": 1.0}}}
    engine = search.make(sweep_settings.read(config), "seed")
    near = 0
    for n in range(40):
        (asked,) = ask(engine)
        x = asked.config["x"]
        engine.tell_run(asked.run_id, finished(asked.config, sign * (x - 0.73) ** 2))
        near += n >= 20 and abs(x - 0.73) < 0.05
    assert near >= 8


@pytest.mark.parametrize(("epochs", "prior", "learns"), [(9, False, True), (2, False, False), (2, True, True)])
def test_bayes_learns_from_its_own_space_and_from_any_prior_run(epochs: int, prior: bool, learns: bool) -> None:
    """A sweep that was edited has runs with other fixed parameters; those of prior runs may differ."""
    engine = make("bayes", {"x": {"min": 0.0, "max": 1.0}, "epochs": {"value": 9}})
    for n in range(40):
        x = n / 39
        run = finished({"x": x, "epochs": epochs}, (x - 0.9) ** 2)
        if prior:
            engine.tell_existing_finished_run(run)
        else:
            engine.tell_run(engine.tell_existing_active_run(run), run)
    mean = sum(abs(one.config["x"] - 0.9) for one in ask(engine, 8)) / 8
    assert (mean < 0.2) == learns, mean


def test_failed_runs_are_worth_the_worst_and_stopped_ones_what_they_showed() -> None:
    engine = make("bayes")
    ids = [one.run_id for one in ask(engine, 6)]
    engine.tell_run(ids[0], RunWithMetrics({}, "finished", "w", (3.0, 1.0), 2.0))
    engine.tell_run(ids[1], RunWithMetrics({}, "crashed", "w", (0.1,)))
    engine.tell_run(ids[2], RunWithMetrics({}, "killed", "w", (5.0, 4.0), stopped_early=True))
    engine.tell_run(ids[3], RunWithMetrics({}, "running", "w", (0.2,)))
    engine.tell_run(ids[4], RunWithMetrics({}, "finished", "w"))
    assert list(engine._values().values()) == [1.0, 5.0, 4.0, 5.0, None, None]  # type: ignore[attr-defined]


def test_imputing_as_the_metric_says() -> None:
    metric = {"name": "loss", "impute": "latest", "impute_while_running": "best"}
    engine = search.make(sweep_settings.read({"method": "bayes", "parameters": FINITE, "metric": metric}), "s")
    ids = [one.run_id for one in ask(engine, 3)]
    engine.tell_run(ids[0], RunWithMetrics({}, "failed", "w", (3.0, 2.0)))
    engine.tell_run(ids[1], RunWithMetrics({}, "running", "w", (0.5, 0.7)))
    assert list(engine._values().values()) == [2.0, 0.5, None]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("config", "part"),
    [
        ({"parameters": FINITE}, "no `method`"),
        ({"method": "bayse", "parameters": FINITE}, "Did you mean bayes?"),
        ({"method": "bayes", "parameters": FINITE}, "needs a `metric`"),
        ({"method": "grid", "parameters": {"x": {"min": 0.0, "max": 1.0}}}, "grid cannot walk"),
        ({"method": "random", "parameters": {}}, "`parameters` is empty"),
        ({"method": "random", "parameters": FINITE, "run_cap": 0}, "run_cap"),
        ({"method": "random", "parameters": FINITE, "controller": {"seed": "x"}}, "`seed` .* whole number from 0"),
        ({"method": "grid", "parameters": FINITE, "controller": {"repeats": 0}}, "`repeats` .* whole number from 1"),
        ({"method": "grid", "parameters": FINITE, "controller": {"shuffle": 1}}, "`shuffle` .* true or false"),
        ({"method": "random", "parameters": FINITE, "metric": {"name": "m", "goal": "up"}}, "minimize and maximize"),
        ({"method": "random", "parameters": FINITE, "metric": METRIC, "early_terminate": {"type": "x"}}, "hyperband"),
    ],
)
def test_what_cannot_be_searched_is_refused(config: dict[str, Any], part: str) -> None:
    with pytest.raises(SettingsError, match=part.replace("?", r"\?")):
        sweep_settings.read(config)


@pytest.mark.parametrize(
    "text", ["", "[1, 2]", "a: [", "a: &a [*a]", "- x\n b", "!!python/object:os.system {}", "\x00"]
)
def test_hostile_yaml_is_refused_in_words(text: str) -> None:
    with pytest.raises(SettingsError):
        sweep_settings.read(sweep_settings.load(text))


def test_what_is_unknown_is_warned_of() -> None:
    settings = sweep_settings.read({"method": "grid", "parameters": FINITE, "run_capp": 3})
    assert settings.warnings == ("unknown key 'run_capp' in the sweep configuration; did you mean 'run_cap'?",)
    assert settings.expected_runs == 6
    settings = sweep_settings.read({"method": "grid", "parameters": FINITE, "controller": {"repeats": 2, "sed": 3}})
    assert settings.warnings == ("unknown key 'sed' in its controller; did you mean 'seed'?",)
    assert settings.expected_runs == 12


def test_numbers_without_a_dot_are_numbers() -> None:
    """W&B's client passes the YAML ``1e-4`` on as it stands, and W&B's servers read it as a number."""
    loaded = sweep_settings.load("a: [1e-4, 1E5, -2e+3, 1.5e3, 1.0e-05, '1e-4', 12, e5]")
    assert loaded["a"] == [1e-4, 1e5, -2000.0, 1500.0, 1e-5, "1e-4", 12, "e5"]
