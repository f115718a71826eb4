"""The parameter space of a sweep: W&B's ``parameters`` read and checked, configurations drawn, the grid counted."""

from __future__ import annotations

import difflib
import math
import random
import re
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .distributions import DISTRIBUTIONS, Parameter, SpaceError, canonical

__all__ = ["Parameter", "Space", "SpaceError", "canonical", "closest", "parse"]

KEYS = ("distribution", "value", "values", "probabilities", "min", "max", "mu", "sigma", "q", "a", "b", "parameters")
DEFAULTS: dict[str, float] = {"mu": 0.0, "sigma": 1.0, "q": 1.0, "a": 1.0, "b": 1.0}

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")  # what W&B's schema allows
_EXACT = 2**53  # whole numbers up to here survive JSON and floating point
_DEEPEST = 16  # levels of nesting in `parameters`, and in one value
_LARGEST = 10_000  # parts of one value, so that YAML aliases cannot blow it up
_BRIEF = reprlib.Repr()
_BRIEF.maxlevel, _BRIEF.maxstring, _BRIEF.maxother = 2, 56, 56
_EXPONENT_LIMIT = 700.0  # exp(709.8) is the largest float


@dataclass(frozen=True)
class Space:
    """All parameters of a sweep, sorted by name, level by level, as W&B sorts them."""

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

    def grid_position(self, flat: Mapping[str, Any]) -> int | None:
        """The inverse of ``grid_at``; None for a configuration that the grid does not have."""
        position = 0
        for parameter in self.parameters:
            digit = parameter.grid_position(flat[parameter.name]) if parameter.name in flat else None
            if digit is None:
                return None
            position = position * len(parameter.grid()) + digit
        return position

    def size(self) -> int | None:
        """How many different configurations can be drawn, or None where there is no end to them."""
        sizes = [parameter.size() for parameter in self.parameters]
        return None if None in sizes else math.prod(size for size in sizes if size is not None)

    def holds(self, flat: Mapping[str, Any]) -> bool:
        """Whether a flat configuration is one of this space."""
        return all(parameter.name in flat and parameter.holds(flat[parameter.name]) for parameter in self.parameters)

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
        """The inverse of ``configuration``: this space's values by dotted name, leaving out what is not there.

        Values are spelled as the space spells them (see ``Parameter.own``).
        """
        found: dict[str, Any] = {}
        for parameter in self.parameters:
            place: Any = configuration
            for part in parameter.path:
                place = place.get(part, _ABSENT) if isinstance(place, Mapping) else _ABSENT
            if place is not _ABSENT:
                found[parameter.name] = parameter.own(place)
        return found

    @cached_property
    def _paths(self) -> dict[str, tuple[str, ...]]:
        return {parameter.name: parameter.path for parameter in self.parameters}


_ABSENT = object()


def parse(parameters: Mapping[str, Any]) -> Space:
    """The space that a sweep's ``parameters`` describe. Raises SpaceError, whatever it is given."""
    found = sorted(_walk(parameters, ()), key=lambda parameter: parameter.path)
    named: set[str] = set()
    for parameter in found:
        if parameter.name in named:
            raise SpaceError(f"two parameters are called {parameter.name}", parameter.path)
        named.add(parameter.name)
    return Space(tuple(found))


def closest(word: object, allowed: Iterable[str]) -> str | None:
    """The allowed word that was probably meant."""
    close = difflib.get_close_matches(word, list(allowed), n=1, cutoff=0.6) if isinstance(word, str) else []
    return close[0] if close else None


def _walk(parameters: Any, path: tuple[str, ...]) -> Iterator[Parameter]:
    where = ".".join(path) + ": " if path else ""
    if not isinstance(parameters, Mapping):
        raise SpaceError(
            f"{where}`parameters` must map names to parameters, not {_show(parameters)}", path, "parameters"
        )
    if not parameters:
        raise SpaceError(f"{where}`parameters` is empty", path, "parameters", "name at least one parameter")
    if len(path) >= _DEEPEST:
        raise SpaceError(f"{where}`parameters` are nested more than {_DEEPEST} levels deep", path, "parameters")
    for name, entry in parameters.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            allowed = "a name has letters, digits, `_`, `.` and `-`, and starts with a letter or `_`"
            raise SpaceError(f"{where}{_show(name)} is no parameter name: {allowed}", (*path, name))
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
    return SpaceError(f"{name}: unknown key {_show(key)}; allowed are {', '.join(allowed)}", path, key, fix)


def _show(value: Any) -> str:
    """A value in a message: short, whatever was given."""
    try:
        text = _BRIEF.repr(value)
    except ValueError:  # an int of thousands of digits
        return f"a huge {type(value).__name__}"
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
            if "q" in keys:
                raise self._unsaid("q_uniform")
            return "int_uniform" if all(isinstance(keys[key], int) for key in ("min", "max")) else "uniform"
        if "mu" in keys or "sigma" in keys:
            raise self._unsaid("q_normal" if "q" in keys else "normal")
        if "a" in keys or "b" in keys:
            raise self._unsaid("q_beta" if "q" in keys else "beta")
        for one, other in (("min", "max"), ("max", "min")):
            if one in keys:
                raise self._error(f"`{one}` is given without `{other}`", one, f"add `{other}:`")
        raise self._error("it says neither what values it takes nor how they are distributed", None, _WAYS)

    def _unsaid(self, distribution: str) -> SpaceError:
        what = f"it needs `distribution`: W&B takes no {distribution} for granted"
        return self._error(what, None, f"write `distribution: {distribution}`")

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
            elif isinstance(part, int) and abs(part) >= 10**300:
                raise self._error(f"`{key}` holds a number of more than 300 digits", key)
            elif isinstance(part, str) and not _encodable(part):
                raise self._error(f"`{key}` holds {_show(part)}, which is no valid Unicode", key)
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
                    what = (
                        f"`{key}` of {parameter.distribution} is an exponent of e, and e to the {exponent} is no number"
                    )
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
        kind = parameter.distribution
        low, high = parameter.bounds
        if not math.isfinite(low + high):
            top = abs(parameter.mu) + 10 * parameter.sigma
            low, high = 0.0, math.exp(top) if "log" in parameter.distribution else top
        if max(abs(low), abs(high)) / parameter.q > _EXACT:
            fix = f"did you mean `{kind}_values`?" if kind.endswith("log_uniform") else None
            raise self._error(f"`q` {parameter.q} is too fine for numbers as large as {high:.3g}", "q", fix)
        first, last = parameter.multiples if math.isfinite(sum(parameter.bounds)) else (0, 0)
        if first > last:
            raise self._error(f"no multiple of q, {parameter.q}, lies between {low:g} and {high:g}", "q")


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


_WAYS = "give `value:`, `values: [...]`, `min:` and `max:`, or a `distribution:`"


def _number_fix(given: Any) -> str | None:
    """A number in quotes, or one such as 1e-4, which YAML 1.1 takes for a text because its floats need a dot."""
    if not isinstance(given, str):
        return None
    try:
        number = float(given)
    except ValueError:
        return None
    return f"write {_number_text(number)}" if math.isfinite(number) else None


def _number_text(number: float) -> str:
    """A number as every YAML reader takes it for one: 1.0e-05 rather than 1e-05."""
    text = repr(number)
    return text if "." in text or "e" not in text else text.replace("e", ".0e")
