"""The contract of a search engine as functions that any engine can be put to: sweepkit's, W&B's, and your own.

Each rule takes a ``Case`` and raises ``Broken`` with what was seen. ``check`` puts a case to all rules; in pytest:

    @pytest.mark.parametrize("rule", contract.RULES, ids=lambda rule: rule.__name__)
    def test_my_engine(rule):
        rule(contract.Case(make=lambda: MyEngine(...), size=6))

Source of the methods' names and meaning: ``wandb.sdk.sweeps.scheduler.optimizer.Optimizer`` of the wandb client.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from .interface import Run, RunWithMetrics

ENDINGS = ("finished", "failed", "crashed", "killed")
MOST = 10_000  # configurations that a finite space of a case has at most
_SEEDS = range(5)  # courses that a case is led through by ``check``
_STEPS = 60
_COURSES: tuple[list[list[float]], ...] = ([], [[]], [[1.0]], [[1.0], [1.0, 0.5]])  # what a run tells on its way


class Broken(AssertionError):
    """An engine broke a rule of the contract; the message says which, and how."""


class Dialect(Protocol):
    """How an engine's values look. ``Plain`` is sweepkit's own; ``Wandb`` is that of W&B's ``Optimizer``."""

    def config(self, suggestion: Any) -> Mapping[str, Any]:
        """The configuration of a suggestion, as plain values by name."""

    def active(self, config: Mapping[str, Any], state: str) -> Any:
        """What ``tell_existing_active_run`` is given."""

    def told(self, config: Mapping[str, Any], state: str, values: Sequence[float]) -> Any:
        """What ``tell_run`` is given: a run in ``state`` that logged these ``values`` of the metric, one a step."""


class Plain:
    """The values of ``sweepkit.backend.search``."""

    def config(self, suggestion: Any) -> Mapping[str, Any]:
        found: Mapping[str, Any] = suggestion.config
        return found

    def active(self, config: Mapping[str, Any], state: str) -> Any:
        return Run(config, state, "run")

    def told(self, config: Mapping[str, Any], state: str, values: Sequence[float]) -> Any:
        return RunWithMetrics(config, state, "run", tuple(values), values[-1] if values else None)


@dataclass(frozen=True)
class Wandb:
    """The values of W&B's ``Optimizer``, for a sweep with these metrics. Needs the wandb client 0.31 or later."""

    metrics: tuple[str, ...]

    def config(self, suggestion: Any) -> Mapping[str, Any]:
        found: Mapping[str, Any] = suggestion.config.flat_dict()
        return found

    def active(self, config: Mapping[str, Any], state: str) -> Any:
        from wandb.sdk.sweeps.run_state import RunState
        from wandb.sdk.sweeps.scheduler import optimizer

        return optimizer.Run(optimizer.RunConfig.from_values(dict(config)), RunState(state), "run")

    def told(self, config: Mapping[str, Any], state: str, values: Sequence[float]) -> Any:
        from wandb.sdk.sweeps.scheduler import optimizer

        rows = [{"_step": step, **dict.fromkeys(self.metrics, value)} for step, value in enumerate(values)]
        run = self.active(config, state)
        return optimizer.RunWithMetrics(run.config, run.state, run.wandb_run_id, rows[-1] if rows else {}, rows)


@dataclass(frozen=True)
class Case:
    """An engine to be put to the contract. ``make`` gives a new one each time, for the same sweep and the same seed.

    ``size`` is how many configurations the space has, for an engine that walks a finite space and repeats none.
    ``repeatable`` is whether two engines that were told the same propose the same.
    """

    make: Callable[[], Any]
    size: int | None = None
    repeatable: bool = True
    dialect: Dialect = field(default_factory=Plain)


def check(case: Case) -> None:
    """Put a case to every rule. Raises Broken."""
    for rule in RULES:
        rule(case)


def asks_give_up_to_n(case: Case) -> None:
    """``ask_n_runs(n)``: None for later, else up to n suggestions, with ids of their own and values that JSON has."""
    engine, ids = case.make(), set()
    for n in (1, 2, 5):
        for suggestion in _ask(engine, n) or ():
            if suggestion.run_id in ids:
                raise Broken(f"ask_n_runs gave the id {suggestion.run_id!r} a second time")
            ids.add(suggestion.run_id)
            _as_json(case.dialect.config(suggestion))


