"""The best value of each run, look after look: what is over is asked about once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .best import Best, best_in

if TYPE_CHECKING:
    from .metric import Metric
    from .wandb_api import Run, WandbApi

JUDGED = ("finished", "running")  # in these states a run may be the best


class Scores:
    """The best value that each run of a sweep has in its history. Without a metric there are none."""

    def __init__(self, api: WandbApi, metric: Metric | None, states: Sequence[str] = JUDGED) -> None:
        self._api, self._metric, self._states = api, metric, states
        self._known: dict[str, tuple[object, Best | None]] = {}

    def of(self, runs: Sequence[Run]) -> list[Best]:
        """The best of each run in the states asked for, in the order of ``runs``; of a run only if it logged more."""
        judged = [run for run in runs if run.state in self._states] if self._metric else []
        new = [run for run in judged if self._known.get(run.id, (None,))[0] != _stamp(run)]
        if self._metric and new:
            for run, history in zip(new, self._api.values(new, self._metric.name), strict=True):
                self._known[run.id] = (_stamp(run), best_in(run, history, self._metric))
        found = (self._known[run.id][1] for run in judged)
        return [best for best in found if best is not None]


def _stamp(run: Run) -> object:
    """What changes with a run's values."""
    return run.state, run.summary.get("_step"), run.summary.get("_timestamp")
