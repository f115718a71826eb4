"""What is believed of a space before anything was measured, and where to look without a model.

Whoever writes a range mostly expects good values in its middle, so the middle of the space is where a search begins, as
Ax's does, and its edges are looked at last. The belief is a beta distribution on each axis that has an order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv
from scipy.stats import qmc

from .axes import Axis, Points

_SHAPE = 1.5  # both parameters of the beta distribution: flat over most of an axis, half of the height at 7 % of it
_EDGE = 0.02  # nearer to an end than this is no less likely


def spread(axes: Sequence[Axis], count: int, rng: np.random.Generator) -> Points:
    """``count`` points, a power of two, spread evenly over all axes: a scrambled Sobol sequence, (count, axes)."""
    return _points(axes, _sobol(axes, count, rng))


def start(axes: Sequence[Axis], count: int, rng: np.random.Generator) -> Points:
    """The first ``count`` points of a search, a power of two, (count, axes): the middle, then some spread as believed.

    Categories have no middle: theirs are drawn.
    """
    units = _sobol(axes, count, rng)
    ordered = _ordered(axes)
    units[:, ordered] = betaincinv(_SHAPE, _SHAPE, units[:, ordered])
    units[0, ordered] = 0.5
    return _points(axes, units)


def belief(axes: Sequence[Axis], points: Points) -> NDArray[np.float64]:
    """The logarithm of the believed density at ``points`` (n, axes), 0 in the middle, (n,)."""
    inner = np.clip(points[:, _ordered(axes)], _EDGE, 1 - _EDGE)
    return np.asarray((_SHAPE - 1) * np.log(4 * inner * (1 - inner)).sum(axis=1))


def _ordered(axes: Sequence[Axis]) -> list[int]:
    return [i for i, axis in enumerate(axes) if not axis.is_category]


def _sobol(axes: Sequence[Axis], count: int, rng: np.random.Generator) -> Points:
    return np.asarray(qmc.Sobol(len(axes), scramble=True, rng=rng).random(count))


def _points(axes: Sequence[Axis], units: Points) -> Points:
    return np.stack([axis.from_unit(units[:, i]) for i, axis in enumerate(axes)], axis=1)
