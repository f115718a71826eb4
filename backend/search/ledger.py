"""What a search must know of all runs of its sweep, however many there are: asked for, not kept in the engine.

The engine holds the runs that are alive. What it must know of those that are over, and of early termination's bands,
it tells a ledger and asks it for. ``MemoryLedger`` serves a search without a store; the backend's own lies in the
store (``backend/study_ledger.py``).
"""

from __future__ import annotations

from bisect import insort
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from .settings import Settings


@dataclass(frozen=True)
class Outcome:
    """How a run that is over did: its best and its worst value, None where it logged none.

    ``worth`` is what the search takes it for. None: the worst of all runs where the metric imputes that, else unknown.
    """

    config: Mapping[str, Any]
    configuration: str  # the canonical text of the sweep's parameters in it
    best: float | None = None
    worst: float | None = None
    worth: float | None = None


class Ledger(Protocol):
    """Ended runs have keys, numbers that grow in the order of the runs' creation."""

    position: int
    """How far a grid has come: every configuration before it was proposed once."""

    def reach(self, run_id: str, values: Mapping[int, float]) -> None:
        """A run's value at each band of early termination that it has reached, whenever these have changed."""

    def end(self, run_id: str, outcome: Outcome) -> None:
        """A run is over."""

    def forget(self, run_id: str) -> None:
        """A run that is not over is no more."""

    def tries(self, configuration: str) -> int:
        """How many runs that are over have tried this configuration."""

    def newest(self) -> Mapping[str, Any] | None:
        """What the newest run that is over has tried; None where there is none."""

    def ended(self) -> int:
        """How many runs are over."""

    def best(self) -> float | None:
        """The best value of all runs that are over."""

    def worst(self) -> float | None:
        """The worst value of all runs that are over."""

    def worths(self, most: int) -> list[tuple[int, float | None]]:
        """Keys and worths of the runs whose worth is known or imputed as the worst (None), in order of creation.

        At most ``most``: where there are more, half are the best ones and half the latest.
        """

    def configurations(self, keys: Collection[int]) -> dict[int, Mapping[str, Any]]:
        """The configurations of ended runs by their keys."""

    def threshold(self, band: int) -> float | None:
        """The value of rank n / eta among the n runs that have reached a band; None where none has."""

    def released(self) -> Iterator[Mapping[str, Any]]:
        """Configurations of runs that were over and are no more, in order of the runs' creation."""


class MemoryLedger:
    """A ledger for a search that lives and ends with its process."""

    def __init__(self, settings: Settings) -> None:
        self.position = 0
        self._settings = settings
        self._keys: dict[str, int] = {}
        self._outcomes: dict[int, Outcome] = {}
        self._taken: Counter[str] = Counter()
        self._reached: dict[str, Mapping[int, float]] = {}
        self._bands: defaultdict[int, list[float]] = defaultdict(list)
        self._released: dict[int, Mapping[str, Any]] = {}

    def reach(self, run_id: str, values: Mapping[int, float]) -> None:
        for band, value in self._reached.pop(run_id, {}).items():
            self._bands[band].remove(value)
        for band, value in values.items():
            insort(self._bands[band], value)
        self._reached[run_id] = dict(values)

    def end(self, run_id: str, outcome: Outcome) -> None:
        key = self._keys[run_id] = len(self._keys)
        self._outcomes[key] = outcome
        self._taken[outcome.configuration] += 1

    def forget(self, run_id: str) -> None:
        self.reach(run_id, {})

    def remove(self, run_id: str) -> None:
        """A run that was over is no more. Raises KeyError for another."""
        key = self._keys[run_id]
        outcome = self._outcomes.pop(key)
        self._taken[outcome.configuration] -= 1
        self._released[key] = outcome.config
        self.reach(run_id, {})

    def tries(self, configuration: str) -> int:
        return self._taken[configuration]

    def newest(self) -> Mapping[str, Any] | None:
        return self._outcomes[max(self._outcomes)].config if self._outcomes else None

    def ended(self) -> int:
        return len(self._outcomes)

    def best(self) -> float | None:
        metric = self._settings.metric
        return metric.best(one.best for one in self._outcomes.values() if one.best is not None) if metric else None

    def worst(self) -> float | None:
        metric = self._settings.metric
        return metric.worst(one.worst for one in self._outcomes.values() if one.worst is not None) if metric else None

    def worths(self, most: int) -> list[tuple[int, float | None]]:
        metric = self._settings.metric
        if metric is None:
            return []
        imputes = metric.impute == "worst"
        known = [(key, one.worth) for key, one in self._outcomes.items() if imputes or one.worth is not None]
        if len(known) <= most:
            return known
        sign = -1 if metric.maximize else 1
        in_order = sorted(known, key=lambda pair: (pair[1] is None, sign * (pair[1] or 0.0)))
        return sorted({*in_order[: most // 2], *known[-(most // 2) :]}, key=lambda pair: pair[0])

    def configurations(self, keys: Collection[int]) -> dict[int, Mapping[str, Any]]:
        return {key: self._outcomes[key].config for key in keys}

    def threshold(self, band: int) -> float | None:
        values, early, metric = self._bands[band], self._settings.early, self._settings.metric
        if not values or early is None or metric is None:
            return None
        rank = early.rank(len(values))
        return values[-1 - rank] if metric.maximize else values[rank]

    def released(self) -> Iterator[Mapping[str, Any]]:
        return iter(list(self._released.values()))
