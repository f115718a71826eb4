"""Bayesian search: expected improvement on a Gaussian process, with W&B's meaning of what a run is worth.

Why a process of our own and not that of Optuna's GPSampler: docs/search.md, with figures of both.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from .acquisition import Acquisition
from .axes import Axis, axes, decoded, fixed
from .design import start
from .gaussian import Array, GaussianProcess
from .interface import RunWithMetrics
from .metric import Metric
from .random import RandomEngine

_FITTED = 400  # runs that the model sees at most, the best and the latest ones: asking stays quick,
_NUMBERS = 4_000_000  # or fewer with many axes: squared distances that are held at a time
_REPRESENTED = 100  # of those, runs that its hyperparameters are fitted to
_STARTED, _FEWEST = 4, 3  # runs that must have begun, and that must be over, before the model is asked
_START = 64  # points of the start, which agents get until then, however many ask side by side
_BEST = 3  # runs whose neighbourhood is searched
_ENDED, _PRIOR = "ended:", "prior:"  # how the model's runs are called that are not alive; no engine's id has a colon


@dataclass(frozen=True)
class Problem:
    """All that a suggestion depends on: a snapshot, so that it can be solved while the search goes on.

    ``points`` (n, axes) and ``values`` (n,), of which the least is the best, are what is known, ``pending`` (m, axes)
    what is being tried.
    """

    axes: tuple[Axis, ...]
    points: Array
    values: Array
    pending: Array
    seed: str

    def solve(self) -> list[dict[str, Any]]:
        """What to try next, by the names of the axes; the most promising first, others in case that one is taken."""
        rng = _rng(self.seed)
        values = _standard(self.values)
        categories = np.array([axis.is_category for axis in self.axes])
        model = GaussianProcess(self.points, values, categories, _representatives(values))
        if len(self.pending):
            model.imagine(self.pending)
        best = self.points[np.argsort(values)[:_BEST]]
        found = Acquisition(self.axes, model, np.concatenate([self.points, self.pending])).highest(best, rng)
        return decoded(self.axes, found)


@dataclass
class BayesEngine(RandomEngine):
    """The model is fitted anew for each ask, to the runs as they are then.

    The first run is the middle of the space, the next three are spread; more would leave less for what the model says.
    A run that failed, crashed or was killed is worth the worst value of all (``impute``). One that early termination
    stopped is worth the best that it had logged, since that is known. Pending runs are taken to be worth what the model
    believes of them, so that agents asking side by side are sent to different places.
    """

    _prior: list[RunWithMetrics] = field(default_factory=list, init=False)
    _encoded: dict[str, Array | None] = field(default_factory=dict, init=False)  # of the runs that were fitted last
    _solved: Sequence[dict[str, Any]] | None = field(default=None, init=False)

    def tell_existing_finished_run(self, data: RunWithMetrics) -> None:
        self._prior.append(data)
        self.revision += 1

    def problem(self) -> Problem | None:
        values = self._values()
        known = {name: value for name, value in values.items() if value is not None}
        encoded = self._encode(values)
        told = [name for name in known if encoded[name] is not None]
        started = self._known_runs() + len(self._prior)
        if not self._axes or len(told) < _FEWEST or started < _STARTED:
            return None
        sign = -1.0 if self._metric.maximize else 1.0
        pending = [point for name, point in encoded.items() if values[name] is None and point is not None]
        return Problem(
            self._axes,
            np.array([encoded[name] for name in told]),
            sign * np.array([known[name] for name in told]),
            np.array(pending).reshape(len(pending), len(self._axes)),
            f"{self.seed}:{self._known_runs()}",
        )

    def solved(self, suggestions: Sequence[dict[str, Any]]) -> None:
        self._solved = suggestions

    @property
    def _metric(self) -> Metric:
        assert self.settings.metric is not None  # bayes without a metric is refused when the sweep is made
        return self.settings.metric

    @cached_property
    def _axes(self) -> tuple[Axis, ...]:
        return axes(self.space.parameters)

    @cached_property
    def _fixed(self) -> dict[str, Any]:
        return fixed(self.space.parameters)

    @cached_property
    def _start(self) -> list[dict[str, Any]]:
        """The configurations of the first runs."""
        if not self._axes:
            return []
        return decoded(self._axes, start(self._axes, _START, _rng(self.seed)))

    def _propose(self) -> dict[str, Any] | None:
        suggestions, self._solved = self._solved, None
        if suggestions is None:
            problem = self.problem()
            number = self._known_runs()
            suggestions = problem.solve() if problem is not None else self._start[number : number + 1]
        for varying in suggestions:
            flat = {**self._fixed, **varying}
            if not self._is_taken(flat):
                return flat
        return self._draw()

    def _values(self) -> dict[str, float | None]:
        """The runs that the model is shown and what each is worth; None for those that are still to be known.

        Of those that are known at most so many, the best and the latest. Ended runs come first, then those that are
        alive, then prior ones; each in order of their creation.
        """
        worst = self._metric.worst(value for value in (self.ledger.worst(), *self._prior_worsts()) if value is not None)
        most = min(_FITTED, math.isqrt(_NUMBERS // max(len(self._axes), 1)))
        ended = ((f"{_ENDED}{key}", worst if worth is None else worth) for key, worth in self.ledger.worths(most))
        alive = {run_id: self._worth_alive(run, worst) for run_id, run in self._runs.items()}
        prior = ((f"{_PRIOR}{n}", run.best(self._metric)) for n, run in enumerate(self._prior))
        told = [*ended, *alive.items(), *prior]
        known = [(name, worth) for name, worth in told if worth is not None]
        if len(known) > most:
            sign = -1 if self._metric.maximize else 1
            best = sorted(known, key=lambda pair: sign * pair[1])[: most // 2]
            kept = {name for name, _ in (*best, *known[-(most // 2) :])}
            known = [(name, worth) for name, worth in known if name in kept]
        return {**dict(known), **{run_id: None for run_id, worth in alive.items() if worth is None}}

    def _prior_worsts(self) -> Iterable[float | None]:
        return (self._metric.worst(run.values) for run in self._prior)

    def _worth_alive(self, run: RunWithMetrics, worst: float | None) -> float | None:
        strategy = self._metric.impute_while_running if run.state == "running" else None
        if strategy is None:
            return None
        return worst if strategy == "worst" else run.imputed(strategy, self._metric)

    def _encode(self, values: Iterable[str]) -> dict[str, Array | None]:
        """Where the runs lie; None for a run from outside the space."""
        missing = [name for name in values if name not in self._encoded]
        keys = [int(name.removeprefix(_ENDED)) for name in missing if name.startswith(_ENDED)]
        ended = self.ledger.configurations(keys) if keys else {}
        for name in missing:
            self._encoded[name] = self._point(self._config(name, ended), is_prior=name.startswith(_PRIOR))
        self._encoded = {name: self._encoded[name] for name in values}
        return self._encoded

    def _config(self, name: str, ended: Mapping[int, Mapping[str, Any]]) -> Mapping[str, Any]:
        if name.startswith(_ENDED):
            return ended[int(name.removeprefix(_ENDED))]
        return (
            self._prior[int(name.removeprefix(_PRIOR))].config if name.startswith(_PRIOR) else self._runs[name].config
        )

    def _point(self, config: Mapping[str, Any], is_prior: bool) -> Array | None:
        flat = self.space.flat(config)
        if not is_prior and not self.space.holds(flat):
            return None  # of a sweep that was edited: what is held fast must be the same, too
        point = [axis.encode(flat.get(axis.name)) for axis in self._axes]
        return None if None in point else np.array(point, dtype=float)


def _rng(seed: str) -> np.random.Generator:
    return np.random.default_rng(random.Random(seed).getrandbits(64))


def _standard(values: Array) -> Array:
    """The values with mean 0 and deviation 1, bent so that they are spread about evenly on both sides.

    Losses are often far off at the bad end, which would leave a model no room for the differences that matter. Source
    of the power transform: Yeo and Johnson, A New Family of Power Transformations (2000).
    """
    scaled = values / max(float(np.abs(values).max()), 1e-300)  # whatever its size, a square of it is finite
    standard = _centred(scaled)
    if not standard.any():
        return standard
    bent = _centred(np.asarray(stats.yeojohnson(standard)[0]))
    return bent if np.isfinite(bent).all() and bent.any() else standard


def _centred(values: Array) -> Array:
    off = values - values.mean()
    deviation = off.std()
    return off / deviation if deviation > 1e-12 else np.zeros_like(off)


def _representatives(values: Array) -> NDArray[np.intp]:
    """Of many runs, those that hyperparameters are fitted to: half are the best, half are spread over all."""
    if len(values) <= _REPRESENTED:
        return np.arange(len(values))
    order = np.argsort(values)
    half = _REPRESENTED // 2
    others = order[half:]
    return np.sort(np.concatenate([order[:half], others[np.linspace(0, len(others) - 1, half).astype(int)]]))
