"""The parameter space: W&B's distributions, the counted grid, and input that was written to break it."""

from __future__ import annotations

import math
import random
from itertools import product
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sweepkit import space
from sweepkit.distributions import DISTRIBUTIONS, Parameter
from sweepkit.space import SpaceError


def one(**entry: Any) -> Parameter:
    return space.parse({"x": entry}).parameters[0]


def refused(parameters: Any) -> SpaceError:
    with pytest.raises(SpaceError) as caught:
        space.parse(parameters)
    return caught.value


@pytest.mark.parametrize(
    ("entry", "distribution"),
    [
        ({"value": 3}, "constant"),
        ({"value": None}, "constant"),
        ({"values": [1, "a", None]}, "categorical"),
        ({"values": [1, 2], "probabilities": [0.2, 0.8]}, "categorical_w_probabilities"),
        ({"min": 1, "max": 3}, "int_uniform"),
        ({"min": 1, "max": 3.0}, "uniform"),
        ({"min": 0.0, "max": 3}, "uniform"),
    ],
)
def test_the_distribution_is_inferred_as_wandb_does(entry: dict[str, Any], distribution: str) -> None:
    assert one(**entry).distribution == distribution


# Quantiles 0.1, 0.5 and 0.9, worked out from the definitions in W&B's documentation.
QUANTILES = [
    ({"distribution": "uniform", "min": 2, "max": 4}, (2.2, 3.0, 3.8)),
    ({"distribution": "int_uniform", "min": 1, "max": 10}, (2, 6, 10)),
    ({"distribution": "q_uniform", "min": 0, "max": 10, "q": 4}, (0, 4, 8)),
    ({"distribution": "log_uniform", "min": 0, "max": 2}, (math.exp(0.2), math.e, math.exp(1.8))),
    ({"distribution": "log_uniform_values", "min": 0.001, "max": 0.1}, (10**-2.8, 0.01, 10**-1.2)),
    ({"distribution": "q_log_uniform_values", "min": 1, "max": 100, "q": 2}, (2, 10, 64)),
    ({"distribution": "q_log_uniform", "min": 0, "max": 2, "q": 1}, (1, 3, 6)),
    ({"distribution": "inv_log_uniform", "min": 0, "max": 2}, (math.exp(-1.8), 1 / math.e, math.exp(-0.2))),
    ({"distribution": "inv_log_uniform_values", "min": 0.001, "max": 0.1}, (10**-2.8, 0.01, 10**-1.2)),
    ({"distribution": "normal", "mu": 5, "sigma": 2}, (2.436896868910799, 5.0, 7.563103131089201)),
    ({"distribution": "q_normal", "mu": 5, "sigma": 2, "q": 0.5}, (2.5, 5.0, 7.5)),
    ({"distribution": "log_normal"}, (math.exp(-1.2815515655446004), 1.0, math.exp(1.2815515655446004))),
    ({"distribution": "q_log_normal", "mu": 2, "sigma": 1, "q": 1}, (2, 7, 27)),
    ({"distribution": "q_log_normal", "mu": 2, "sigma": 1}, (2.0, 7.0, 27.0)),
    ({"distribution": "beta", "a": 2, "b": 1}, (math.sqrt(0.1), math.sqrt(0.5), math.sqrt(0.9))),
    ({"distribution": "q_beta", "a": 2, "b": 1, "q": 0.1}, (0.3, 0.7, 0.9)),
    ({"values": ["a", "b", "c"]}, ("a", "b", "c")),
    ({"values": ["a", "b", "c"], "probabilities": [0.6, 0.4, 0]}, ("a", "a", "b")),
]


@pytest.mark.parametrize(("entry", "expected"), QUANTILES)
def test_quantiles_follow_the_documented_definitions(entry: dict[str, Any], expected: tuple[Any, ...]) -> None:
    quantiles = tuple(one(**entry).from_unit(u) for u in (0.1, 0.5, 0.9))
    if isinstance(expected[0], float):
        assert quantiles == pytest.approx(expected)
    else:
        assert quantiles == expected
        assert [type(value) for value in quantiles] == [type(value) for value in expected]


