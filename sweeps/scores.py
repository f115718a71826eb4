"""The best value of each run and its values at early termination's bands, look after look: what is over is asked about
once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .best import Best, at, best_in, finite

if TYPE_CHECKING:
    from .metric import Metric
    from .wandb_api import Run, WandbApi

JUDGED = ("finished", "running")  # in these states a run may be the best


@dataclass(frozen=True)
class _Known:
    """What one run's history says. ``stamp`` tells whether it has logged more since."""

    stamp: object
    best: Best | None
    at: Mapping[int, float]


class Scores:
    """The best value that each run of a sweep has in its history. Without a metric there are none.

    ``bands`` are the iterations of early termination: runs in every state are asked about then.
    """

    def __init__(
        self, api: WandbApi, metric: Metric | None, states: Sequence[str] = JUDGED, bands: Sequence[int] = ()
    ) -> None:
        self._api, self._metric, self._states, self._bands = api, metric, states, bands
        self._known: dict[str, _Known] = {}

    def of(self, runs: Sequence[Run]) -> list[Best]:
        """The best of each run in the states asked for, in the order of ``runs``; of a run only if it logged more."""
        judged = [run for run in runs if run.state in self._states] if self._metric else []
        asked = list(runs) if self._metric and self._bands else judged
        new = [run for run in asked if run.id not in self._known or self._known[run.id].stamp != _stamp(run)]
        if self._metric and new:
            for run, history in zip(new, self._api.values(new, self._metric.name), strict=True):
                best = best_in(run, history, self._metric)
                self._known[run.id] = _Known(_stamp(run), best, self._at_bands(history, self._metric.name))
        found = (self._known[run.id].best for run in judged)
        return [best for best in found if best is not None]

    def at_bands(self, runs: Sequence[Run]) -> dict[str, Mapping[int, float]]:
        """The value of each run at each band that it had reached when ``of`` looked, by the runs' ids."""
        return {run.id: self._known[run.id].at for run in runs if run.id in self._known}

    def _at_bands(self, history: Sequence[Mapping[str, Any]], name: str) -> dict[int, float]:
        """An iteration is a finite value of the metric, counted from 1."""
        if not self._bands:
            return {}
        values = [value for row in history if (value := finite(at(row, name))) is not None]
        return {band: values[band - 1] for band in self._bands if band <= len(values)}


def _stamp(run: Run) -> object:
    """What changes with a run's values."""
    return run.state, run.summary.get("_step"), run.summary.get("_timestamp")
