"""Parameters as axes of a cube: every value finds its way there and back, and even points are drawn as values are."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sweepkit.backend.search.axes import Axis, axes, fixed
from sweepkit.space import parse

PARAMETERS: dict[str, dict[str, Any]] = {
    "ordinal": {"values": [64, 16, 32]},
    "category": {"values": ["x", None, True, 0]},
    "weighted": {"values": ["a", "b", "c"], "probabilities": [0.25, 0.75, 0.0]},
    "pair": {"values": [1, 10]},
    "whole": {"min": -3, "max": 9},
    "large": {"min": 0, "max": 1_000_000},
    "log": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1.0},
    "inverse": {"distribution": "inv_log_uniform_values", "min": 1e-5, "max": 1.0},
    "steps": {"distribution": "q_uniform", "min": 0.0, "max": 1.0, "q": 0.25},
    "log_steps": {"distribution": "q_log_uniform_values", "min": 8, "max": 512, "q": 8},
    "normal": {"distribution": "normal", "mu": 3.0, "sigma": 2.0},
    "rounded": {"distribution": "q_normal", "mu": 3.0, "sigma": 2.0, "q": 0.5},
    "beta": {"distribution": "beta", "a": 2.0, "b": 5.0},
}


def axis(name: str) -> Axis:
    (found,) = axes(parse({name: PARAMETERS[name]}).parameters)
    return found


AXES = {name: axis(name) for name in PARAMETERS}  # kept, as a search keeps them: levels are computed once


@pytest.mark.parametrize("name", PARAMETERS)
@settings(deadline=None)
@given(u=st.floats(0.001, 0.999))
def test_a_value_survives(name: str, u: float) -> None:
    one = AXES[name]
    value = one.parameter.from_unit(u)
    at = one.encode(value)
    assert at is not None
    assert one.decode(at) == (pytest.approx(value, rel=1e-9) if isinstance(value, float) else value)
    assert type(one.decode(at)) is type(value)


@pytest.mark.parametrize("name", PARAMETERS)
def test_what_the_space_does_not_have_has_no_place(name: str) -> None:
    assert axis(name).encode("not in the space") is None
    assert axis(name).encode([1]) is None


def test_numbers_are_in_order_and_spelled_as_they_come() -> None:
    one = axis("ordinal")
    assert one.choices == [16, 32, 64] and not one.is_category
    assert one.encode(32.0) == one.encode(32) == 0.5
    assert axis("pair").is_category and axis("category").is_category
    assert axis("steps").encode(0.3) == axis("steps").encode(0.25), "of a sweep whose q was another"


@pytest.mark.parametrize("name", ["weighted", "ordinal", "whole", "log_steps"])
def test_even_points_are_drawn_as_the_parameter_is(name: str) -> None:
    one, units = axis(name), (np.arange(20_000) + 0.5) / 20_000
    drawn = Counter(map(one.decode, one.from_unit(units)))
    meant = Counter(map(one.parameter.from_unit, units))
    assert drawn.keys() == meant.keys()
    assert all(abs(drawn[value] - meant[value]) <= 0.004 * len(units) for value in meant), (drawn, meant)


def test_what_does_not_vary_is_no_axis() -> None:
    space = parse({"a": {"value": 3}, "b": {"values": ["x"]}, "c": {"min": 0.0, "max": 1.0}})
    assert [one.name for one in axes(space.parameters)] == ["c"]
    assert fixed(space.parameters) == {"a": 3, "b": "x"}