def test_every_distribution_has_its_quantiles_tested() -> None:
    tested = {one(**entry).distribution for entry, _ in QUANTILES}
    assert tested | {"constant"} == set(DISTRIBUTIONS)


bounded = st.sampled_from([name for name, (needed, _) in DISTRIBUTIONS.items() if "max" in needed])
units = st.floats(0, 1)


@st.composite
def ranges(draw: st.DrawFn) -> dict[str, Any]:
    """A parameter with min and max, of any bounded distribution and often an extreme size."""
    name = draw(bounded)
    if name == "int_uniform":
        numbers = st.integers(-(2**53), 2**53)
    elif name.endswith("_values"):
        numbers = st.floats(1e-300, 1e299)
    else:
        numbers = st.floats(-700, 700) if "log" in name else st.floats(-1e299, 1e299)
    low, high = sorted(draw(st.lists(numbers, min_size=2, max_size=2, unique=True)))
    entry = {"distribution": name, "min": low, "max": high}
    return entry | ({"q": draw(st.floats(1e-9, 1e9))} if name.startswith("q_") else {})


@given(ranges(), units)
def test_a_sample_stays_in_its_bounds_and_on_its_steps(entry: dict[str, Any], u: float) -> None:
    try:
        parameter = one(**entry)
    except SpaceError as refusal:
        assert refusal.key == "q"  # too fine, or no multiple of it in between
        return
    value = parameter.from_unit(u)
    low, high = parameter.bounds
    slack = 1e-8 * entry.get("q", 0) + 1e-14 * max(abs(low), abs(high)) * ("q" in entry)
    assert low - slack <= value <= high + slack
    if "q" in entry:
        assert value / entry["q"] == pytest.approx(round(value / entry["q"]), rel=1e-13)


@given(st.floats(-50, 50), st.floats(0, 20), st.floats(1e-3, 1e3), st.floats(1e-3, 1e3), units)
@example(0.0, 0.0, 1.0, 1.0, 0.0)
def test_unbounded_distributions_give_finite_numbers(mu: float, sigma: float, a: float, b: float, u: float) -> None:
    for name in ("normal", "log_normal"):
        assert math.isfinite(one(distribution=name, mu=mu, sigma=sigma).from_unit(u))
    assert 0 <= one(distribution="beta", a=a, b=b).from_unit(u) <= 1


def test_quantized_samples_are_whole_where_q_is_whole_and_clean_where_it_is_not() -> None:
    whole = one(distribution="q_uniform", min=16, max=64, q=16)
    assert {repr(whole.from_unit(u / 100)) for u in range(101)} == {"16", "32", "48", "64"}
    tenths = one(distribution="q_uniform", min=0, max=0.5, q=0.1)
    assert {repr(tenths.from_unit(u / 100)) for u in range(101)} == {"0.0", "0.1", "0.2", "0.3", "0.4", "0.5"}


def test_the_shares_of_a_random_search_are_the_probabilities() -> None:
    parameter = one(values=["a", "b", "c"], probabilities=[0.7, 0.3, 0.0])
    rng = random.Random(7)
    drawn = [parameter.sample(rng) for _ in range(2000)]
    assert drawn.count("a") / 2000 == pytest.approx(0.7, abs=0.04)
    assert "c" not in drawn


NESTED = {
    "width": {"values": [16, 32]},
    "task": {"value": "digits"},
    "optimizer": {"parameters": {"name": {"values": ["Adam", "SGD"]}, "lr": {"min": 0.01, "max": 0.1}}},
}


