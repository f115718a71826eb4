"""Hyperband as W&B's sweeps mean it: which running runs to stop at which band."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ...hyperband import Bands, HyperbandError
from .metric import Metric

__all__ = ["Hyperband", "HyperbandError", "StopDecision"]


@dataclass(frozen=True)
class StopDecision:
    """Why a run is stopped early: the band it had reached, its value there and the threshold that it missed."""

    band: int
    value: float
    threshold: float


@dataclass(frozen=True)
class Hyperband(Bands):
    """The bands, and who is stopped there."""

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
