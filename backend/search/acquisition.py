"""Where a Gaussian process promises most: the expected improvement, and the search for its highest places.

Source of the formula, in a form that does not vanish far from the best value: Ament, Daulton, Eriksson, Balandat and
Bakshy, Unexpected Improvements to Expected Improvement for Bayesian Optimization (2023). Source of weighing it with a
belief that fades as more becomes known: Hvarfner, Stoll, Souza, Lindauer, Hutter and Nardi, πBO: Augmenting Acquisition
Functions with User Beliefs for Bayesian Optimization (2022).

The search needs no gradients, so that continuous, ordered and categorical axes are searched alike: it looks at points
spread evenly and at neighbours of the best ones, then walks from the most promising with steps that shrink.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import log_ndtr, ndtr

from .axes import Axis
from .design import belief, spread
from .gaussian import Array, GaussianProcess

_SPREAD = 512  # points all over the cube
_NEIGHBOURS = 100  # of each of the best points, at each of the wide steps
_WIDE = (0.2, 0.05)
_STARTS, _APART = 4, 0.05  # walks, and how far from each other they begin
_WALK = (0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)  # the steps of a walk, parts of an axis
_STEPS = 40  # neighbours that are looked at for each step
_TRUST = 10.0  # the belief counts with this power over the number of points that are known
_SAME = 1e-4  # points nearer than this along every axis are the same point
_FAR = -50.0  # beyond this many deviations the expansion of log EI is used
_LOG_ROOT_TWO_PI = 0.5 * math.log(2 * math.pi)


class Acquisition:
    """The logarithm of the expected improvement on ``model``, weighed; what is ``known`` (n, axes) improves nothing."""

    def __init__(self, axes: Sequence[Axis], model: GaussianProcess, known: Array) -> None:
        self._axes = axes
        self._model = model
        self._known = known

    def highest(self, best: Array, rng: np.random.Generator) -> Array:
        """The most promising points (m, axes), most promising first; ``best`` are the best ones so far.

        Empty where nothing is left that is not known.
        """
        near = [self._near(point, _NEIGHBOURS, step, rng) for point in best for step in _WIDE]
        points = np.concatenate([spread(self._axes, _SPREAD, rng), *near])
        worth = self._worth(points)
        starts: list[int] = []
        for i in np.argsort(-worth):
            if len(starts) == _STARTS or worth[i] == -np.inf:
                break
            if all(np.abs(points[i] - points[j]).max() > _APART for j in starts):
                starts.append(int(i))
        return self._walk(points[starts], worth[starts], rng) if starts else points[:0]

    def _walk(self, points: Array, worth: Array, rng: np.random.Generator) -> Array:
        for step in _WALK:
            around = np.stack([self._near(point, _STEPS, step, rng) for point in points])
            found = self._worth(around.reshape(-1, points.shape[1])).reshape(len(points), _STEPS)
            best = found.argmax(axis=1)
            rows = np.flatnonzero(found[np.arange(len(points)), best] > worth)
            points[rows], worth[rows] = around[rows, best[rows]], found[rows, best[rows]]
        return points[np.argsort(-worth)]

    def _worth(self, points: Array) -> Array:
        means, deviations = self._model.predict(points)
        worth = log_improvement((self._model.least - means) / deviations) + np.log(deviations)
        worth += _TRUST / len(self._known) * belief(self._axes, points)
        apart = np.abs(points[:, None] - self._known[None]).max(axis=2).min(axis=1)
        worth[apart < _SAME] = -np.inf
        return np.asarray(worth)

    def _near(self, point: Array, count: int, step: float, rng: np.random.Generator) -> Array:
        """Neighbours of a point, changed along a few of its axes."""
        axes = len(point)
        changed = rng.random((count, axes)) < max(2.5 / axes, 0.25)
        changed[np.arange(count), rng.integers(0, axes, count)] = True
        steps = rng.standard_normal((count, axes)) * step
        points = np.repeat(point[None], count, axis=0)
        for i, axis in enumerate(self._axes):
            rows = changed[:, i]
            if axis.is_category:
                rows &= rng.random(count) < np.clip(4 * step, 0.1, 1.0)
                points[rows, i] = rng.integers(0, len(axis.choices), int(rows.sum()))
            elif len(axis.levels):
                here, last = int(np.abs(axis.levels - point[i]).argmin()), len(axis.levels) - 1
                whole = np.round(steps[:, i] * (last + 1)).astype(int)
                whole = np.where(whole == 0, rng.choice((-1, 1), count), whole)
                rows &= rng.random(count) < 0.7
                points[rows, i] = axis.levels[np.clip(here + whole[rows], 0, last)]
            else:
                reflected = 1 - np.abs(1 - np.abs(point[i] + steps[rows, i]))  # at both ends: few end up on the edge
                points[rows, i] = np.clip(reflected, 0.0, 1.0)
        return points


def log_improvement(z: Array) -> Array:
    """log E[max(0, N(z, 1))], for any finite ``z``."""
    found = np.empty_like(z)
    near, far = z > -1, z < _FAR
    between = ~near & ~far
    x = z[near]
    found[near] = np.log(np.exp(-0.5 * x * x - _LOG_ROOT_TWO_PI) + x * ndtr(x))
    x = z[between]
    log_density = -0.5 * x * x - _LOG_ROOT_TWO_PI
    found[between] = log_density + np.log1p(x * np.exp(log_ndtr(x) - log_density))
    x = z[far]
    found[far] = -0.5 * x * x - _LOG_ROOT_TWO_PI - 2 * np.log(-x)
    return found