def test_nested_parameters_have_dotted_names_and_give_nested_configurations() -> None:
    nested = space.parse(NESTED)
    assert [parameter.name for parameter in nested.parameters] == ["optimizer.lr", "optimizer.name", "task", "width"]
    flat = nested.sample(random.Random(0))
    configuration = nested.configuration(flat)
    assert set(configuration) == {"width", "task", "optimizer"}
    assert set(configuration["optimizer"]) == {"name", "lr"}
    assert nested.flat(configuration) == flat
    assert nested.size() is None
    assert nested.flat({"width": 16, "optimizer": 3}) == {"width": 16}


def test_whole_numbers_out_of_a_run_are_the_values_that_are_meant() -> None:
    """W&B's client makes 1 of 1.0."""
    read = space.parse(
        {
            "listed": {"values": [0.5, 1.0, True]},
            "real": {"min": 0.0, "max": 2.0},
            "whole": {"distribution": "q_uniform", "min": 0, "max": 4, "q": 2},
            "step": {"distribution": "q_uniform", "min": 0, "max": 4, "q": 0.5},
            "n": {"min": 1, "max": 3},
            "same": {"value": 3.0},
        }
    )
    sent = {"listed": 1, "real": 1, "whole": 2.0, "step": 1, "n": 2.0, "same": 3}
    meant = {"listed": 1.0, "real": 1.0, "whole": 2, "step": 1.0, "n": 2, "same": 3.0}
    assert space.canonical(read.flat(sent)) == space.canonical(meant)
    assert space.canonical(read.flat(meant)) == space.canonical(meant)
    foreign = {"listed": True, "real": "1", "n": 2.5, "same": 4}
    assert space.canonical(read.flat(foreign)) == space.canonical(foreign)


def test_a_dot_in_a_plain_name_is_only_a_dot() -> None:
    dotted = space.parse({"model.width": {"value": 8}})
    assert dotted.configuration(dotted.grid_at(0)) == {"model.width": 8}


def test_a_grid_is_walked_with_names_sorted_and_the_last_one_fastest() -> None:
    grid = space.parse({"b": {"values": ["x", "y"]}, "a": {"min": 1, "max": 3}, "c": {"value": 0}})
    walked = [grid.grid_at(index) for index in range(grid.grid_size())]
    assert walked == [{"a": a, "b": b, "c": 0} for a, b in product([1, 2, 3], ["x", "y"])]
    assert list(walked[0]) == ["a", "b", "c"]
    with pytest.raises(IndexError, match="6 configurations"):
        grid.grid_at(6)


def test_grid_values_are_those_of_wandb() -> None:
    assert one(min=1, max=3).grid_values() == [1, 2, 3]
    assert one(distribution="q_uniform", min=0, max=1, q=0.25).grid_values() == [0, 0.25, 0.5, 0.75]
    assert one(distribution="q_uniform", min=1, max=1.3, q=0.1).grid_values() == [1.0, 1.1, 1.2]
    assert one(distribution="q_uniform", min=1, max=10, q=3).grid_values() == [1, 4, 7]
    values = one(values=[1, 1.0, True, 1, "1", {"a": 1}, {"a": 1}]).grid_values()
    assert [space.canonical(value) for value in values] == ["1", "true", '"1"', '{"a":1}']
    assert (
        space.canonical(one(values=[2, 3.0, 2.0, 3]).grid_values()) == "[2.0,3]"
    )  # the place of the first, as the last
    assert space.canonical(one(distribution="q_uniform", min=0, max=4.0, q=2).grid_values()) == "[0.0,2.0]"


scalars = st.one_of(st.integers(-9, 9), st.booleans(), st.sampled_from(["a", "b", ""]), st.none(), st.floats(-1, 1))
grid_entries = st.one_of(
    st.builds(lambda value: {"value": value}, scalars),
    st.builds(lambda values: {"values": values}, st.lists(scalars, min_size=1, max_size=5)),
    st.builds(lambda low, n: {"min": low, "max": low + n}, st.integers(-5, 5), st.integers(1, 4)),
    st.builds(
        lambda n, q: {"distribution": "q_uniform", "min": 0, "max": n, "q": q}, st.integers(1, 2), st.floats(0.3, 1)
    ),
)


