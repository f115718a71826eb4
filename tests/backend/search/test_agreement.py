"""Distributions, grids and early termination are those of W&B's own engine, which is asked the same questions.

What is done otherwise on purpose is in `test_differences.py`, each with what W&B's engine does.
"""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, ks_2samp
from searching.wandb_engine import EngineError, WandbEngine
from sweepkit import space
from sweepkit.backend import search
from sweepkit.backend.search import Run, RunWithMetrics
from sweepkit.backend.search import settings as sweep_settings
from sweepkit.distributions import DISTRIBUTIONS, Parameter
from sweepkit.space import SpaceError

DRAWS = 10_000
generated = settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])


def one(entry: Mapping[str, Any]) -> Parameter:
    return space.parse({"x": entry}).parameters[0]


# One of each distribution; the bounds of quantized ones are multiples of q, since W&B's leave others.
DRAWN: list[dict[str, Any]] = [
    {"value": [1, "x"]},
    {"values": ["a", "b", 3, None]},
    {"values": ["a", "b", "c"], "probabilities": [0.7, 0.0, 0.3]},
    {"min": -3, "max": 12},
    {"min": -1, "max": 2.5},
    {"distribution": "q_uniform", "min": 0, "max": 12, "q": 3},
    {"distribution": "q_uniform", "min": 0, "max": 5},
    {"distribution": "log_uniform", "min": -7, "max": 1.5},
    {"distribution": "log_uniform_values", "min": 1e-5, "max": 0.1},
    {"distribution": "q_log_uniform", "min": 1, "max": 5, "q": 0.5},
    {"distribution": "q_log_uniform_values", "min": 2, "max": 64, "q": 2},
    {"distribution": "inv_log_uniform", "min": -7, "max": 1.5},
    {"distribution": "inv_log_uniform_values", "min": 1e-5, "max": 0.1},
    {"distribution": "normal", "mu": 3, "sigma": 0.2},
    {"distribution": "q_normal", "mu": 3, "sigma": 4, "q": 2},
    {"distribution": "log_normal"},
    {"distribution": "q_log_normal", "mu": 1, "q": 1.0},
    {"distribution": "beta", "a": 2, "b": 0.5},
    {"distribution": "q_beta", "a": 2, "b": 3, "q": 0.125},
]


@pytest.mark.parametrize("entry", DRAWN, ids=lambda entry: json.dumps(entry).replace('"', ""))
def test_draws_are_distributed_alike(theirs: WandbEngine, entry: dict[str, Any]) -> None:
    rng, parameter = random.Random(1), one(entry)
    mine = [parameter.sample(rng) for _ in range(DRAWS)]
    other = theirs.draws(entry, DRAWS, seed=2)
    assert {type(value) for value in mine} == {type(value) for value in other}
    counts, others = (Counter(map(space.canonical, drawn)) for drawn in (mine, other))
    kinds = counts | others
    if len(kinds) > DRAWS / 10:
        assert ks_2samp(mine, other).pvalue > 0.01
    elif len(kinds) > 1:
        often = [(counts[kind], others[kind]) for kind in kinds if counts[kind] + others[kind] >= 10]
        assert chi2_contingency(often).pvalue > 0.01


def test_every_distribution_is_drawn_from() -> None:
    assert {one(entry).distribution for entry in DRAWN} == set(DISTRIBUTIONS)


SHARES = [(0.123456789 + n * 0.6180339887498949) % 1 for n in range(9)]  # not where steps meet
numbers = st.one_of(st.integers(-9, 9), st.floats(-9, 9).map(lambda x: round(x, 4)))
scalars = st.one_of(st.integers(-2, 2), st.sampled_from([0.5, 1.0, 2.0, "a", "1", True, False, None, [1.0], {"k": 1}]))
entries = st.fixed_dictionaries(
    {},
    optional={
        "distribution": st.sampled_from([*DISTRIBUTIONS, "gaussian"]),
        "value": scalars,
        "values": st.lists(scalars, max_size=3),
        "probabilities": st.sampled_from([[0.5, 0.5], [1.0], [0.25, 0.75, 0]]),
        **dict.fromkeys(("min", "max", "mu", "sigma", "q", "a", "b"), numbers),
    },
)


