"""The parameter space of a sweep, with W&B's meaning of every distribution.

Source of the meanings: https://docs.wandb.ai/models/sweeps/sweep-config-keys and the behaviour of W&B's own search
package (``sweeps`` 0.3 on PyPI). One promise goes further: a quantized sample never leaves its bounds.
"""

from __future__ import annotations

import difflib
import json
import math
import random
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
KEYS = ("distribution", "value", "values", "probabilities", "min", "max", "mu", "sigma", "q", "a", "b", "parameters")
DEFAULTS: dict[str, float] = {"mu": 0.0, "sigma": 1.0, "q": 1, "a": 1.0, "b": 1.0}

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")  # what W&B's schema allows
_EXACT = 2**53  # whole numbers up to here survive JSON and floating point
_DEEPEST = 16  # levels of nesting in `parameters`, and in one value
_LARGEST = 100_000  # parts of one value, so that YAML aliases cannot blow it up
_SMALLEST_TAIL = 2.0**-53  # the least probability that random() can tell from zero
_EXPONENT_LIMIT = 700.0  # exp(709.8) is the largest float


class SpaceError(ValueError):
    """A parameter that is not what W&B allows.

    ``path`` is the parameter's name, one part a level of nesting; ``key`` the key in it that is wrong, where one is;
    ``fix`` the edit that mends it, where one is known.
    """

    def __init__(self, message: str, path: tuple[str, ...] = (), key: str | None = None, fix: str | None = None) -> None:
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
    q: float = 1
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

        ``q_uniform`` steps from min by q and stays below max, as numpy.arange does in W&B's grid.
        """
        return self._grid

    def grid_values(self) -> list[Any]:
        """The values of a grid search as a list. Raises SpaceError where W&B's grid refuses the distribution."""
        return list(self._grid)

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
            first, last = self._multiples
            return last - first + 1
        return None

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
    def _multiples(self) -> tuple[int, int]:
        """The first and last k with k times q inside the (finite) bounds; a hair of rounding is forgiven."""
        low, high = self.bounds
        return math.ceil(low / self.q - 1e-9), math.floor(high / self.q + 1e-9)

    @cached_property
    def _grid(self) -> Sequence[Any]:
        if self.distribution == "constant":
            return (self.value,)
        if self.distribution == "categorical":
            return tuple({canonical(value): value for value in self.values}.values())
        if self.distribution == "int_uniform":
            return range(int(self.min), int(self.max) + 1)
        if self.distribution == "q_uniform":
            return _Steps(self.min, self.max, self.q)
        raise _grid_refusal(self)

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
            first, last = self._multiples
            steps = min(max(steps, first), last)
        return _step(0, steps, self.q)


@dataclass(frozen=True)
class Space:
    """All parameters of a sweep, sorted by name."""

    parameters: tuple[Parameter, ...]

    def sample(self, rng: random.Random) -> dict[str, Any]:
        """A random configuration, flat: one value for each dotted name."""
        return {parameter.name: parameter.sample(rng) for parameter in self.parameters}

    def grid_size(self) -> int:
        """How many configurations the grid has. Raises SpaceError for a parameter that a grid cannot walk."""
        return math.prod(len(parameter.grid()) for parameter in self.parameters)

    def grid_at(self, index: int) -> dict[str, Any]:
        """Configuration number ``index`` of the grid, flat: names sorted, the last one turning fastest."""
        if not 0 <= index < self.grid_size():
            raise IndexError(f"the grid has {self.grid_size()} configurations, there is no number {index}")
        chosen: dict[str, Any] = {}
        for parameter in reversed(self.parameters):
            values = parameter.grid()
            index, digit = divmod(index, len(values))
            chosen[parameter.name] = values[digit]
        return dict(reversed(chosen.items()))

    def size(self) -> int | None:
        """How many different configurations can be drawn, or None where there is no end to them."""
        sizes = [parameter.size() for parameter in self.parameters]
        return None if None in sizes else math.prod(size for size in sizes if size is not None)

    def configuration(self, flat: Mapping[str, Any]) -> dict[str, Any]:
        """The configuration as a run gets it: ``{"optimizer.lr": 0.1}`` becomes ``{"optimizer": {"lr": 0.1}}``."""
        nested: dict[str, Any] = {}
        for name, value in flat.items():
            *parents, last = self._paths.get(name, (name,))
            place = nested
            for parent in parents:
                place = place.setdefault(parent, {})
            place[last] = value
        return nested

    def flat(self, configuration: Mapping[str, Any]) -> dict[str, Any]:
        """The inverse of ``configuration``: this space's values by dotted name, leaving out what is not there."""
        found: dict[str, Any] = {}
        for parameter in self.parameters:
            place: Any = configuration
            for part in parameter.path:
                place = place.get(part, _ABSENT) if isinstance(place, Mapping) else _ABSENT
            if place is not _ABSENT:
                found[parameter.name] = place
        return found

    @cached_property
    def _paths(self) -> dict[str, tuple[str, ...]]:
        return {parameter.name: parameter.path for parameter in self.parameters}


