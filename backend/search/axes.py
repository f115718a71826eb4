"""A sweep's parameters as axes of a cube, and back: where a model of the search lives.

What is continuous lies in the unit interval and becomes a value through its quantile function, so that logarithmic,
normal and beta parameters need nothing of their own. What is numeric and has few values (``values``, whole numbers,
multiples of ``q``) is ordered, so it has levels in the unit interval; other ``values`` are categories, 0, 1, 2, ...
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...distributions import Parameter, canonical

Points = NDArray[np.float64]  # (points, axes)

_BISECTIONS = 50
_MOST_LEVELS = 256  # finer than this an axis is as good as continuous
_FEWEST_LEVELS = 3  # two values have no order worth learning


@dataclass(frozen=True)
class Axis:
    """One parameter that varies."""

    parameter: Parameter

    @property
    def name(self) -> str:
        return self.parameter.name

    @cached_property
    def choices(self) -> list[Any]:
        """The values of an axis that has few of them, ascending where they are numbers; empty for a continuous one."""
        if self.parameter.values:
            kept = {key: value for key, value in self._values.items() if self._weights[key] > 0}
            return sorted(kept.values()) if _are_numbers(kept.values()) else list(kept.values())
        size = self.parameter.size()
        if size is None or size > _MOST_LEVELS:
            return []
        if self.parameter.distribution == "int_uniform":
            return list(range(int(self.parameter.min), int(self.parameter.max) + 1))
        first, last = self.parameter.multiples
        return [self.parameter.multiple(k) for k in range(first, last + 1)]

    @cached_property
    def is_category(self) -> bool:
        """Whether its values have no order."""
        return bool(self.choices) and (len(self.choices) < _FEWEST_LEVELS or not _are_numbers(self.choices))

    @cached_property
    def levels(self) -> NDArray[np.float64]:
        """Where the choices of an ordered axis lie, ascending in the unit interval; empty for any other axis."""
        if not self.choices or self.is_category:
            return np.empty(0)
        if self.parameter.distribution.startswith("q_"):
            ends = np.concatenate([[0.0], self._ends, [1.0]])
            return np.asarray((ends[1:] + ends[:-1]) / 2)
        return (np.arange(len(self.choices)) + 0.5) / len(self.choices)

    def decode(self, coordinate: float) -> Any:
        """The parameter's value at a coordinate of this axis."""
        if self.is_category:
            return self.choices[int(coordinate)]
        if len(self.levels):
            return self.choices[int(np.abs(self.levels - coordinate).argmin())]
        return self.parameter.from_unit(float(coordinate))

    def encode(self, value: Any) -> float | None:
        """The coordinate of a value; None for one that the space does not have."""
        if self.parameter.values:
            position = self._positions.get(canonical(self.parameter.own(value)))
            if position is None:
                return None
            return float(position) if self.is_category else float(self.levels[position])
        if not self.parameter.holds(value):
            return None
        if self.choices:  # a quantized value from elsewhere need not be a multiple
            position = int(np.abs(np.array(self.choices) - value).argmin())
            return float(position) if self.is_category else float(self.levels[position])
        return self._unit(value)

    def from_unit(self, units: NDArray[np.float64]) -> NDArray[np.float64]:
        """Coordinates drawn as the parameter is distributed, of numbers that are even over the unit interval."""
        if not self.choices:
            return np.clip(units, 0.0, 1.0)
        positions = np.searchsorted(self._ends, units, side="right")
        return positions.astype(float) if self.is_category else self.levels[positions]

    @cached_property
    def _ends(self) -> NDArray[np.float64]:
        """Where in the unit interval one choice ends and the next begins, as the parameter is distributed."""
        if self.parameter.distribution.startswith("q_"):
            return np.array([self._edge(choice, below=False) for choice in self.choices[:-1]])
        if not self.parameter.values:
            return np.arange(1, len(self.choices)) / len(self.choices)
        weights = np.array([self._weights[canonical(choice)] for choice in self.choices])
        return np.asarray(weights.cumsum()[:-1] / weights.sum())

    @cached_property
    def _values(self) -> dict[str, Any]:
        return {canonical(value): value for value in self.parameter.values}

    @cached_property
    def _weights(self) -> dict[str, float]:
        """How often each of the ``values`` is drawn; one that stands there twice is drawn twice as often."""
        weights: defaultdict[str, float] = defaultdict(float)
        shares = self.parameter.probabilities or (1.0,) * len(self.parameter.values)
        for value, share in zip(self.parameter.values, shares, strict=True):
            weights[canonical(value)] += share
        return weights

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {canonical(choice): i for i, choice in enumerate(self.choices)}

    def _unit(self, value: float) -> float:
        """The middle of what the quantile function maps to ``value``: a quantized value has a stretch of its own."""
        return (self._edge(value, below=True) + self._edge(value, below=False)) / 2

    def _edge(self, value: float, below: bool) -> float:
        low, high = 0.0, 1.0
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            quantile = self.parameter.from_unit(middle)
            if quantile < value or (not below and quantile == value):
                low = middle
            else:
                high = middle
        return (low + high) / 2


def axes(parameters: tuple[Parameter, ...]) -> tuple[Axis, ...]:
    """The parameters that vary: what has a single value is left to ``fixed``."""
    return tuple(Axis(parameter) for parameter in parameters if parameter.size() != 1)


def decoded(axes: Sequence[Axis], points: Points) -> list[dict[str, Any]]:
    """The values of ``points`` (n, axes), by the axes' names."""
    return [{axis.name: axis.decode(at) for axis, at in zip(axes, point, strict=True)} for point in points]


def fixed(parameters: tuple[Parameter, ...]) -> dict[str, Any]:
    """The parameters that do not vary, by name."""
    return {parameter.name: parameter.from_unit(0.5) for parameter in parameters if parameter.size() == 1}


def _are_numbers(values: Any) -> bool:
    return all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
