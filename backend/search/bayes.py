"""Bayesian search: Optuna's multivariate TPE, with W&B's meaning of what a failed or running run is worth."""

from __future__ import annotations

import warnings
import zlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import optuna
from optuna.trial import TrialState, create_trial

from . import encoding
from .interface import ALIVE, RunWithMetrics
from .random import RandomEngine

STARTUP = 10  # runs that are drawn at random before the model is asked
_TRIES = 10  # suggestions of the model before one is drawn instead
_FITTED = 1000  # runs that the model sees at most, the best and the latest ones: asking stays quick


@dataclass
class BayesEngine(RandomEngine):
    """The study lives in memory and follows the runs; a restart builds it anew from the rows.

    A run that failed, crashed or was killed is worth the worst value of all (``impute``). One that early termination
    stopped is worth the best that it had logged, since that is known. Pending runs are counted as bad while they run
    (Optuna's constant liar), so that agents asking side by side are sent to different places.
    """

    _study: optuna.Study | None = field(default=None, init=False)
    _told: dict[str, tuple[int, float | None]] = field(default_factory=dict, init=False)

    @cached_property
    def _varying(self) -> list[encoding.Encoded]:
        return encoding.encoded(self.space.parameters)

    @cached_property
    def _fixed(self) -> dict[str, Any]:
        return encoding.fixed(self.space.parameters)

    def _propose(self) -> dict[str, Any] | None:
        values = self._values()
        known = sum(value is not None for value in values.values())
        if known >= STARTUP:
            flat = self._model(values)
            if flat is not None:
                return flat
        return self._draw()

    def _model(self, values: dict[str, float | None]) -> dict[str, Any] | None:
        study = self._updated(values)
        study.sampler = _sampler(f"{self.seed}:{self._asked}")
        distributions = {one.name: one.distribution for one in self._varying}
        for _ in range(_TRIES):
            trial = study.ask(distributions)
            flat = {**self._fixed, **{one.name: one.decode(trial.params[one.name]) for one in self._varying}}
            study.tell(trial, state=TrialState.FAIL)  # the study gets it back when the run is known
            if not self._is_taken(flat):
                return flat
        return None

    def _values(self) -> dict[str, float | None]:
        """What each run is worth; None for one that is still to be known."""
        metric = self.settings.metric
        assert metric is not None  # bayes without a metric is refused when the sweep is made
        over = [run for run in self._runs.values() if run.state not in ALIVE]
        worst = metric.worst(value for run in [*over, *self._prior] for value in run.values)
        found = {run_id: self._worth(run, worst) for run_id, run in self._runs.items()}
        found.update({f"prior-{n}": run.best(metric) for n, run in enumerate(self._prior)})
        return found

    def _worth(self, run: RunWithMetrics, worst: float | None) -> float | None:
        metric = self.settings.metric
        assert metric is not None
        best = run.best(metric)
        if run.state in ALIVE:
            strategy = metric.impute_while_running if run.state == "running" else None
            return self._imputed(strategy, run, worst) if strategy else None
        if best is not None and (run.state == "finished" or run.stopped_early):
            return best
        return self._imputed(metric.impute, run, worst)

    def _imputed(self, strategy: str, run: RunWithMetrics, worst: float | None) -> float | None:
        metric = self.settings.metric
        assert metric is not None
        if strategy == "best":
            return run.best(metric)
        if strategy == "latest":
            return run.values[-1] if run.values else None
        return worst

    def _updated(self, values: dict[str, float | None]) -> optuna.Study:
        """The study, holding every run with its present worth. Built anew only where a told worth has changed."""
        kept = self._kept(values)
        if self._study is None or any(self._is_stale(kept, *told) for told in self._told.items()):
            maximize = self.settings.metric is not None and self.settings.metric.maximize
            self._study, self._told = _new_study(maximize), {}
        for run_id, worth in kept.items():
            self._tell(self._study, run_id, worth)
        return self._study

    def _is_stale(self, kept: dict[str, float | None], run_id: str, told: tuple[int, float | None]) -> bool:
        return run_id not in kept or (told[1] is not None and kept[run_id] != told[1])

    def _kept(self, values: dict[str, float | None]) -> dict[str, float | None]:
        """Runs worth showing to the model: those that still run; of the others the best and the latest."""
        alive = {run_id: None for run_id, worth in values.items() if worth is None and self._pending(run_id)}
        known = [(run_id, worth) for run_id, worth in values.items() if worth is not None]
        if len(known) > _FITTED:
            sign = -1 if self.settings.metric is not None and self.settings.metric.maximize else 1
            best = sorted(known, key=lambda pair: sign * pair[1])[: _FITTED // 2]
            known = list({**dict(best), **dict(known[-_FITTED // 2 :])}.items())
        return {**dict(known), **alive}

    def _pending(self, run_id: str) -> bool:
        return run_id in self._runs and self._runs[run_id].state in ALIVE

    def _tell(self, study: optuna.Study, run_id: str, worth: float | None) -> None:
        before = self._told.get(run_id)
        if before is not None and before[1] == worth:
            return
        if before is not None:
            study.tell(before[0], worth)
            self._told[run_id] = (before[0], worth)
            return
        params = self._encode(run_id)
        if params is None:
            return
        state = TrialState.RUNNING if worth is None else TrialState.COMPLETE
        distributions = {one.name: one.distribution for one in self._varying}
        number = len(study.get_trials(deepcopy=False))
        study.add_trial(create_trial(state=state, params=params, distributions=distributions, value=worth))
        self._told[run_id] = (number, worth)

    def _encode(self, run_id: str) -> dict[str, Any] | None:
        run = self._runs[run_id] if run_id in self._runs else self._prior[int(run_id.removeprefix("prior-"))]
        flat = self.space.flat(run.config)
        params = {one.name: one.encode(flat.get(one.name)) for one in self._varying}
        return None if None in params.values() else params


def _new_study(maximize: bool) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(direction="maximize" if maximize else "minimize")


def _sampler(seed: str) -> optuna.samplers.TPESampler:
    """A sampler whose draws depend on the seed only, so that a restarted server goes on as it would have gone on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # multivariate and constant_liar are marked experimental in Optuna 4
        return optuna.samplers.TPESampler(
            n_startup_trials=0, multivariate=True, constant_liar=True, seed=zlib.crc32(seed.encode())
        )