_ABSENT = object()


def parse(parameters: Mapping[str, Any]) -> Space:
    """The space that a sweep's ``parameters`` describe. Raises SpaceError, whatever it is given."""
    found = sorted(_walk(parameters, ()), key=lambda parameter: parameter.name)
    for one, other in zip(found, found[1:], strict=False):
        if one.name == other.name:
            raise SpaceError(f"two parameters are called {one.name}", other.path)
    return Space(tuple(found))


def canonical(value: Any) -> str:
    """The one JSON text of a configuration, by which two are the same. 1, 1.0 and true are three different values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def closest(word: object, allowed: Iterable[str]) -> str | None:
    """The allowed word that was probably meant."""
    close = difflib.get_close_matches(str(word), list(allowed), n=1, cutoff=0.6)
    return close[0] if close else None


class _Steps(Sequence[float]):
    """The numbers from ``low`` up to, but without, ``high``, a step ``q`` apart."""

    def __init__(self, low: float, high: float, q: float) -> None:
        self._low, self._q = low, q
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


def _walk(parameters: Any, path: tuple[str, ...]) -> Iterator[Parameter]:
    where = ".".join(path) + ": " if path else ""
    if not isinstance(parameters, Mapping):
        raise SpaceError(f"{where}`parameters` must map names to parameters, not {_show(parameters)}", path, "parameters")
    if not parameters:
        raise SpaceError(f"{where}`parameters` is empty", path, "parameters", "name at least one parameter")
    if len(path) >= _DEEPEST:
        raise SpaceError(f"{where}`parameters` are nested more than {_DEEPEST} levels deep", path, "parameters")
    for name, entry in parameters.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            allowed = "a name has letters, digits, `_`, `.` and `-`, and starts with a letter or `_`"
            raise SpaceError(f"{where}{_show(name)} is no parameter name: {allowed}", (*path, str(name)))
        yield from _entry((*path, name), entry)


def _entry(path: tuple[str, ...], entry: Any) -> Iterator[Parameter]:
    name = ".".join(path)
    if not isinstance(entry, Mapping):
        key = "values" if isinstance(entry, list) else "value"
        fix = f"write `{path[-1]}: {{{key}: {_show(entry)}}}`"
        raise SpaceError(f"{name}: {_show(entry)} is no parameter, which is a mapping of keys", path, None, fix)
    for key in entry:
        if key not in KEYS:
            raise _unknown_key(path, key, KEYS)
    if "parameters" in entry:
        for key in entry:
            if key != "parameters":
                raise SpaceError(f"{name}: `{key}` cannot stand beside nested `parameters`", path, key)
        yield from _walk(entry["parameters"], path)
    else:
        yield _Reader(path, entry).parameter()


def _unknown_key(path: tuple[str, ...], key: Any, allowed: Iterable[str]) -> SpaceError:
    meant = closest(key, allowed)
    fix = f"did you mean `{meant}`?" if meant else None
    name = ".".join(path)
    return SpaceError(f"{name}: unknown key {_show(key)}; allowed are {', '.join(allowed)}", path, str(key), fix)


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


@dataclass(frozen=True)
class _Reader:
    """Reads one parameter's mapping and checks everything that its distribution asks for."""

    path: tuple[str, ...]
    entry: Mapping[str, Any]

    def parameter(self) -> Parameter:
        distribution = self._distribution()
        needed, optional = DISTRIBUTIONS[distribution]
        for key in self.entry:
            if key not in (*needed, *optional, "distribution"):
                raise self._misplaced(key, distribution)
        for key in needed:
            if key not in self.entry:
                raise self._error(f"the distribution {distribution} needs `{key}`", "distribution", f"add `{key}:`")
        read = {key: self._read(key) for key in (*needed, *optional)}
        parameter = Parameter(self.path, distribution, **read)
        self._check(parameter)
        return parameter

    def _misplaced(self, key: str, distribution: str) -> SpaceError:
        if key == "probabilities" and distribution == "categorical":
            return self._error(
                "`probabilities` need another distribution than categorical",
                "distribution",
                "write `distribution: categorical_w_probabilities`",
            )
        needed, optional = DISTRIBUTIONS[distribution]
        takes = ", ".join((*needed, *optional))
        return self._error(f"`{key}` does not belong to the distribution {distribution}, which takes {takes}", key)

    def _error(self, message: str, key: str | None = None, fix: str | None = None) -> SpaceError:
        return SpaceError(f"{'.'.join(self.path)}: {message}", self.path, key, fix)

    def _distribution(self) -> str:
        if "distribution" not in self.entry:
            return self._inferred()
        given = self.entry["distribution"]
        if isinstance(given, str) and given in DISTRIBUTIONS:
            return given
        meant = closest(given, DISTRIBUTIONS)
        fix = f"did you mean `{meant}`?" if meant else None
        allowed = ", ".join(DISTRIBUTIONS)
        raise self._error(f"unknown distribution {_show(given)}; allowed are {allowed}", "distribution", fix)

    def _inferred(self) -> str:
        keys = self.entry
        if "value" in keys:
            return "constant"
        if "values" in keys:
            return "categorical_w_probabilities" if "probabilities" in keys else "categorical"
        if "min" in keys and "max" in keys:
            whole = all(isinstance(keys[key], int) for key in ("min", "max"))
            quantized = "q_uniform" if "q" in keys else "uniform"
            return "int_uniform" if whole and "q" not in keys else quantized
        if "mu" in keys or "sigma" in keys:
            return "q_normal" if "q" in keys else "normal"
        for one, other in (("min", "max"), ("max", "min")):
            if one in keys:
                raise self._error(f"`{one}` is given without `{other}`", one, f"add `{other}:`")
        raise self._error("it says neither what values it takes nor how they are distributed", None, _WAYS)

    def _read(self, key: str) -> Any:
        if key not in self.entry:
            return DEFAULTS[key]
        given = self.entry[key]
        if key == "value":
            return self._plain(given, key)
        if key in ("values", "probabilities"):
            return self._listed(key, given)
        return self._number(given, key)

    def _listed(self, key: str, given: Any) -> tuple[Any, ...]:
        if not isinstance(given, (list, tuple)):
            raise self._error(f"`{key}` must be a list, not {_show(given)}", key, f"write `{key}: [...]`")
        if not given:
            raise self._error(f"`{key}` is empty", key, f"give at least one of the {key}")
        if key == "values":
            return tuple(self._plain(value, key) for value in given)
        return tuple(self._number(value, key) for value in given)

    def _number(self, given: Any, key: str) -> float:
        if isinstance(given, bool) or not isinstance(given, (int, float)):
            raise self._error(f"`{key}` must be a number, not {_show(given)}", key, _number_fix(given))
        if not abs(given) < 1e300:  # also true for nan
            raise self._error(f"`{key}` must be a finite number below 1e300, not {_show(given)}", key)
        return given

    def _plain(self, given: Any, key: str) -> Any:
        """A value that JSON can carry, since that is how W&B carries it."""
        parts = [(given, 0)]
        seen = 0
        while parts:
            part, depth = parts.pop()
            seen += 1
            if depth > _DEEPEST or seen > _LARGEST:
                raise self._error(f"`{key}` holds a value that is too large or nested too deeply", key)
            if isinstance(part, Mapping):
                self._text_keys(part, key)
                part = list(part.values())
            if isinstance(part, (list, tuple)):
                parts.extend((inner, depth + 1) for inner in part)
            elif isinstance(part, float) and not math.isfinite(part):
                raise self._error(f"`{key}` holds {part}, which JSON cannot carry", key)
            elif part is not None and not isinstance(part, (str, int, float, bool)):
                what = f"`{key}` holds {_show(part)}, a {type(part).__name__}"
                raise self._error(what, key, "put it in quotes to make it text")
        return given

    def _text_keys(self, mapping: Mapping[Any, Any], key: str) -> None:
        for inner in mapping:
            if not isinstance(inner, str):
                raise self._error(f"`{key}` holds a mapping with the key {_show(inner)}, which is no text", key)

    def _check(self, parameter: Parameter) -> None:
        kind = parameter.distribution.removeprefix("q_")
        if kind == "categorical_w_probabilities":
            self._check_probabilities(parameter)
        elif "min" in self.entry:
            self._check_range(parameter, kind)
        elif kind in ("normal", "log_normal"):
            self._check_normal(parameter, kind)
        elif kind == "beta":
            for key in ("a", "b"):
                if getattr(parameter, key) <= 0:
                    raise self._error(f"`{key}` of a beta distribution must be above 0", key)
        if "q" in DISTRIBUTIONS[parameter.distribution][1]:
            self._check_q(parameter)

    def _check_probabilities(self, parameter: Parameter) -> None:
        weights = parameter.probabilities
        if len(weights) != len(parameter.values):
            counts = f"{len(parameter.values)} values have {len(weights)} probabilities"
            raise self._error(counts, "probabilities", "give one for each value")
        if min(weights) < 0:
            raise self._error(f"a probability cannot be {min(weights)}", "probabilities")
        if not math.isclose(sum(weights), 1.0, rel_tol=1e-5):
            raise self._error(f"the probabilities sum to {sum(weights):.6g} rather than 1", "probabilities")

    def _check_range(self, parameter: Parameter, kind: str) -> None:
        low, high = parameter.min, parameter.max
        if low >= high:
            fix = f"write `value: {low}`" if low == high else "exchange them"
            raise self._error(f"min {low} is not less than max {high}", "min", fix)
        if kind == "int_uniform":
            self._check_whole(parameter)
        if kind.endswith("_values") and low <= 0:
            raise self._error(f"`min` of {parameter.distribution} must be above 0, not {low}", "min")
        if kind in ("log_uniform", "inv_log_uniform"):
            for key, exponent in (("min", low), ("max", high)):
                if abs(exponent) > _EXPONENT_LIMIT:
                    what = f"`{key}` of {parameter.distribution} is an exponent of e, and e to the {exponent} is no number"
                    raise self._error(what, key, f"did you mean `{parameter.distribution}_values`?")

    def _check_whole(self, parameter: Parameter) -> None:
        for key, bound in (("min", parameter.min), ("max", parameter.max)):
            if not isinstance(bound, int):
                raise self._error(
                    f"`{key}` of int_uniform must be a whole number, not {bound}", key, f"write `{key}: {round(bound)}`"
                )
            if abs(bound) > _EXACT:
                raise self._error(f"`{key}` of int_uniform must lie within ±2^53", key)

    def _check_normal(self, parameter: Parameter, kind: str) -> None:
        if parameter.sigma < 0:
            raise self._error(f"`sigma` cannot be negative, it is {parameter.sigma}", "sigma")
        if kind == "log_normal" and abs(parameter.mu) + 10 * parameter.sigma > _EXPONENT_LIMIT:
            what = f"{parameter.distribution} takes mu and sigma of the logarithm, and e to the {parameter.mu} or so"
            raise self._error(f"{what} is no number", "mu" if "mu" in self.entry else "sigma")

    def _check_q(self, parameter: Parameter) -> None:
        if parameter.q <= 0:
            raise self._error(f"`q` must be above 0, not {parameter.q}", "q")
        low, high = parameter.bounds
        if not math.isfinite(low + high):
            top = abs(parameter.mu) + 10 * parameter.sigma
            low, high = 0.0, math.exp(top) if "log" in parameter.distribution else top
        if max(abs(low), abs(high)) / parameter.q > _EXACT:
            raise self._error(f"`q` {parameter.q} is too fine for numbers as large as {high:.3g}", "q")
        first, last = parameter._multiples if math.isfinite(sum(parameter.bounds)) else (0, 0)
        if first > last:
            raise self._error(f"no multiple of q, {parameter.q}, lies between {low:g} and {high:g}", "q")


_WAYS = "give `value:`, `values: [...]`, `min:` and `max:`, or a `distribution:`"


def _number_fix(given: Any) -> str | None:
    """YAML 1.1 takes 1e-4 for text, since its floats need a dot: the most frequent slip of all."""
    if not isinstance(given, str):
        return None
    try:
        number = float(given)
    except ValueError:
        return None
    return f"write {number_text(number)}" if math.isfinite(number) else None


def number_text(number: float) -> str:
    """A number as every YAML reader takes it for one: 1.0e-05 rather than 1e-05."""
    text = repr(number)
    return text if "." in text or "e" not in text else text.replace("e", ".0e")
