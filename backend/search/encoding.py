"""A sweep's parameters as Optuna sees them, and back.

Whatever is continuous or quantized lives in the unit interval and becomes a value through its quantile function, so
that logarithmic, normal and beta parameters need nothing of their own. Numeric ``values`` are ordered, so they are
ordinals; other ``values`` are categories.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from ...distributions import Parameter, canonical

_BISECTIONS = 50
_FEWEST_ORDINALS = 3  # two values have no order worth learning


@dataclass(frozen=True)
class Encoded:
    """One parameter that varies."""

    parameter: Parameter

    @property
    def name(self) -> str:
        return self.parameter.name

    @cached_property
    def choices(self) -> list[Any]:
        """The different ``values`` that can be drawn, ascending where they are numbers; empty for a range."""
        weights = self.parameter.probabilities or (1.0,) * len(self.parameter.values)
        kept = {canonical(v): v for v, w in zip(self.parameter.values, weights, strict=True) if w > 0}
        return sorted(kept.values()) if _are_numbers(kept.values()) else list(kept.values())

    @cached_property
    def distribution(self) -> BaseDistribution:
        """Optuna's distribution of the encoded value."""
        if self.choices:
            last = len(self.choices) - 1
            ordinal = last + 1 >= _FEWEST_ORDINALS and _are_numbers(self.choices)
            return IntDistribution(0, last) if ordinal else CategoricalDistribution(range(last + 1))
        if self.parameter.distribution == "int_uniform":
            return IntDistribution(int(self.parameter.min), int(self.parameter.max))
        return FloatDistribution(0.0, 1.0)

    def decode(self, encoded: Any) -> Any:
        """The parameter's value."""
        if self.choices:
            return self.choices[int(encoded)]
        if self.parameter.distribution == "int_uniform":
            return int(encoded)
        return self.parameter.from_unit(float(encoded))

    def encode(self, value: Any) -> Any:
        """The encoded value; None for a value that the space does not have."""
        if self.choices:
            return self._positions.get(canonical(value))
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        if self.parameter.distribution == "int_uniform":
            inside = self.parameter.min <= value <= self.parameter.max and value == int(value)
            return int(value) if inside else None
        low, high = self.parameter.bounds
        return self._unit(value) if low <= value <= high else None

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


def encoded(parameters: tuple[Parameter, ...]) -> list[Encoded]:
    """The parameters that vary: what has a single value is left to ``fixed``."""
    return [Encoded(parameter) for parameter in parameters if parameter.size() != 1]


def fixed(parameters: tuple[Parameter, ...]) -> dict[str, Any]:
    """The parameters that do not vary, by name."""
    return {parameter.name: parameter.from_unit(0.5) for parameter in parameters if parameter.size() == 1}


def _are_numbers(values: Any) -> bool:
    return all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
