"""One hyperparameter: W&B's distributions, what each may be given, and how it is drawn, inverted and walked.

Source of the meanings: https://docs.wandb.ai/models/sweeps/sweep-config-keys and the behaviour of W&B's own search
package (``sweeps`` 0.3 on PyPI), which tests ask. What is done otherwise on purpose stands in docs/search.md.
"""

from __future__ import annotations

import json
import math
import random
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from statistics import NormalDist
from typing import Any

# distribution -> (keys it needs, keys it may have)
DISTRIBUTIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "constant": (("value",), ()),
    "categorical": (("values",), ()),
    "categorical_w_probabilities": (("values", "probabilities"), ()),
    "int_uniform": (("min", "max"), ()),
    "uniform": (("min", "max"), ()),
    "q_uniform": (("min", "max"), ("q",)),
    "log_uniform": (("min", "max"), ()),
    "log_uniform_values": (("min", "max"), ()),
    "q_log_uniform": (("min", "max"), ("q",)),
    "q_log_uniform_values": (("min", "max"), ("q",)),
    "inv_log_uniform": (("min", "max"), ()),
    "inv_log_uniform_values": (("min", "max"), ()),
    "normal": ((), ("mu", "sigma")),
    "q_normal": ((), ("mu", "sigma", "q")),
    "log_normal": ((), ("mu", "sigma")),
    "q_log_normal": ((), ("mu", "sigma", "q")),
    "beta": ((), ("a", "b")),
    "q_beta": ((), ("a", "b", "q")),
}

_SMALLEST_TAIL = 2.0**-53  # the least probability that random() can tell from zero