def every_ending_is_taken(case: Case) -> None:
    """A run may end in any state, with or without a value of the metric, and from any state."""
    for ending in ENDINGS:
        for course in _COURSES:
            engine = case.make()
            for suggestion in _ask(engine, 1) or ():
                config = case.dialect.config(suggestion)
                for values in course:
                    engine.tell_run(suggestion.run_id, case.dialect.told(config, "running", values))
                last = course[-1] if course else []
                engine.tell_run(suggestion.run_id, case.dialect.told(config, ending, last))
                _ask(engine, 1)


def a_run_that_never_starts_is_forgotten(case: Case) -> None:
    """``forget_run``: the engine goes on. Where the space is finite, what was forgotten is proposed again."""
    engine = case.make()
    asked = list(_ask(engine, case.size or 3) or ())
    for suggestion in asked[:2]:
        engine.forget_run(suggestion.run_id)
    again = [_as_json(case.dialect.config(each)) for each in _ask(engine, 2) or ()]
    forgotten = [_as_json(case.dialect.config(each)) for each in asked[:2]]
    if case.size is not None and sorted(again) != sorted(forgotten):
        raise Broken(f"forgotten were {forgotten}, but proposed next was {again}")


def a_finite_space_is_walked_once(case: Case) -> None:
    """Every configuration comes once, then ``ask_n_runs`` is empty, and stays so."""
    if case.size is None:
        return
    engine, seen = case.make(), list[str]()
    while len(seen) <= case.size <= MOST:
        asked = _ask(engine, 2)
        if asked is None:
            raise Broken("ask_n_runs said later (None) though no run was pending")
        for suggestion in asked:
            config = case.dialect.config(suggestion)
            seen.append(_as_json(config))
            engine.tell_run(suggestion.run_id, case.dialect.told(config, "finished", [float(len(seen))]))
        if not asked:
            break
    if len(set(seen)) != len(seen) or len(seen) != case.size:
        raise Broken(f"{case.size} configurations were to come once each; {len(seen)} came, {len(set(seen))} different")
    if _ask(engine, 1) != []:
        raise Broken("an exhausted search proposed something again")


def existing_runs_are_learnt_from(case: Case) -> None:
    """Runs from before may be told in any state, with parameters that the space has not; active ones are adopted.

    The id of an adopted run is None (not followed) or one that no other run has, and is what ``tell_run`` takes.
    """
    source, engine = case.make(), case.make()
    asked = [case.dialect.config(each) for each in _ask(source, 3) or ()]
    for config, ending in zip(asked, ENDINGS, strict=False):
        engine.tell_existing_finished_run(case.dialect.told({**config, "not in the space": 1}, ending, [0.5]))
    ids = []
    for config in asked[1:]:
        run_id = engine.tell_existing_active_run(case.dialect.active(config, "running"))
        if run_id is not None:
            ids.append(run_id)
            engine.tell_run(run_id, case.dialect.told(config, "running", [0.7]))
            engine.tell_run(run_id, case.dialect.told(config, "finished", [0.7, 0.6]))
    ids += [each.run_id for each in _ask(engine, 2) or ()]
    if len(set(map(str, ids))) != len(ids):
        raise Broken(f"adopted and proposed runs share ids: {ids}")


def only_running_runs_are_pruned(case: Case) -> None:
    """``prune_runs`` names some of the runs that it is shown, each once; they may be told on until they end."""
    engine, named = case.make(), set()
    asked = list(_ask(engine, 6) or ())
    for step in range(1, 10):
        live = {each.run_id: _curve(case, each, step, n) for n, each in enumerate(asked) if each.run_id not in named}
        for run_id, run in live.items():
            engine.tell_run(run_id, run)
        pruned = list(engine.prune_runs(list(live), list(live.values())))
        if set(pruned) - set(live) or len(set(pruned)) != len(pruned):
            raise Broken(f"prune_runs was shown {sorted(live)} and named {pruned}")
        named |= set(pruned)
    for n, each in enumerate(asked):
        engine.tell_run(each.run_id, _curve(case, each, 10, n))
        engine.tell_run(each.run_id, case.dialect.told(case.dialect.config(each), "killed", [1.0]))


def the_end_is_said_in_words_of_truth(case: Case) -> None:
    """``has_terminator`` and ``should_terminate_sweep`` are booleans, and who has no terminator never ends a sweep."""
    engine = case.make()
    answers = engine.has_terminator(), engine.should_terminate_sweep()
    if not all(isinstance(answer, bool) for answer in answers):
        raise Broken(f"has_terminator and should_terminate_sweep answered {answers}, not true or false")
    if answers == (False, True):
        raise Broken("a search without a terminator ends the sweep")


