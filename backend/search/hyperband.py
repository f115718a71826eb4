"""Hyperband as W&B's sweeps mean it: which running runs to stop at which band.

Source: https://docs.wandb.ai/models/sweeps/sweep-config-keys (early_terminate) and the behaviour of W&B's search
package (``sweeps`` 0.3 on PyPI). An iteration is a logged, finite value of the metric.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .metric import Metric

_MOST_BANDS = 100


class HyperbandError(ValueError):
    """``early_terminate`` is not what W&B allows."""


@dataclass(frozen=True)
class StopDecision:
    """Why a run is stopped early: the band it had reached, its value there and the threshold that it missed."""

    band: int
    value: float
    threshold: float


@dataclass(frozen=True)
class Hyperband:
    """``bands`` are numbers of iterations, ascending; the best 1/``eta`` of the runs at a band go on.

    ``strict`` compares the value at the band, else the best value so far.
    """

    bands: tuple[int, ...]
    eta: float = 3
    strict: bool = True

    @classmethod
    def read(cls, given: Any) -> Hyperband:
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

    def decide(
        self, running: Mapping[str, Sequence[float]], threshold: Callable[[int], float | None], metric: Metric
    ) -> dict[str, StopDecision]:
        """Which of the ``running`` histories to stop, by each band's threshold, each with its reason."""
        thresholds: dict[int, float | None] = {}
        found: dict[str, StopDecision] = {}
        for run_id, history in running.items():
            band = max((band for band in self.bands if band <= len(history)), default=None)
            if band is None:
                continue
            if band not in thresholds:
                thresholds[band] = threshold(band)
            decision = self._judge(history, band, thresholds[band], metric)
            if decision is not None:
                found[run_id] = decision
        return found

    def _judge(
        self, history: Sequence[float], band: int, threshold: float | None, metric: Metric
    ) -> StopDecision | None:
        value = history[band - 1] if self.strict else metric.best(history)
        if threshold is None or value is None:
            return None
        worse = value < threshold if metric.maximize else value > threshold
        return StopDecision(band, value, threshold) if worse else None


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