@st.composite
def fitting(draw: st.DrawFn) -> dict[str, Any]:
    """An entry with a distribution's own keys, perhaps without one or with another, perhaps without `distribution`."""
    name = draw(st.sampled_from([*DISTRIBUTIONS]))
    own = [key for group in DISTRIBUTIONS[name] for key in group]
    keys = [key for key in own if draw(st.integers(0, 9))]
    entry = {key: value for key, value in draw(entries).items() if key in keys or not draw(st.integers(0, 9))}
    for key in keys:
        entry.setdefault(key, draw(scalars if key == "value" else st.just([0, 1]) if key == "values" else numbers))
    if "probabilities" in entry and not isinstance(entry["probabilities"], list):
        entry["probabilities"] = [0.5, 0.5]
    entry["distribution"] = name
    if draw(st.booleans()):
        del entry["distribution"]
    return entry


NAMES = {  # as the engine's sources call them
    "param_single_value": "constant", "param_loguniform": "log_uniform", "param_loguniform_v2": "log_uniform_values",
    "param_inv_loguniform": "inv_log_uniform", "param_inv_loguniform_v2": "inv_log_uniform_values",
    "param_qloguniform": "q_log_uniform", "param_qloguniform_v2": "q_log_uniform_values",
    "param_quniform": "q_uniform", "param_qnormal": "q_normal", "param_lognormal": "log_normal",
    "param_qlognormal": "q_log_normal", "param_qbeta": "q_beta",
}  # fmt: skip