def the_same_course_brings_the_same(case: Case) -> None:
    """Where a search is repeatable, the same asks and tells bring the same proposals."""
    if not case.repeatable:
        return
    for seed in _SEEDS[:3]:
        first, second = (lead(case, random.Random(seed)) for _ in range(2))
        if first != second:
            at = next(n for n, pair in enumerate(zip(first, second, strict=False)) if pair[0] != pair[1])
            raise Broken(f"the same course (seed {seed}) brought {first[at]} and then {second[at]}, as proposal {at}")


def any_course_is_endured(case: Case) -> None:
    """Asks, tells, ends, forgotten and adopted runs in any order: nothing raises, no id comes twice."""
    for seed in _SEEDS:
        lead(case, random.Random(seed))


RULES: tuple[Callable[[Case], None], ...] = (
    asks_give_up_to_n,
    every_ending_is_taken,
    a_run_that_never_starts_is_forgotten,
    a_finite_space_is_walked_once,
    existing_runs_are_learnt_from,
    only_running_runs_are_pruned,
    the_end_is_said_in_words_of_truth,
    the_same_course_brings_the_same,
    any_course_is_endured,
)


def lead(case: Case, rng: random.Random, steps: int = _STEPS) -> list[str]:
    """Lead a new engine through a course that ``rng`` chooses; what it proposed, as JSON, in order. Raises Broken.

    With hypothesis, ``rng`` is drawn from ``strategies.randoms(use_true_random=False)``, and a course that breaks the
    contract is shortened.
    """
    engine, told, proposed = case.make(), _Told(), []
    for _ in range(steps):
        act = rng.choice(("ask", "ask", "tell", "tell", "end", "end", "forget", "adopt", "prior", "prune"))
        if act == "ask":
            for suggestion in _ask(engine, rng.randint(1, 3)) or ():
                config = case.dialect.config(suggestion)
                told.add(suggestion.run_id, config)
                proposed.append(_as_json(config))
        elif not told.configs:
            continue
        elif act in ("adopt", "prior"):
            config = rng.choice(list(told.every))
            if act == "prior":
                engine.tell_existing_finished_run(case.dialect.told(config, rng.choice(ENDINGS), [rng.random()]))
            elif (run_id := engine.tell_existing_active_run(case.dialect.active(config, "running"))) is not None:
                told.add(run_id, config)
        else:
            _carry_on(case, engine, told, act, rng)
    return proposed


@dataclass
class _Told:
    """The runs that are alive in a course, by the engine's ids, and what they have logged."""

    configs: dict[Any, Mapping[str, Any]] = field(default_factory=dict)
    values: dict[Any, list[float]] = field(default_factory=dict)
    every: list[Mapping[str, Any]] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)

    def add(self, run_id: Any, config: Mapping[str, Any]) -> None:
        if str(run_id) in self.ids:
            raise Broken(f"the id {run_id!r} was given to two runs")
        self.ids.add(str(run_id))
        self.configs[run_id], self.values[run_id] = config, []
        self.every.append(config)


def _carry_on(case: Case, engine: Any, told: _Told, act: str, rng: random.Random) -> None:
    run_id = rng.choice(list(told.configs))
    config, values = told.configs[run_id], told.values[run_id]
    if act in ("forget", "end"):
        del told.configs[run_id], told.values[run_id]
        if act == "forget" and not values:
            engine.forget_run(run_id)
        else:
            engine.tell_run(run_id, case.dialect.told(config, rng.choice(ENDINGS), values))
        return
    values.append(rng.uniform(-1, 1))
    run = case.dialect.told(config, "running", values)
    engine.tell_run(run_id, run)
    if act == "prune" and (named := set(engine.prune_runs([run_id], [run]))) - {run_id}:
        raise Broken(f"prune_runs was shown {run_id!r} and named {sorted(map(str, named))}")


def _ask(engine: Any, n: int) -> list[Any] | None:
    asked: Iterable[Any] | None = engine.ask_n_runs(n)
    if asked is None:
        return None
    found = list(asked)
    if len(found) > n:
        raise Broken(f"ask_n_runs({n}) gave {len(found)} suggestions")
    return found


def _curve(case: Case, suggestion: Any, step: int, n: int) -> Any:
    values = [(n + 1) / (each + 1) for each in range(step)]
    return case.dialect.told(case.dialect.config(suggestion), "running", values)


def _as_json(config: Mapping[str, Any]) -> str:
    try:
        return json.dumps(config, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise Broken(f"the configuration {config!r} cannot be written as JSON: {error}") from error
