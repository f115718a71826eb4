"""A digest stands for the whole history in all that a search asks."""

from __future__ import annotations

import math
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sweepkit.backend.search.digest import Digest
from sweepkit.backend.search.hyperband import Hyperband
from sweepkit.backend.search.interface import RunWithMetrics
from sweepkit.backend.search.metric import Metric

HISTORIES = st.lists(st.lists(st.integers(-5, 5).map(float), max_size=40), min_size=1, max_size=8)


def _digest(values: list[float], bands: tuple[int, ...]) -> Digest:
    digest = Digest(bands)
    for value in values:
        digest.add(value)
    return digest


@given(HISTORIES, st.booleans(), st.booleans(), st.sampled_from([2.0, 3.0]))
def test_runs_are_stopped_and_judged_as_by_their_whole_histories(
    histories: list[list[float]], maximize: bool, strict: bool, eta: float
) -> None:
    metric, stopper = Metric("m", maximize), Hyperband((1, 3, 9, 27), eta, strict)
    whole = {str(n): values for n, values in enumerate(histories)}
    digests = {name: _digest(values, stopper.bands) for name, values in whole.items()}

    def threshold(band: int) -> float | None:
        reached = sorted((one[band - 1] for one in whole.values() if len(one) >= band), reverse=maximize)
        return reached[stopper.rank(len(reached))] if reached else None

    assert stopper.decide(digests, threshold, metric) == stopper.decide(whole, threshold, metric)
    for name, values in whole.items():
        run, same = (
            RunWithMetrics({}, "running", "", digests[name], 7.0),
            RunWithMetrics({}, "running", "", values, 7.0),
        )
        assert run.best(metric) == same.best(metric)
        assert metric.worst(run.values) == metric.worst(same.values)
        assert run.values[-1] == same.values[-1]
        assert len(digests[name]) == len(values)
        assert list(digests[name])[-1:] == values[-1:]


def test_a_million_values_take_no_more_than_a_few() -> None:
    digest = _digest([math.sin(n) for n in range(1_000_000)], (1, 3, 9))
    assert len(digest) == 1_000_000
    assert sum(map(sys.getsizeof, (digest, vars(digest), *vars(digest).values(), *digest))) < 2_500
    assert (digest[0], digest[2], digest[-1]) == (0.0, math.sin(2), math.sin(999_999))
    with pytest.raises(IndexError, match="not kept"):
        digest[5]