def sent(flat: dict[str, Any]) -> str:
    """A configuration as W&B's client sends it, 1.0 as 1."""
    whole = {k: int(v) if isinstance(v, float) and v.is_integer() else v for k, v in flat.items()}
    return space.canonical(whole)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from("abc"), grid_entries, min_size=1, max_size=3), scalars)
def test_a_place_in_the_grid_is_found_by_what_stands_there(entries: dict[str, Any], foreign: Any) -> None:
    grid = space.parse(entries)
    walked = [grid.grid_at(index) for index in range(grid.grid_size())]
    assert [grid.grid_position(flat) for flat in walked] == list(range(len(walked)))
    other = {**walked[0], grid.parameters[0].name: foreign}
    places = {sent(flat): place for place, flat in enumerate(walked)}
    assert grid.grid_position(other) == places.get(sent(other))
    assert grid.grid_position({}) is None


@given(st.dictionaries(st.sampled_from("abcd"), grid_entries, min_size=1, max_size=4))
def test_a_grid_holds_every_configuration_once(parameters: dict[str, Any]) -> None:
    grid = space.parse(parameters)
    walked = {space.canonical(grid.grid_at(index)) for index in range(grid.grid_size())}
    assert len(walked) == grid.grid_size()
    assert len(walked) == math.prod(len(parameter.grid_values()) for parameter in grid.parameters)


def test_a_huge_grid_is_counted_without_being_walked() -> None:
    grid = space.parse({name: {"min": 0, "max": 10**12} for name in "abc"})
    assert grid.grid_size() == (10**12 + 1) ** 3
    assert grid.grid_at(grid.grid_size() - 1) == {"a": 10**12, "b": 10**12, "c": 10**12}
    assert grid.grid_at(10**12 + 1) == {"a": 0, "b": 1, "c": 0}


@pytest.mark.parametrize(
    "entry", [e for e, _ in QUANTILES if e.get("distribution") not in ("int_uniform", "q_uniform", None)]
)
def test_a_grid_refuses_what_it_cannot_walk(entry: dict[str, Any]) -> None:
    with pytest.raises(SpaceError, match="a grid cannot walk") as caught:
        space.parse({"x": entry}).grid_size()
    assert caught.value.path == ("x",)
    assert caught.value.fix


@pytest.mark.parametrize(
    ("entry", "size"),
    [
        ({"value": 1}, 1),
        ({"values": [1, 1, 2]}, 2),
        ({"values": [1, 2, 3], "probabilities": [0.5, 0.5, 0]}, 2),
        ({"min": 1, "max": 3}, 3),
        ({"min": 1.0, "max": 3}, None),
        ({"distribution": "q_uniform", "min": 1, "max": 10, "q": 3}, 3),
        ({"distribution": "q_beta", "q": 0.5}, 3),
        ({"distribution": "q_normal"}, None),
    ],
)
def test_the_number_of_different_draws(entry: dict[str, Any], size: int | None) -> None:
    parameter = one(**entry)
    assert parameter.size() == size
    if size is not None:
        assert len({space.canonical(parameter.from_unit(u / 500)) for u in range(501)}) == size


