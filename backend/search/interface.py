"""Ask and tell: what the scheduler needs of a search engine, with the method names of W&B's own sweep scheduler.

Source of the names and of their meaning: ``wandb.sdk.sweeps.scheduler.optimizer.Optimizer`` of the wandb client. An
engine holds the runs that are alive, and no state that a ledger and the rows of the store could not give back: whoever
makes one tells it the runs that there are and that its ledger does not know, in order of their creation, and goes on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from ...space import Space, canonical
from .hyperband import StopDecision
from .ledger import Ledger, Outcome
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

    def imputed(self, strategy: str, metric: Metric) -> float | None:
        """What the run is worth by ``best`` or ``latest``; None by ``worst``, which only all runs together tell."""
        if strategy == "best":
            return self.best(metric)
        return self.values[-1] if strategy == "latest" and self.values else None


class Problem(Protocol):
    """A part of the search that needs the engine no more, so that any thread may do it."""

    def solve(self) -> Sequence[dict[str, Any]]:
        """Values of parameters by their names, the most promising first."""


@dataclass
class Engine(ABC):
    """A search over one sweep's space. Not safe for threads: the scheduler lets one in at a time.

    Subclasses say what to try next (``_propose``).
    """

    settings: Settings
    seed: str
    ledger: Ledger
    _runs: dict[str, RunWithMetrics] = field(default_factory=dict, init=False)  # alive; those that were asked for, too
    _texts: dict[str, str] = field(default_factory=dict, init=False)  # what they try, canonical
    _taken: Counter[str] = field(default_factory=Counter, init=False)
    _reached: dict[str, dict[int, float]] = field(default_factory=dict, init=False)  # as the ledger was told
    _decisions: dict[str, StopDecision] = field(default_factory=dict, init=False)
    _named: int = field(default=0, init=False)
    revision: int = field(default=0, init=False)  # grows whenever what the next suggestion depends on has changed

    @property
    def space(self) -> Space:
        """The sweep's parameter space."""
        return self.settings.space

    @abstractmethod
    def _propose(self) -> dict[str, Any] | None:
        """A flat configuration that is not taken, or None when there is none left."""

    def _next(self) -> dict[str, Any] | None:
        """What is asked for next: what is proposed, unless the engine repeats something first."""
        return self._propose()

    def problem(self) -> Problem | None:
        """What the next suggestion takes time to work out; None where it takes none, or nothing is known yet.

        Whoever has solved it says so by ``solved``. An ask before that solves it by itself.
        """
        return None

    def solved(self, suggestions: Sequence[dict[str, Any]]) -> None:  # noqa: B027 - most engines have no problems
        """The answer to ``problem``, for the next configuration that is asked for."""

    def has_alive(self) -> bool:
        """Whether a run is alive."""
        return bool(self._runs)

    def ask_n_runs(self, n: int) -> Sequence[RunSuggestion] | None:
        """Up to ``n`` configurations to try next. Empty: the space is exhausted. None: nothing now, ask later."""
        found: list[RunSuggestion] = []
        while len(found) < n and (flat := self._next()) is not None:
            config = self.space.configuration(flat)
            run_id = self._add(RunWithMetrics(config, "pending", ""))
            self._reached[run_id] = {}  # that of an adopted run may differ from what the ledger was told before
            found.append(RunSuggestion(config, run_id))
        return found

    def tell_run(self, run_id: str, data: RunWithMetrics) -> None:
        """The latest state and metric of a run; told as often as it changes.

        A run that is over goes to the ledger and its id is no more; should it run again, it is told as an existing one.
        Raises KeyError for an unknown id.
        """
        run = self._runs[run_id] = replace(data, config=self._runs[run_id].config)
        metric = self.settings.metric
        if metric is not None and metric.impute_while_running is not None:
            self.revision += 1
        if self.settings.early is not None:
            self._tell_bands(run_id, run.history, self.settings.early.bands)
        if run.state not in ALIVE:
            self.ledger.end(run_id, self._outcome(run, self._texts[run_id]))
            self._drop(run_id)

    def forget_run(self, run_id: str) -> None:
        """Release a run that never started, or was deleted while it was alive: its configuration may be proposed again.

        Raises KeyError for an unknown id, as that of a run that is over: what is deleted of those, the ledger knows.
        """
        run = self._drop(run_id)
        self.ledger.forget(run_id)
        self._forgotten(run)

    def tell_existing_finished_run(self, data: RunWithMetrics) -> None:  # noqa: B027 - most engines learn nothing
        """A run from before this sweep, to learn from. Its configuration may still be tried."""

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
        running = {i: self._runs[i].history for i in run_ids if i in self._runs and self._may_be_stopped(i)}
        found = stopper.decide(running, self.ledger.threshold, self.settings.metric)
        self._decisions.update(found)
        return list(found)

    def decision(self, run_id: str) -> StopDecision | None:
        """Why ``prune_runs`` named this run; known while it is alive."""
        return self._decisions.get(run_id)

    def has_terminator(self) -> bool:
        """Whether the sweep can end by its metric: whether it has a target."""
        return self.settings.metric is not None and self.settings.metric.target is not None

    def should_terminate_sweep(self) -> bool:
        """Whether a run has reached the metric's target."""
        metric = self.settings.metric
        if metric is None or metric.target is None:
            return False
        return metric.reached(self.ledger.best()) or any(
            metric.reached(run.best(metric)) for run in self._runs.values()
        )

    def configuration(self, run_id: str) -> str:
        """The canonical text of the sweep's parameters in a run's configuration: by it two are the same."""
        return self._texts[run_id]

    def _forgotten(self, run: RunWithMetrics) -> None:  # noqa: B027 - most engines need not know
        """A run is no more."""

    def _is_taken(self, flat: Mapping[str, Any]) -> bool:
        """Whether a configuration has been tried as often as each is to be."""
        return self._tries(flat) >= self.settings.repeats

    def _tries(self, flat: Mapping[str, Any]) -> int:
        """How many runs have tried a configuration or do so now, those that were asked for counted in."""
        text = canonical(self.space.configuration(flat))
        return self._taken[text] + self.ledger.tries(text)

    def _known_runs(self) -> int:
        """How many runs the sweep has, those that were asked for counted in: what the next one is drawn by."""
        return self.ledger.ended() + len(self._runs)

    def _text(self, config: Mapping[str, Any]) -> str:
        """The canonical text of what a run tries, as it would be proposed."""
        return canonical(self.space.configuration(self.space.flat(config)))

    def _add(self, run: RunWithMetrics) -> str:
        run_id = f"{self.seed}-{self._named}"
        self._named += 1
        self.revision += 1
        self._runs[run_id] = run
        text = self._texts[run_id] = self._text(run.config)
        self._taken[text] += 1
        return run_id

    def _drop(self, run_id: str) -> RunWithMetrics:
        run = self._runs.pop(run_id)
        self.revision += 1
        text = self._texts.pop(run_id)
        self._taken[text] -= 1
        if not self._taken[text]:
            del self._taken[text]
        self._reached.pop(run_id, None)
        self._decisions.pop(run_id, None)
        return run

    def _may_be_stopped(self, run_id: str) -> bool:
        run = self._runs[run_id]
        return run.state == "running" and not run.stopped_early and run_id not in self._decisions

    def _tell_bands(self, run_id: str, history: Sequence[float], bands: Sequence[int]) -> None:
        reached = {band: history[band - 1] for band in bands if band <= len(history)}
        if reached != self._reached.get(run_id):
            self._reached[run_id] = reached
            self.ledger.reach(run_id, reached)

    def _outcome(self, run: RunWithMetrics, text: str) -> Outcome:
        """A failed run is worth what the metric imputes; one that was stopped early, the best that it showed."""
        metric = self.settings.metric
        if metric is None:
            return Outcome(run.config, text)
        best = run.best(metric)
        is_judged = best is not None and (run.state == "finished" or run.stopped_early)
        worth = best if is_judged else run.imputed(metric.impute, metric)
        return Outcome(run.config, text, best, metric.worst(run.values), worth)