class SpaceError(ValueError):
    """A parameter that is not what W&B allows.

    ``path`` is the parameter's name, one part a level of nesting; ``key`` the key in it that is wrong, where one is;
    ``fix`` the edit that mends it, where one is known.
    """

    def __init__(self, message: str, path: tuple[Any, ...] = (), key: Any = None, fix: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.path = path
        self.key = key
        self.fix = fix


@dataclass(frozen=True)
class Parameter:
    """One hyperparameter: its place in the configuration and the distribution of its values."""

    path: tuple[str, ...]
    distribution: str
    value: Any = None
    values: tuple[Any, ...] = ()
    probabilities: tuple[float, ...] = ()
    min: float = 0.0
    max: float = 1.0
    mu: float = 0.0
    sigma: float = 1.0
    q: float = 1.0
    a: float = 1.0
    b: float = 1.0

    @property
    def name(self) -> str:
        """The dotted name, ``optimizer.lr`` for ``lr`` nested in ``optimizer``."""
        return ".".join(self.path)

    def sample(self, rng: random.Random) -> Any:
        """One value, drawn as W&B's random search draws it."""
        return self.from_unit(rng.random())

    def from_unit(self, u: float) -> Any:
        """The quantile: the value below which a share ``u`` (0 to 1) of the distribution lies."""
        if not 0.0 <= u <= 1.0:
            raise ValueError(f"a quantile needs a number from 0 to 1, not {u!r}")
        if self.distribution == "constant":
            return self.value
        if self.values:
            return self.values[self._category(u)]
        if self.distribution == "int_uniform":
            low, high = int(self.min), int(self.max)
            return min(low + int(u * (high - low + 1)), high)
        real = self._real(u)
        return self._snap(real) if self.distribution.startswith("q_") else real

    def grid(self) -> Sequence[Any]:
        """The values of a grid search, counted without being listed. Raises SpaceError where W&B's grid refuses.

        ``q_uniform`` steps from min by q and stays below max, as numpy.arange does in W&B's grid. Of values that are
        alike, the first one's place and the last one's text count.
        """
        return self._grid

    def grid_values(self) -> list[Any]:
        """The values of a grid search as a list. Raises SpaceError where W&B's grid refuses the distribution."""
        return list(self._grid)

    def grid_position(self, value: Any) -> int | None:
        """Where a grid search has a value among those of ``grid``; None for one that it does not have."""
        grid = self._grid
        if isinstance(grid, tuple):
            return self._grid_positions.get(_alike(value))
        if not _is_number(value):
            return None
        position = round((value - grid[0]) / (grid[1] - grid[0])) if len(grid) > 1 else 0
        found = 0 <= position < len(grid) and _alike(grid[position]) == _alike(value)
        return position if found else None

    def size(self) -> int | None:
        """How many different values can be drawn, or None where there is no end to them."""
        if self.distribution == "constant":
            return 1
        if self.values:
            weights = self.probabilities or (1.0,) * len(self.values)
            return len({canonical(value) for value, weight in zip(self.values, weights, strict=True) if weight > 0})
        if self.distribution == "int_uniform":
            return int(self.max) - int(self.min) + 1
        if self.distribution.startswith("q_") and math.isfinite(sum(self.bounds)):
            first, last = self.multiples
            return last - first + 1
        return None

    def holds(self, value: Any) -> bool:
        """Whether ``value`` is one that can be drawn; a quantized one need not be a multiple."""
        if self._drawn:
            return canonical(self.own(value)) in self._drawn
        if not _is_number(value):
            return False
        low, high = self.bounds
        return low <= value <= high and (self.distribution != "int_uniform" or value == int(value))

    def own(self, value: Any) -> Any:
        """``value`` as this parameter spells it. W&B's client writes 1.0 as 1, and a list of such numbers likewise."""
        if self._drawn:
            text = self._drawn.get(canonical(value)) or self._drawn.get(_spelled(value))
            return value if text is None else json.loads(text)
        if not _is_number(value):
            return value
        if self.distribution == "int_uniform" or (self.distribution.startswith("q_") and isinstance(self.q, int)):
            return int(value) if value == int(value) else value
        return float(value)

    @cached_property
    def _drawn(self) -> dict[str, str]:
        """The values of a parameter that lists them: by the texts that may stand for each, its canonical text."""
        weights = self.probabilities or (1.0,) * len(self.values)
        listed = [value for value, weight in zip(self.values, weights, strict=True) if weight > 0]
        texts = [canonical(value) for value in ([self.value] if self.distribution == "constant" else listed)]
        return {_spelled(json.loads(text)): text for text in reversed(texts)} | {text: text for text in texts}

    @cached_property
    def bounds(self) -> tuple[float, float]:
        """The least and the greatest number that can be drawn; infinite for the normal ones."""
        kind = self.distribution.removeprefix("q_")
        if kind in ("normal", "log_normal"):
            return (-math.inf if kind == "normal" else 0.0), math.inf
        if kind == "beta":
            return 0.0, 1.0
        if kind == "log_uniform":
            return math.exp(self.min), math.exp(self.max)
        if kind == "inv_log_uniform":
            return math.exp(-self.max), math.exp(-self.min)
        return self.min, self.max

    @cached_property
    def multiples(self) -> tuple[int, int]:
        """The first and last k with k times q inside the (finite) bounds; a hair of rounding is forgiven."""
        low, high = self.bounds
        return math.ceil(low / self.q - 1e-9), math.floor(high / self.q + 1e-9)

    def multiple(self, k: int) -> float:
        """k times q, as a quantized parameter draws it."""
        return _step(0, k, self.q)

    @cached_property
    def _grid(self) -> Sequence[Any]:
        if self.distribution == "constant":
            return (self.value,)
        if self.distribution == "categorical":
            return tuple({_alike(value): value for value in self.values}.values())
        if self.distribution == "int_uniform":
            return range(int(self.min), int(self.max) + 1)
        if self.distribution == "q_uniform":
            return _Steps(self.min, self.max, self.q)
        raise _grid_refusal(self)

    @cached_property
    def _grid_positions(self) -> dict[str, int]:
        return {_alike(value): position for position, value in enumerate(self._grid)}

    def _category(self, u: float) -> int:
        if not self.probabilities:
            return min(int(u * len(self.values)), len(self.values) - 1)
        cumulated = list(accumulate(self.probabilities))
        likely = max(i for i, p in enumerate(self.probabilities) if p > 0)
        return min(bisect_right(cumulated, u * cumulated[-1]), likely)

    def _real(self, u: float) -> float:
        kind = self.distribution.removeprefix("q_")
        if kind == "normal":
            return self._normal(u)
        if kind == "log_normal":
            return math.exp(self._normal(u))
        if kind == "beta":
            return self._beta(u)
        low, high = self.bounds
        if kind == "uniform":
            return _between(low, low * (1 - u) + high * u, high)
        return _between(low, math.exp(math.log(low) * (1 - u) + math.log(high) * u), high)

    def _normal(self, u: float) -> float:
        inside = _between(_SMALLEST_TAIL, u, 1 - _SMALLEST_TAIL)
        return self.mu + self.sigma * NormalDist().inv_cdf(inside)

    def _beta(self, u: float) -> float:
        from scipy.special import betaincinv  # slow to import, and seldom needed

        quantile = float(betaincinv(self.a, self.b, u))
        return quantile if math.isfinite(quantile) else self.a / (self.a + self.b)

    def _snap(self, real: float) -> float:
        steps = round(real / self.q)
        if math.isfinite(sum(self.bounds)):
            first, last = self.multiples
            steps = min(max(steps, first), last)
        return self.multiple(steps)


def canonical(value: Any) -> str:
    """The one JSON text of a configuration, by which two are the same. 1, 1.0 and true are three different values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _is_number(value: Any) -> bool:
    """Whether ``value`` is a number that a float can hold; true is none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 2**1023


def _spelled(value: Any) -> str:
    """The canonical text with whole numbers as W&B's client writes them."""
    if isinstance(value, float) and value.is_integer():
        return canonical(int(value))
    if isinstance(value, list):
        return f"[{','.join(map(_spelled, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{canonical(name)}:{_spelled(value[name])}" for name in sorted(value)) + "}"
    return canonical(value)


def _alike(value: Any) -> str:
    """The text by which two values are one in W&B's grid: 1.0 is 1. Within lists and mappings they are two."""
    return canonical(int(value) if isinstance(value, float) and value.is_integer() else value)


class _Steps(Sequence[float]):
    """The numbers from ``low`` up to, but without, ``high``, a step ``q`` apart; whole where all three are."""

    def __init__(self, low: float, high: float, q: float) -> None:
        self._low, self._q = low if isinstance(high, int) else float(low), q
        self._count = max(math.ceil((high - low) / q - 1e-9), 1)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        steps = range(self._count)[index]
        return _step(self._low, steps, self._q) if isinstance(steps, int) else [self[i] for i in steps]


def _step(start: float, steps: int, q: float) -> float:
    """``start + steps * q``; whole where all are whole, and 0.3 rather than 0.30000000000000004."""
    exact = start + steps * q
    return exact if isinstance(exact, int) else float(f"{exact:.15g}")


def _between(low: float, number: float, high: float) -> float:
    return min(max(number, low), high)


def _grid_refusal(parameter: Parameter) -> SpaceError:
    if parameter.distribution == "categorical_w_probabilities":
        fix = "remove `probabilities`, or use method random or bayes"
    else:
        fix = "list the values (`values: [...]`), use int_uniform or q_uniform, or use method random or bayes"
    what = f"{parameter.name}: a grid cannot walk the distribution {parameter.distribution}"
    allowed = "; it takes constant, categorical, int_uniform and q_uniform"
    return SpaceError(what + allowed, parameter.path, "distribution", fix)
