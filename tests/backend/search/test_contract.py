"""Every engine keeps the contract, W&B's own Optuna engine too; and the contract finds those that break it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sweepkit.backend import search
from sweepkit.backend.search import contract
from sweepkit.backend.search import settings as sweep_settings
from sweepkit.backend.search.interface import RunSuggestion

FINITE = {"a": {"values": [1, 2, 3]}, "b": {"values": ["x", "y"]}, "c": {"value": 7}}
MIXED = {
    "lr": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-1},
    "width": {"values": [16, 32, 64]},
    "nested": {"parameters": {"dropout": {"min": 0.0, "max": 0.5}}},
}
HYPERBAND = {"type": "hyperband", "min_iter": 2}
METRIC = {"name": "loss", "goal": "minimize"}


def case(method: str, parameters: dict[str, Any] = FINITE, size: int | None = None) -> contract.Case:
    config = {"method": method, "parameters": parameters, "metric": METRIC, "early_terminate": HYPERBAND}
    if method == "custom":
        config["scheduler"] = {"engine": "optuna"}
    read = sweep_settings.read(config)
    return contract.Case(lambda: search.make(read, "seed"), size)


def optuna_case() -> contract.Case:
    """W&B's engine as its scheduler makes it, for the same space."""
    import optuna
    from wandb.sdk.sweeps.scheduler.optimizer import make_optimizer
    from wandb.sdk.sweeps.sweep_info import SweepInfo

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    config = {"scheduler": {"engine": "optuna"}, "metric": METRIC, "parameters": FINITE}
    sweep = SweepInfo("id", "name", "me", "p", config, "c")
    return contract.Case(lambda: make_optimizer(sweep), repeatable=False, dialect=contract.Wandb(("loss",)))


CASES = {
    "grid": case("grid", size=6),
    "random": case("random", size=6),
    "random, endless": case("random", MIXED),
    "bayes": case("bayes", size=6),
    "bayes, endless": case("bayes", MIXED),
    "custom": case("custom"),
    "W&B's optuna": optuna_case(),
}


@pytest.mark.parametrize("rule", contract.RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("name", CASES)
def test_the_contract(name: str, rule: Callable[[contract.Case], None]) -> None:
    rule(CASES[name])


@pytest.mark.parametrize("name", ["grid", "random", "bayes, endless"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rng=st.randoms(use_true_random=False))
def test_courses_that_hypothesis_chooses(name: str, rng: random.Random) -> None:
    contract.lead(CASES[name], rng)


@dataclass
class Mine:
    """A user's own engine, which walks x = 0, 1, 2, and can be broken in one way."""

    fault: str = ""

    def __post_init__(self) -> None:
        self.free, self.alive, self.named, self.pruned = [0, 1, 2], {}, 0, False

    def ask_n_runs(self, n: int) -> list[RunSuggestion] | None:
        found = []
        for _ in range(n + (self.fault == "more")):
            if not self.free:
                break
            x = self.free.pop(0) if self.fault != "repeats" else self.free[0]
            shown = {"no JSON": {x}, "dice": random.random()}.get(self.fault, x)
            found.append(RunSuggestion({"x": shown}, self._name(x)))
        if self.fault == "later" and not found:
            return None
        return found

    def _name(self, x: int) -> str:
        self.named += self.fault != "ids"
        self.alive[str(self.named)] = x
        return str(self.named)

    def tell_run(self, run_id: str, data: Any) -> None:
        if self.fault == "wants values" and not data.values:
            raise ValueError("no value")
        assert run_id in self.alive
        if data.state in contract.ENDINGS:
            del self.alive[run_id]

    def forget_run(self, run_id: str) -> None:
        x = self.alive.pop(run_id)
        if self.fault != "forgets":
            self.free.insert(0, x)

    def tell_existing_finished_run(self, data: Any) -> None:
        if self.fault == "own parameters only" and set(data.config) != {"x"}:
            raise KeyError("unknown parameter")

    def tell_existing_active_run(self, data: Any) -> str:
        if self.fault == "adopted ids":
            self.alive["1"] = data.config["x"]
            return "1"
        return self._name(data.config["x"])

    def prune_runs(self, run_ids: list[str], runs: list[Any]) -> list[str]:
        return ["another"] if self.fault == "prunes others" else []

    def has_terminator(self) -> bool:
        return False

    def should_terminate_sweep(self) -> bool:
        return self.fault == "ends"


FAULTS = {
    "more": contract.asks_give_up_to_n,
    "ids": contract.asks_give_up_to_n,
    "no JSON": contract.asks_give_up_to_n,
    "wants values": contract.every_ending_is_taken,
    "forgets": contract.a_run_that_never_starts_is_forgotten,
    "repeats": contract.a_finite_space_is_walked_once,
    "later": contract.a_finite_space_is_walked_once,
    "own parameters only": contract.existing_runs_are_learnt_from,
    "adopted ids": contract.existing_runs_are_learnt_from,
    "prunes others": contract.only_running_runs_are_pruned,
    "ends": contract.the_end_is_said_in_words_of_truth,
    "dice": contract.the_same_course_brings_the_same,
}


def test_a_users_engine_keeps_it() -> None:
    contract.check(contract.Case(Mine, size=3))


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found_by_the_rule_for_it(fault: str) -> None:
    with pytest.raises((contract.Broken, ValueError, KeyError)):
        FAULTS[fault](contract.Case(lambda: Mine(fault), size=3))
    with pytest.raises((contract.Broken, ValueError, KeyError)):
        contract.check(contract.Case(lambda: Mine(fault), size=3))