BAD = [
    ({"distribution": [1], "value": 1}, "distribution", "unknown distribution"),
    ({"distribution": "log_unifrom", "min": 0, "max": 1}, "distribution", "log_uniform"),
    ({"values": "abc"}, "values", "must be a list"),
    ({"values": []}, "values", "empty"),
    ({"values": [1, float("nan")]}, "values", "JSON cannot carry"),
    ({"values": [{1: 2}]}, "values", "no text"),
    ({"value": {1, 2}}, "value", "a set"),
    ({"value": 10**5000}, "value", "300 digits"),
    ({"value": "\ud800"}, "value", "Unicode"),
    ({"values": [1, 2], "probabilities": [0.5, 0.6]}, "probabilities", "sum to 1.1"),
    ({"values": [1, 2], "probabilities": [1]}, "probabilities", "2 values have 1"),
    ({"values": [1, 2], "probabilities": [-1, 2]}, "probabilities", "cannot be -1"),
    ({"values": [1, 2], "probabilities": [True, False]}, "probabilities", "must be a number"),
    ({"distribution": "categorical", "values": [1], "probabilities": [1]}, "distribution", "another distribution"),
    ({"min": 3, "max": 1}, "min", "not less than max"),
    ({"min": 3, "max": 3}, "min", "not less than max"),
    ({"min": True, "max": 3}, "min", "must be a number"),
    ({"min": 0, "max": float("inf")}, "max", "finite"),
    ({"min": float("nan"), "max": 1}, "min", "finite"),
    ({"min": 0, "max": 10**5000}, "max", "finite"),
    ({"min": "1e-4", "max": 1}, "min", "must be a number"),
    ({"min": 1}, "min", "without `max`"),
    ({"distribution": "uniform", "min": 1}, "distribution", "needs `max`"),
    ({"distribution": "int_uniform", "min": 1.5, "max": 3}, "min", "whole number"),
    ({"distribution": "int_uniform", "min": 1, "max": 2**60}, "max", "2^53"),
    ({"distribution": "log_uniform_values", "min": 0, "max": 3}, "min", "above 0"),
    ({"distribution": "log_uniform", "min": 1, "max": 1000}, "max", "exponent"),
    ({"distribution": "q_uniform", "min": 0, "max": 1, "q": 0}, "q", "above 0"),
    ({"distribution": "q_uniform", "min": 1, "max": 2, "q": 5}, "q", "no multiple"),
    ({"distribution": "q_uniform", "min": 0, "max": 1, "q": 1e-300}, "q", "too fine"),
    ({"distribution": "normal", "sigma": -1}, "sigma", "negative"),
    ({"distribution": "log_normal", "mu": 900}, "mu", "no number"),
    ({"distribution": "beta", "a": 0}, "a", "above 0"),
    ({"distribution": "normal", "min": 1}, "min", "does not belong"),
    ({"value": 1, "parameters": {"a": {"value": 1}}}, "value", "beside nested"),
    ({"vales": [1]}, "vales", "unknown key"),
    ({"mu": 1, "sigma": 2}, None, "takes no normal for granted"),
    ({"min": 0, "max": 9, "q": 3}, None, "takes no q_uniform for granted"),
    ({"a": 2}, None, "takes no beta for granted"),
    ({}, None, "neither"),
    (0.1, None, "no parameter"),
    ([1, 2], None, "no parameter"),
]


@pytest.mark.parametrize(("entry", "key", "message"), BAD)
def test_bad_parameters_are_refused_by_name(entry: Any, key: str | None, message: str) -> None:
    for parameters, path in (({"x": entry}, ("x",)), ({"y": {"parameters": {"x": entry}}}, ("y", "x"))):
        refusal = refused(parameters)
        assert refusal.path == path
        assert refusal.key == key
        assert message in str(refusal)
        assert ".".join(path) in str(refusal)


def test_what_was_probably_meant_is_offered() -> None:
    assert refused({"x": {"distribution": "log_unifrom", "min": 0, "max": 1}}).fix == "did you mean `log_uniform`?"
    assert refused({"x": {"min": "1e-4", "max": 1}}).fix == "write 0.0001"
    assert refused({"x": {"min": "1e-9", "max": 1}}).fix == "write 1.0e-09"
    assert refused({"x": 0.1}).fix == "write `x: {value: 0.1}`"
    assert refused({"x": [1, 2]}).fix == "write `x: {values: [1, 2]}`"


@pytest.mark.parametrize(
    "parameters", [None, [], "abc", {}, {1: {"value": 1}}, {"a b": {"value": 1}}, {"a": {"parameters": {}}}]
)
def test_parameters_that_are_none(parameters: Any) -> None:
    refused(parameters)