def refused_on_purpose(entry: Mapping[str, Any]) -> bool:
    """See `test_differences.py`, and the engine checks probabilities only in whole configurations."""
    low, high, q = entry.get("min", 0), entry.get("max", 0), entry.get("q", 1.0)
    if "log_uniform" in entry.get("distribution", "") and not entry["distribution"].endswith("_values"):
        low, high = 2.718281828**low, 2.718281828**high
    has_step = "q_" not in entry.get("distribution", "") or high - low >= q or int(low // q) != int(high // q)
    return "probabilities" in entry or 0 in (entry.get("a", 1), entry.get("b", 1)) or not has_step


@generated
@given(st.one_of(entries, fitting()))
def test_what_is_taken_for_which_distribution(theirs: WandbEngine, entry: dict[str, Any]) -> None:
    try:
        mine = one(entry).distribution
    except SpaceError:
        mine = None
    try:
        name = theirs.distribution(entry)
        other = NAMES.get(name, name.removeprefix("param_"))
    except EngineError:
        other = None
    assert mine == other or (mine is None and refused_on_purpose(entry))


@generated
@given(fitting())
def test_quantiles_are_alike(theirs: WandbEngine, entry: dict[str, Any]) -> None:
    try:
        parameter = one(entry)
    except SpaceError:
        assume(False)
    assume(entry.get("sigma") != 0)
    mine, other = [parameter.from_unit(share) for share in SHARES], theirs.quantiles(entry, SHARES)
    if parameter.distribution.startswith("q_") and math.isfinite(sum(parameter.bounds)):  # the engine leaves them
        first, last = (steps * parameter.q for steps in parameter.multiples)
        other = [min(max(value, first), last) for value in other]
    assert [type(value) for value in mine] == [type(value) for value in other]
    if all(isinstance(value, float) for value in mine):
        assert mine == pytest.approx(other, rel=1e-6, abs=1e-9)
    else:
        assert mine == other


quantized = st.builds(
    lambda low, count, q, kind: {"distribution": "q_uniform", "min": kind(low), "max": kind(low + count * q), "q": q},
    st.integers(-4, 4), st.integers(1, 4), st.sampled_from([1, 2, 0.5, 0.25]), st.sampled_from([float, lambda x: x]),
)  # fmt: skip
grid_entries = st.one_of(
    st.builds(lambda value: {"value": value}, scalars),
    st.builds(lambda values: {"values": values}, st.lists(scalars, min_size=1, max_size=5)),
    st.builds(lambda low, n: {"min": low, "max": low + n}, st.integers(-5, 5), st.integers(1, 3)),
    quantized,
)
grids = st.recursive(
    st.dictionaries(st.sampled_from(["a", "b", "a-b", "a.b", "B", "c_"]), grid_entries, min_size=1, max_size=3),
    lambda inner: st.dictionaries(
        st.sampled_from(["a", "a-", "z", "Z"]), st.one_of(grid_entries, inner.map(lambda one: {"parameters": one})),
        min_size=1, max_size=3,
    ),
    max_leaves=3,
)  # fmt: skip


def as_sent(value: Any) -> Any:
    """A configuration as W&B's client sends it: 1.0 as 1."""
    if isinstance(value, dict):
        return {key: as_sent(inner) for key, inner in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() else value


@generated
@given(grids, st.data())
def test_grids_are_walked_alike(theirs: WandbEngine, parameters: dict[str, Any], data: st.DataObject) -> None:
    """From the start, and after some of it was tried, whatever the order."""
    try:
        size = space.parse(parameters).grid_size()
    except SpaceError as refusal:
        assert "two parameters are called" in str(refusal)
        assume(False)
    assume(size <= 60)
    whole = theirs.grid(parameters, most=99)
    engine = search.make(sweep_settings.read({"method": "grid", "parameters": parameters}), "seed")
    asked = [one.config for one in engine.ask_n_runs(99) or ()]
    assert space.canonical(asked) == space.canonical(whole)
    assert len(asked) == size

    tried = data.draw(st.lists(st.sampled_from(whole), max_size=4).map(lambda some: [as_sent(one) for one in some]))
    runs = [{"config": {key: {"value": value} for key, value in one.items()}, "state": "finished"} for one in tried]
    engine = search.make(sweep_settings.read({"method": "grid", "parameters": parameters}), "seed")
    for config in tried:
        engine.tell_run(
            engine.tell_existing_active_run(Run(config, "running", "w")), RunWithMetrics(config, "finished", "w")
        )
    left = [one.config for one in engine.ask_n_runs(99) or ()]
    assert space.canonical(left) == space.canonical(theirs.grid(parameters, most=99, runs=runs))


ETAS = st.one_of(st.sampled_from([2, 3, 1.5, 49]), st.floats(1.05, 6))
bands = st.one_of(
    st.builds(lambda first, eta: {"min_iter": first, "eta": eta}, st.integers(1, 4), ETAS),
    st.builds(lambda last, s: {"max_iter": last, "s": s}, st.integers(3, 30), st.integers(1, 4)),
    st.builds(lambda last, s, eta: {"max_iter": last, "s": s, "eta": eta}, st.integers(6, 30), st.integers(1, 4), ETAS),
)
histories = st.lists(
    st.tuples(
        st.sampled_from(["running", "running", "running", "finished", "crashed", "failed", "killed", "preempted"]),
        st.lists(st.one_of(st.integers(-4, 4), st.floats(-4, 4)), max_size=15),
    ),
    max_size=12,
)


@generated
@given(bands, st.sampled_from([None, True, False]), st.sampled_from([None, "minimize", "maximize"]), histories)
def test_the_same_runs_are_stopped(
    theirs: WandbEngine, given_bands: dict[str, Any], strict: bool | None, goal: str | None, runs: list[Any]
) -> None:
    early = {"type": "hyperband", **given_bands} | ({} if strict is None else {"strict": strict})
    metric = {"name": "loss"} | ({} if goal is None else {"goal": goal})
    config = {"method": "random", "parameters": {"x": {"min": 0.0, "max": 1.0}}, "metric": metric}
    config["early_terminate"] = early
    told = [
        {"name": str(n), "state": state, "history": [{"loss": value, "other": 1} for value in values]}
        for n, (state, values) in enumerate(runs)
    ]
    try:
        stopped: set[str] | None = set(theirs.stopped(config, told))
    except EngineError:
        stopped = None
    try:
        engine = search.make(sweep_settings.read(config), "seed")
    except sweep_settings.SettingsError:
        assert stopped is None
        return
    ids = [engine.tell_existing_active_run(Run({"x": n / 20}, "running", str(n))) for n in range(len(runs))]
    data = [RunWithMetrics({}, state, str(n), tuple(values)) for n, (state, values) in enumerate(runs)]
    found = engine.prune_runs(ids, data)
    assert {str(ids.index(run_id)) for run_id in found} == stopped
