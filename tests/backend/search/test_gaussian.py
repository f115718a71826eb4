"""The Gaussian process and the expected improvement on it, against what they are by definition."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import integrate, stats
from sweepkit.backend.search.acquisition import Acquisition, log_improvement
from sweepkit.backend.search.axes import axes
from sweepkit.backend.search.design import spread
from sweepkit.backend.search.gaussian import Array, GaussianProcess, _loss
from sweepkit.space import parse

NUMBERS = {name: {"min": 0.0, "max": 1.0} for name in "abc"}


def fitted(points: Array, measure: Callable[[Array], Array], categories: list[bool] | None = None) -> GaussianProcess:
    values = measure(points)
    values = (values - values.mean()) / values.std()
    flags = np.array(categories or [False] * points.shape[1])
    return GaussianProcess(points, values, flags, np.arange(len(points)))


def bowl(points: Array) -> Array:
    return np.asarray(((points - 0.37) ** 2).sum(axis=1))


def test_the_slope_of_the_likelihood_is_its_slope() -> None:
    rng = np.random.default_rng(0)
    points, values = rng.random((20, 3)), rng.standard_normal(20)
    squares = np.square(points.T[:, :, None] - points.T[:, None, :])
    at = np.array([0.1, -0.3, 0.2, 0.1, -3.0, 0.3])
    _, slope = _loss(at, squares, values)
    steps = 1e-5 * np.eye(len(at))
    measured = [(_loss(at + d, squares, values)[0] - _loss(at - d, squares, values)[0]) / 2e-5 for d in steps]
    assert slope == pytest.approx(measured, abs=1e-6)


def test_it_knows_what_was_measured_and_doubts_what_was_not() -> None:
    points = np.random.default_rng(1).random((30, 3)) * [1.0, 1.0, 0.5]
    model = fitted(points, bowl)
    values = (bowl(points) - bowl(points).mean()) / bowl(points).std()
    means, deviations = model.predict(points)
    assert means == pytest.approx(values, abs=0.15)
    assert model.least == values.min()
    far = model.predict(np.array([[0.5, 0.5, 1.0]]))[1]
    assert far[0] > 2 * deviations.max()


def test_an_axis_that_matters_alone_is_known_everywhere() -> None:
    """The additive part: what was seen of one axis at one place of the others holds at all places."""
    rng = np.random.default_rng(2)
    points = rng.random((40, 4))
    model = fitted(points, lambda p: np.asarray(np.sin(6 * p).sum(axis=1)))
    new = rng.random((200, 4))
    means = model.predict(new)[0]
    assert np.corrcoef(means, np.sin(6 * new).sum(axis=1))[0, 1] > 0.95


def test_categories_are_equally_far_apart() -> None:
    points = np.array([[0.0, 0.2], [1.0, 0.2], [2.0, 0.2], [0.0, 0.8], [1.0, 0.8], [2.0, 0.8]])
    model = fitted(points, lambda p: np.where(p[:, 0] == 1, -1.0, 1.0) + 0.01 * p[:, 1], [True, False])
    means = model.predict(np.array([[0.0, 0.5], [1.0, 0.5], [2.0, 0.5]]))[0]
    assert means[1] < means[0] == pytest.approx(means[2], abs=1e-6)


def test_what_is_imagined_is_known() -> None:
    model = fitted(np.random.default_rng(3).random((10, 2)), bowl)
    there = np.array([[0.9, 0.1], [0.9, 0.1]])  # two agents at the very same place
    before_mean, before = model.predict(there)
    model.imagine(there)
    mean, after = model.predict(there)
    assert (after < 0.5 * before).all()
    assert mean == pytest.approx(before_mean, abs=1e-3), "it is believed to be what it was thought to be"


@pytest.mark.parametrize("z", [-300.0, -50.1, -49.9, -20.0, -3.0, -1.01, -0.99, 0.0, 2.0, 40.0])
def test_expected_improvement(z: float) -> None:
    found = float(log_improvement(np.array([z]))[0])
    # E max(0, N(z, 1)) is the integral of x phi(x - z); the factor phi(z) is taken out, so that nothing vanishes
    scaled, _ = integrate.quad(lambda x: x * np.exp(min(x * z - x * x / 2, 700.0)), 0, max(10.0, z + 10.0), limit=500)
    if z < 30:
        assert found == pytest.approx(np.log(scaled) + stats.norm.logpdf(z), rel=1e-3, abs=1e-6)
    else:
        assert found == pytest.approx(np.log(z), abs=1e-9)


def test_expected_improvement_grows() -> None:
    z = np.linspace(-200, 20, 4001)
    assert (np.diff(log_improvement(z)) > 0).all()


def test_the_highest_place_is_found() -> None:
    space, rng = axes(parse(NUMBERS).parameters), np.random.default_rng(4)
    points = spread(space, 32, rng)
    model = fitted(points, bowl)
    search = Acquisition(space, model, points)
    found = search.highest(points[bowl(points).argsort()[:3]], rng)
    worth = log_improvement((model.least - model.predict(found)[0]) / model.predict(found)[1])
    anywhere = rng.random((20_000, 3))
    means, deviations = model.predict(anywhere)
    elsewhere = log_improvement((model.least - means) / deviations) + np.log(deviations)
    assert (worth + np.log(model.predict(found)[1]))[0] > elsewhere.max() - 0.05
    assert bowl(found[:1])[0] < bowl(points).min()


def test_known_points_are_not_suggested_again() -> None:
    space = axes(parse({"x": {"values": [1, 2, 3, 4]}, "y": {"values": ["a", "b"]}}).parameters)
    every = np.array([[level, category] for level in space[0].levels for category in (0.0, 1.0)])
    model = fitted(every[:-1], lambda p: p[:, 0], [False, True])
    rng = np.random.default_rng(5)
    assert np.array_equal(Acquisition(space, model, every[:-1]).highest(every[:3], rng), every[-1:])
    assert len(Acquisition(space, model, every).highest(every[:3], rng)) == 0
