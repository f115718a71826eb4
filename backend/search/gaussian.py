"""A Gaussian process over a sweep's axes: what a metric is worth where it was not measured, and how sure that is.

Sources: Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), for the Matérn 5/2 kernel (4.17), the
posterior (2.25, 2.26), the marginal likelihood (2.30) and its gradient (5.9); Duvenaud, Nickisch and Rasmussen,
Additive Gaussian Processes (2011), for the additive part; Hvarfner, Hellsten and Nardi, Vanilla Bayesian Optimization
Performs Great in High Dimensions (2024), for length scales that grow with the number of axes.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize

Array = NDArray[np.float64]

_JITTER = 1e-8  # on the diagonal, so that the Cholesky decomposition of equal rows succeeds
# The prior of the hyperparameters' logarithms (the share's logit), each with its mean and deviation. Length scales have
# a part in common, so that few runs are enough to learn how fine the whole is, and each a part of its own.
_SCALE, _COMMON, _OWN = math.log(0.5), 1.0, 0.5
_NOISE, _NOISE_DEVIATION = math.log(1e-4), 2.5  # of the noise's variance; the values' own is 1
_SHARE, _SHARE_DEVIATION = -1.0, 1.5  # of the additive share's logit
_BOUNDS = (-5.0, 5.0), (-4.0, 4.0), (math.log(1e-6), 0.0), (-6.0, 6.0)  # length scales, amplitude, noise, share
_ITERATIONS = 40
_AT_A_TIME = 500_000  # squared distances: a few MiB, however many points are asked about


class GaussianProcess:
    """Fitted to ``points`` (n, axes) and their ``values`` (n,), which have mean 0 and deviation 1.

    The kernel is an amplitude times a mixture of a Matérn 5/2 of all axes together and the mean of one for each axis
    alone: effects of hyperparameters are mostly their own, and what is learned of one axis then holds everywhere. On a
    category's axis any two different values are equally far apart.

    Hyperparameters are those most probable given the values (maximum a posteriori). With many points they are found
    by ``representatives`` of them (indices), since their search costs time cubic in their number.
    """

    def __init__(
        self, points: Array, values: Array, categories: NDArray[np.bool_], representatives: NDArray[np.intp]
    ) -> None:
        self._points = points
        self._categories = categories
        self._axes = points.shape[1]
        self._parameters = self._fit(points[representatives], values[representatives])
        self._noise = math.exp(self._parameters[self._axes + 1]) + _JITTER
        self._amplitude = math.exp(self._parameters[self._axes])
        covariance = self._kernel(points, points)
        covariance[np.diag_indices(len(points))] += self._noise
        self._factor = cholesky(covariance, lower=True, check_finite=False)
        self._values = values
        self._weights = cho_solve((self._factor, True), values, check_finite=False)

    @property
    def least(self) -> float:
        """The least value of all points."""
        return float(self._values.min())

    def imagine(self, points: Array) -> None:
        """Take ``points`` (m, axes) for measured, each worth what is believed of it.

        Source: Ginsbourger, Le Riche and Carraro, Kriging Is Well-Suited to Parallelize Optimization (2010); W&B's
        engine does so too.
        """
        cross = self._kernel(points, self._points)
        root = solve_triangular(self._factor, cross.T, lower=True, check_finite=False)
        covariance = self._kernel(points, points) - root.T @ root
        covariance[np.diag_indices(len(points))] += self._noise + 1e-6
        known = len(self._points)
        factor = np.zeros((known + len(points),) * 2)
        factor[:known, :known], factor[known:, :known] = self._factor, root.T
        factor[known:, known:] = cholesky(covariance, lower=True, check_finite=False)
        self._values = np.concatenate([self._values, cross @ self._weights])
        self._points, self._factor = np.concatenate([self._points, points]), factor
        self._weights = cho_solve((factor, True), self._values, check_finite=False)

    def predict(self, points: Array) -> tuple[Array, Array]:
        """Means and deviations of the values at ``points`` (m, axes), without noise, both (m,)."""
        rows = max(1, _AT_A_TIME // self._points.size)
        parts = [self._predict(points[i : i + rows]) for i in range(0, len(points), rows)]
        return np.concatenate([mean for mean, _ in parts]), np.concatenate([deviation for _, deviation in parts])

    def _predict(self, points: Array) -> tuple[Array, Array]:
        cross = self._kernel(points, self._points)
        root = solve_triangular(self._factor, cross.T, lower=True, check_finite=False)
        variance = np.maximum(self._amplitude - (root * root).sum(axis=0), 1e-12)
        return cross @ self._weights, np.sqrt(variance)

    def _kernel(self, points: Array, others: Array) -> Array:
        scaled = self._squares(points, others) * np.exp(-2 * self._parameters[: self._axes])[:, None, None]
        share = _sigmoid(self._parameters[-1])
        joint, alone = _matern(scaled.sum(axis=0))[0], _matern(scaled)[0].mean(axis=0)
        return np.asarray(self._amplitude * ((1 - share) * joint + share * alone))

    def _squares(self, points: Array, others: Array) -> Array:
        """Squared distances along each axis, (axes, points, others)."""
        squares = np.square(points.T[:, :, None] - others.T[:, None, :])
        squares[self._categories] = squares[self._categories] > 0
        return squares

    def _fit(self, points: Array, values: Array) -> Array:
        axes = self._axes
        start = np.array([_SCALE + 0.5 * math.log(axes)] * axes + [0.0, math.log(1e-3), _SHARE])
        bounds = [_BOUNDS[0]] * axes + [*_BOUNDS[1:]]
        squares = self._squares(points, points)
        found = minimize(
            _loss, start, (squares, values), "L-BFGS-B", jac=True, bounds=bounds, options={"maxiter": _ITERATIONS}
        )
        return np.asarray(found.x)


def _loss(parameters: Array, squares: Array, values: Array) -> tuple[float, Array]:
    """The negative logarithm of the hyperparameters' posterior density but for a constant, and its gradient."""
    axes, n = squares.shape[:2]
    amplitude, noise, share = *np.exp(parameters[axes : axes + 2]), _sigmoid(parameters[-1])
    scaled = squares * np.exp(-2 * parameters[:axes])[:, None, None]
    (joint, joint_slope), (each, each_slope) = _matern(scaled.sum(axis=0)), _matern(scaled)
    alone = each.mean(axis=0)
    smooth = amplitude * ((1 - share) * joint + share * alone)
    covariance = smooth.copy()
    covariance[np.diag_indices(n)] += noise + _JITTER
    try:
        factor = cholesky(covariance, lower=True, check_finite=False)
    except LinAlgError:
        return 1e10, np.zeros_like(parameters)
    inverse = cho_solve((factor, True), np.eye(n), check_finite=False)
    weights = inverse @ values
    outer = inverse - np.outer(weights, weights)
    gradient = np.empty_like(parameters)
    gradient[:axes] = -(1 - share) * amplitude * np.einsum("ij,dij->d", outer * joint_slope, scaled)
    gradient[:axes] -= share * amplitude / axes * np.einsum("ij,dij,dij->d", outer, each_slope, scaled)
    gradient[axes] = 0.5 * np.sum(outer * smooth)
    gradient[axes + 1] = 0.5 * noise * np.trace(outer)
    gradient[axes + 2] = 0.5 * amplitude * share * (1 - share) * np.sum(outer * (alone - joint))
    fit = 0.5 * values @ weights + np.log(np.diag(factor)).sum()
    density, slope = _prior(parameters, axes)
    return float(fit - density), gradient - slope


def _prior(parameters: Array, axes: int) -> tuple[float, Array]:
    """The logarithm of the hyperparameters' prior density but for a constant, and its gradient."""
    scales = parameters[:axes] - (_SCALE + 0.5 * math.log(axes))
    common = _COMMON**2 / (_OWN**2 + axes * _COMMON**2)  # the covariance's inverse, by Sherman and Morrison
    others = parameters[axes:] - np.array([0.0, _NOISE, _SHARE])
    deviations = np.array([1.0, _NOISE_DEVIATION, _SHARE_DEVIATION])
    slope = np.concatenate([-(scales - common * scales.sum()) / _OWN**2, -others / deviations**2])
    return 0.5 * float(scales @ slope[:axes] + others @ slope[axes:]), slope


def _matern(squares: Array) -> tuple[Array, Array]:
    """Matérn 5/2 of a scaled squared distance, and its derivative by that."""
    root = np.sqrt(5 * squares)
    decay = np.exp(-root)
    return (1 + root + 5 / 3 * squares) * decay, -5 / 6 * (1 + root) * decay


def _sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))
