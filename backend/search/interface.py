"""Ask and tell: what the scheduler needs of a search engine, with the method names of W&B's own sweep scheduler.

Source of the names and of their meaning: ``wandb.sdk.sweeps.scheduler.optimizer.Optimizer`` of the wandb client. An
engine holds no state that the rows of the store could not give back: whoever makes one tells it the runs that there
are, in order of their creation, and goes on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ...space import Space, canonical
from .hyperband import StopDecision
from .metric import Metric
from .settings import Settings

ALIVE = frozenset({"pending", "running", "preempting", "preempted"})  # a preempted run is waiting to go on


@dataclass(frozen=True)
class RunSuggestion:
    """A configuration to try. ``run_id`` is the engine's own id for it; there is no run of W&B's yet."""

    config: Mapping[str, Any]
    run_id: str


@dataclass(frozen=True)
class Run:
    """A run of the sweep, without its metric. ``state`` is W&B's word for it: pending, running, finished, ..."""

    config: Mapping[str, Any]
    state: str
    wandb_run_id: str


@dataclass(frozen=True)
class RunWithMetrics(Run):
    """A run and its metric: the finite values that it logged, in order, and the one in its summary."""

    history: Sequence[float] = ()
    summary: float | None = None
    stopped_early: bool = False

    @property
    def values(self) -> list[float]:
        """All values that count: those of the history, then the summary's."""
        return [*self.history, *([] if self.summary is None else [self.summary])]

    def best(self, metric: Metric) -> float | None:
        """The best value over history and summary, by the metric's goal."""
        return metric.best(self.values)


@dataclass
class Engine(ABC):
    """A search over one sweep's space. Not safe for threads: the scheduler lets one in at a time.

    Subclasses say what to try next (``_propose``).
    """

    settings: Settings
    seed: str
    _runs: dict[str, RunWithMetrics] = field(default_factory=dict, init=False)
    _taken: Counter[str] = field(default_factory=Counter, init=False)
    _prior: list[RunWithMetrics] = field(default_factory=list, init=False)
    _decisions: dict[str, StopDecision] = field(default_factory=dict, init=False)
    _asked: int = field(default=0, init=False)

    @property
    def space(self) -> Space:
        """The sweep's parameter space."""
        return self.settings.space

    @abstractmethod
    def _propose(self) -> dict[str, Any] | None:
        """A flat configuration that is not taken, or None when there is none left."""

    def ask_n_runs(self, n: int) -> Sequence[RunSuggestion] | None:
        """Up to ``n`` configurations to try next. Empty: the space is exhausted. None: nothing now, ask later."""
        found: list[RunSuggestion] = []
        while len(found) < n and (flat := self._propose()) is not None:
            config = self.space.configuration(flat)
            found.append(RunSuggestion(config, self._add(RunWithMetrics(config, "pending", ""))))
        return found

    def tell_run(self, run_id: str, data: RunWithMetrics) -> None:
        """The latest state and metric of a run; told as often as it changes. Raises KeyError for an unknown id."""
        before = self._runs[run_id]
        self._runs[run_id] = replace(data, config=before.config)

    def forget_run(self, run_id: str) -> None:
        """Release a run that never started, or that was deleted: its configuration may be proposed again."""
        run = self._runs.pop(run_id)
        self._taken[self._key(run.config)] -= 1
        self._decisions.pop(run_id, None)
        self._forgotten(run_id)

    def tell_existing_finished_run(self, data: RunWithMetrics) -> None:
        """A run from before this sweep, to learn from. Its configuration may still be tried."""
        self._prior.append(data)

    def tell_existing_active_run(self, data: Run) -> str:
        """Adopt a run of the sweep that this engine has not proposed. Returns the id to tell its metric by."""
        return self._add(RunWithMetrics(data.config, data.state, data.wandb_run_id))

    def prune_runs(self, run_ids: Sequence[str], runs: Sequence[RunWithMetrics]) -> Sequence[str]:
        """The running runs that early termination stops now; each is named once. ``decision`` tells why."""
        for run_id, run in zip(run_ids, runs, strict=True):
            self.tell_run(run_id, run)
        stopper = self.settings.early
        if stopper is None or self.settings.metric is None:
            return []
        running = {i for i in run_ids if self._runs[i].state == "running" and i not in self._decisions}
        if not running:
            return []
        histories = {run_id: run.history for run_id, run in self._runs.items()}
        found = stopper.decide(histories, running, self.settings.metric)
        self._decisions.update(found)
        return list(found)

    def decision(self, run_id: str) -> StopDecision | None:
        """Why ``prune_runs`` named this run."""
        return self._decisions.get(run_id)

    def has_terminator(self) -> bool:
        """Whether the sweep can end by its metric: whether it has a target."""
        return self.settings.metric is not None and self.settings.metric.target is not None

    def should_terminate_sweep(self) -> bool:
        """Whether a run has reached the metric's target."""
        metric = self.settings.metric
        return metric is not None and any(metric.reached(run.best(metric)) for run in self._runs.values())

    def _forgotten(self, run_id: str) -> None:  # noqa: B027 - most engines need not know
        """A run is no more."""

    def _is_taken(self, flat: Mapping[str, Any]) -> bool:
        return self._taken[canonical(self.space.configuration(flat))] > 0

    def _key(self, config: Mapping[str, Any]) -> str:
        return canonical(self.space.configuration(self.space.flat(config)))

    def _add(self, run: RunWithMetrics) -> str:
        run_id = f"{self.seed}-{self._asked}"
        self._asked += 1
        self._runs[run_id] = run
        self._taken[self._key(run.config)] += 1
        return run_id