def test_two_parameters_of_one_name_are_refused() -> None:
    refused({"a.b": {"value": 1}, "a": {"parameters": {"b": {"value": 2}}}})


def test_a_bomb_of_aliases_and_a_recursive_value_are_refused_at_once() -> None:
    bomb: list[Any] = [0]
    for _ in range(15):
        bomb = [bomb] * 10
    ring: list[Any] = []
    ring.append(ring)
    loop: dict[str, Any] = {}
    loop["parameters"] = {"a": loop}
    for parameters in ({"x": {"value": bomb}}, {"x": {"values": [ring]}}, {"x": bomb}, {"x": loop}):
        refused(parameters)


words = st.sampled_from([*space.KEYS, *DISTRIBUTIONS])
anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), words),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.one_of(words, st.text(max_size=3)), inner)),
    max_leaves=12,
)
entries = st.fixed_dictionaries(
    {},
    optional={key: st.one_of(anything, st.floats(), st.integers(-3, 3)) for key in space.KEYS}
    | {"distribution": words},
)


@given(st.one_of(anything, st.dictionaries(st.sampled_from("ab"), entries)), units)
def test_whatever_comes_is_a_space_or_a_space_error(parameters: Any, u: float) -> None:
    try:
        parsed = space.parse(parameters)
    except SpaceError as refusal:
        assert str(refusal)
        return
    flat = {parameter.name: parameter.from_unit(u) for parameter in parsed.parameters}
    assert parsed.flat(parsed.configuration(flat)) == flat
    space.canonical(parsed.configuration(flat))
    try:
        assert parsed.grid_at(0)
    except SpaceError as refusal:
        assert "grid" in str(refusal)


def test_values_are_known_as_wandbs_client_writes_them() -> None:
    """Its Go part writes 1.0 as 1, in lists and mappings, too."""
    known = space.parse(
        {
            "one": {"values": [1.0, 2, True]},
            "list": {"values": [[1.0, 2.5], {"b": 3.0, "a": "x"}]},
            "fixed": {"value": 8.0},
            "width": {"min": 1, "max": 9},
            "rate": {"min": 0.0, "max": 2.0},
            "q": {"distribution": "q_uniform", "min": 0, "max": 4, "q": 0.5},
            "steps": {"distribution": "q_uniform", "min": 0, "max": 4, "q": 2},
        }
    )
    written = {"one": 1, "list": [1, 2.5], "fixed": 8, "width": 3, "rate": 1, "q": 2, "steps": 2}
    drawn = {"fixed": 8.0, "list": [1.0, 2.5], "one": 1.0, "q": 2.0, "rate": 1.0, "steps": 2, "width": 3}
    assert space.canonical(known.flat(written)) == space.canonical(drawn) == space.canonical(known.flat(drawn))
    assert known.holds(written) and known.holds({**written, "one": True, "list": {"a": "x", "b": 3}})


@pytest.mark.parametrize(
    ("name", "value"),
    [("one", 2.5), ("one", "1"), ("one", False), ("one", math.inf), ("list", [1]), ("rate", 2.1), ("rate", True)]
    + [
        pytest.param("rate", 10**400, id="huge"),
        ("rate", math.nan),
        ("rate", "1"),
        ("width", 2.5),
        ("width", 10),
        pytest.param("width", -(10**400), id="huge below"),
    ],
)
def test_what_a_space_does_not_hold(name: str, value: Any) -> None:
    known = space.parse(
        {"one": {"values": [1.0, True]}, "list": {"values": [[1, 2]]}, "rate": {"max": 2.0, "min": 0}}
        | {"width": {"min": 1, "max": 9}}
    )
    inside = {"one": 1.0, "list": [1, 2], "rate": 1.5, "width": 9}
    assert known.holds(inside)
    assert not known.holds({**inside, name: value})
    assert not known.holds({key: inside[key] for key in inside if key != name})
