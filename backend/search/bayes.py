"""Bayesian search: Optuna's multivariate TPE, with W&B's meaning of what a failed or running run is worth."""

from __future__ import annotations

import copy
import warnings
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from . import encoding
from .interface import RunWithMetrics
from .metric import Metric
from .random import RandomEngine

STARTUP = 10  # runs that are drawn at random before the model is asked
_TRIES = 10  # suggestions of the model before one is drawn instead
_FITTED = 1000  # runs that the model sees at most, the best and the latest ones: asking stays quick
_ENDED, _PRIOR = "ended:", "prior:"  # how the model's runs are called that are not alive; no engine's id has a colon


Params = dict[str, Any]


@dataclass
class BayesEngine(RandomEngine):
    """The model is fitted anew for each ask, to the runs as they are then.

    A run that failed, crashed or was killed is worth the worst value of all (``impute``). One that early termination
    stopped is worth the best that it had logged, since that is known. Pending runs are counted as bad while they run
    (Optuna's constant liar), so that agents asking side by side are sent to different places.
    """

    _prior: list[RunWithMetrics] = field(default_factory=list, init=False)
    _encoded: dict[str, Params | None] = field(default_factory=dict, init=False)  # of the runs that were fitted last

    def tell_existing_finished_run(self, data: RunWithMetrics) -> None:
        self._prior.append(data)

    @property
    def _metric(self) -> Metric:
        assert self.settings.metric is not None  # bayes without a metric is refused when the sweep is made
        return self.settings.metric

    @cached_property
    def _varying(self) -> list[encoding.Encoded]:
        return encoding.encoded(self.space.parameters)

    @cached_property
    def _fixed(self) -> dict[str, Any]:
        return encoding.fixed(self.space.parameters)

    def _propose(self) -> dict[str, Any] | None:
        values = self._values()
        if sum(value is not None for value in values.values()) >= STARTUP:
            flat = self._model(values)
            if flat is not None:
                return flat
        return self._draw()

    def _model(self, values: dict[str, float | None]) -> dict[str, Any] | None:
        distributions = {one.name: one.distribution for one in self._varying}
        study = _new_study(self._metric.maximize)
        study.sampler = _sampler(f"{self.seed}:{self._known_runs()}")
        for name, params in self._encode(values).items():
            if params is not None:
                study.add_trial(_shown(params, distributions, values[name]))
        for _ in range(_TRIES):
            trial = study.ask(distributions)
            flat = {**self._fixed, **{one.name: one.decode(trial.params[one.name]) for one in self._varying}}
            study.tell(trial, state=TrialState.FAIL)  # it is pending when the run is made
            if not self._is_taken(flat):
                return flat
        return None

    def _values(self) -> dict[str, float | None]:
        """The runs that the model is shown and what each is worth; None for those that are still to be known.

        Of those that are known at most so many, the best and the latest. Ended runs come first, then those that are
        alive, then prior ones; each in order of their creation.
        """
        worst = self._metric.worst(value for value in (self.ledger.worst(), *self._prior_worsts()) if value is not None)
        ended = ((f"{_ENDED}{key}", worst if worth is None else worth) for key, worth in self.ledger.worths(_FITTED))
        alive = {run_id: self._worth_alive(run, worst) for run_id, run in self._runs.items()}
        prior = ((f"{_PRIOR}{n}", run.best(self._metric)) for n, run in enumerate(self._prior))
        told = [*ended, *alive.items(), *prior]
        known = [(name, worth) for name, worth in told if worth is not None]
        if len(known) > _FITTED:
            sign = -1 if self._metric.maximize else 1
            best = sorted(known, key=lambda pair: sign * pair[1])[: _FITTED // 2]
            kept = {name for name, _ in (*best, *known[-(_FITTED // 2) :])}
            known = [(name, worth) for name, worth in known if name in kept]
        return {**dict(known), **{run_id: None for run_id, worth in alive.items() if worth is None}}

    def _prior_worsts(self) -> Iterable[float | None]:
        return (self._metric.worst(run.values) for run in self._prior)

    def _worth_alive(self, run: RunWithMetrics, worst: float | None) -> float | None:
        strategy = self._metric.impute_while_running if run.state == "running" else None
        if strategy is None:
            return None
        return worst if strategy == "worst" else run.imputed(strategy, self._metric)

    def _encode(self, values: Iterable[str]) -> dict[str, Params | None]:
        """The runs' parameters as Optuna sees them; None for a run from outside the space."""
        missing = [name for name in values if name not in self._encoded]
        keys = [int(name.removeprefix(_ENDED)) for name in missing if name.startswith(_ENDED)]
        ended = self.ledger.configurations(keys) if keys else {}
        for name in missing:
            self._encoded[name] = self._params(self._config(name, ended), is_prior=name.startswith(_PRIOR))
        self._encoded = {name: self._encoded[name] for name in values}
        return self._encoded

    def _config(self, name: str, ended: Mapping[int, Mapping[str, Any]]) -> Mapping[str, Any]:
        if name.startswith(_ENDED):
            return ended[int(name.removeprefix(_ENDED))]
        return (
            self._prior[int(name.removeprefix(_PRIOR))].config if name.startswith(_PRIOR) else self._runs[name].config
        )

    def _params(self, config: Mapping[str, Any], is_prior: bool) -> Params | None:
        flat = self.space.flat(config)
        if not is_prior and not self.space.holds(flat):
            return None  # of a sweep that was edited: what is held fast must be the same, too
        params = {one.name: one.encode(flat.get(one.name)) for one in self._varying}
        return None if None in params.values() else params


class _Shown(FrozenTrial):
    """A run that the model is shown. Nobody changes it, so Optuna's deep copy is spared: it takes most of an ask."""

    def __deepcopy__(self, memo: dict[int, Any]) -> _Shown:
        return copy.copy(self)


def _shown(params: Params, distributions: dict[str, BaseDistribution], worth: float | None) -> _Shown:
    now = datetime.now()
    return _Shown(
        number=-1,  # Optuna numbers it
        trial_id=-1,
        state=TrialState.RUNNING if worth is None else TrialState.COMPLETE,
        value=worth,
        params=params,
        distributions=distributions,
        datetime_start=now,
        datetime_complete=None if worth is None else now,
        user_attrs={},
        system_attrs={},
        intermediate_values={},
    )


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
