"""Hyperband's bands as W&B's sweeps mean them, and how a stop is written in a run's notes.

Source: https://docs.wandb.ai/models/sweeps/sweep-config-keys (early_terminate) and the behaviour of W&B's search
package (``sweeps`` 0.3 on PyPI). An iteration is a logged, finite value of the metric.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

_MOST_BANDS = 100
_NOTE = re.compile(r"^stopped early: .+ (\S+) at iteration (\d+), where (\S+) was to be reached$", re.MULTILINE)
_Self = TypeVar("_Self", bound="Bands")


class HyperbandError(ValueError):
    """``early_terminate`` is not what W&B allows."""


@dataclass(frozen=True)
class Bands:
    """``bands`` are numbers of iterations, ascending; the best 1/``eta`` of the runs at a band go on.

    ``strict`` compares the value at the band, else the best value so far.
    """

    bands: tuple[int, ...]
    eta: float = 3
    strict: bool = True

    @classmethod
    def read(cls: type[_Self], given: Any) -> _Self:
        """Out of ``early_terminate``. Raises HyperbandError."""
        if not isinstance(given, Mapping) or given.get("type") != "hyperband":
            raise HyperbandError("`early_terminate` must be a mapping with `type: hyperband`")
        eta = _number(given, "eta", 3)
        if eta <= 1:
            raise HyperbandError(f"`eta` of early_terminate must be above 1, not {eta}")
        if "max_iter" in given:
            bands = _down(_number(given, "max_iter"), _number(given, "s"), eta)
        elif "min_iter" in given:
            bands = _up(_number(given, "min_iter"), eta)
        else:
            raise HyperbandError("`early_terminate` needs `min_iter`, or `max_iter` and `s`")
        if not bands:
            raise HyperbandError("early_terminate gives no band: raise `max_iter` or `s`, or lower `eta`")
        strict = given.get("strict", True)
        if not isinstance(strict, bool):
            raise HyperbandError(f"`strict` of early_terminate must be true or false, not {strict!r}")
        return cls(bands, eta, strict)

    def rank(self, runs: int) -> int:
        """Which of the sorted values of the ``runs`` that reached a band is its threshold, counted from 0."""
        return int(1.0 / self.eta * runs)  # rounded as W&B rounds it


def note(metric: str, band: int, value: float, threshold: float) -> str:
    """A line for the notes of a run that is stopped at a band, where its value is worse than the threshold."""
    name = " ".join(metric.split()) or "the metric"
    return f"stopped early: {name} {value!r} at iteration {band}, where {threshold!r} was to be reached"


def read_note(notes: str) -> tuple[int, float, float] | None:
    """Band, value and threshold of the last such line; None where there is none."""
    found = _NOTE.findall(notes)
    try:
        return (int(found[-1][1]), float(found[-1][0]), float(found[-1][2])) if found else None
    except ValueError:  # somebody's own words
        return None


def _down(max_iter: float, s: float, eta: float) -> tuple[int, ...]:
    bands = []
    band = max_iter
    for _ in range(min(int(s), _MOST_BANDS)):
        band /= eta
        if band < 1:
            break
        bands.append(int(band))
    return tuple(sorted(set(bands)))


def _up(min_iter: float, eta: float) -> tuple[int, ...]:
    if min_iter < 1:
        raise HyperbandError(f"`min_iter` of early_terminate must be at least 1, not {min_iter}")
    bands: set[int] = set()
    band = min_iter
    for _ in range(_MOST_BANDS):
        if band >= 2**53:
            break
        bands.add(int(band))
        band *= eta
    return tuple(sorted(bands))


def _number(given: Mapping[str, Any], key: str, default: float | None = None) -> float:
    value = given.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 2**53:
        raise HyperbandError(f"`{key}` of early_terminate must be a number, not {value!r}")
    return value
