"""Fronts, compared with their definition."""

from __future__ import annotations

import random
import time

from hypothesis import given
from hypothesis import strategies as st
from sweepkit.pareto import fronts

POINTS = st.integers(1, 3).flatmap(
    lambda n: st.tuples(
        st.lists(st.tuples(*[st.integers(0, 4)] * n), max_size=12), st.lists(st.booleans(), min_size=n, max_size=n)
    )
)


def peeled(points: list[tuple[int, ...]], maximize: list[bool]) -> list[int]:
    """By the definition: the first front are those that none dominates; then those that only they dominate; ..."""

    def beats(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
        signed = [(x - y) * (1 if more else -1) for x, y, more in zip(a, b, maximize, strict=True)]
        return min(signed) >= 0 and max(signed) > 0

    numbers = [0] * len(points)
    for front in range(1, len(points) + 1):
        left = [n for n, number in enumerate(numbers) if not number]
        for n in left:
            if not any(beats(points[other], points[n]) for other in left):
                numbers[n] = front
    return numbers


@given(POINTS)
def test_fronts_are_what_their_definition_says(given: tuple[list[tuple[int, ...]], list[bool]]) -> None:
    points, maximize = given
    assert fronts(points, maximize) == peeled(points, maximize)


def test_thousands_of_runs_take_no_time() -> None:
    rng = random.Random(0)
    points = [(rng.random(), rng.random(), rng.random()) for _ in range(3000)]
    began = time.process_time()
    assert min(fronts(points, [True, False, True])) == 1
    assert time.process_time() - began < 5  # half a second where nothing else runs
