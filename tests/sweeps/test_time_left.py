"""The time left: never nonsense, right where trials are alike, and right in the end whatever they are."""

from __future__ import annotations

import heapq
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sweepkit.sweeps.time_left import Left, Running, short, time_left, told

ANY = st.floats(allow_nan=True, allow_infinity=True)
RUNNING = st.builds(Running, ANY, st.none() | ANY)


@given(st.lists(ANY), st.lists(RUNNING), st.none() | st.integers(-5, 20_000), st.integers(0, 200))
def test_whatever_comes_it_is_a_time_or_not_known(
    ended: list[float], running: list[Running], waiting: int | None, places: int
) -> None:
    ended = [min(each, 1e12) for each in ended]
    running = [Running(min(each.seconds, 1e12), each.done) for each in running]
    left = time_left(ended, running, waiting, places)
    if left is None:
        return
    assert all(math.isfinite(each) for each in (left.seconds, left.low, left.high))
    assert 0 <= left.low <= left.seconds <= left.high
    assert told(left)


def play(lengths: list[float], places: int, at: float) -> tuple[list[float], list[Running], int, float]:
    """A sweep at a moment: what has ended, what runs, how many wait; and when it really ends."""
    free = [0.0] * places
    spans = []
    for length in lengths:
        start = free[0]
        heapq.heapreplace(free, start + length)
        spans.append((start, start + length))
    ended = [end - start for start, end in spans if end <= at]
    running = [Running(at - start) for start, end in spans if start <= at < end]
    return ended, running, sum(start > at for start, _ in spans), max(free)


@given(st.floats(0.5, 5000), st.integers(1, 60), st.integers(1, 12), st.floats(0, 1))
def test_trials_that_are_alike_end_when_it_says(length: float, trials: int, places: int, part: float) -> None:
    whole = math.ceil(trials / places) * length
    at = length + part * (whole - length)
    ended, running, waiting, end = play([length] * trials, places, at)
    left = time_left(ended, running, waiting, places)
    assert left is not None
    assert left.seconds == pytest.approx(end - at, rel=1e-6, abs=length * 0.02 + 1e-6)
    assert left.high - left.low <= 1e-6 * length


@given(st.lists(st.floats(1, 100), min_size=8, max_size=80), st.integers(1, 8))
def test_it_comes_to_nothing_with_the_sweep(lengths: list[float], places: int) -> None:
    """Near the end it is near the end, whatever the trials were like, and nothing is left when all is over."""
    *_, end = play(lengths, places, 0.0)
    over, running, waiting, _ = play(lengths, places, end)
    assert (running, waiting) == ([], 0)
    assert time_left(over, [], 0, places) == Left(0.0, 0.0, 0.0)
    for left_of_it in (0.5, 0.1, 0.01):
        ended, running, waiting, _ = play(lengths, places, end * (1 - left_of_it))
        if (left := time_left(ended, running, waiting, places)) is not None:
            assert abs(left.seconds - end * left_of_it) <= (waiting / places + 2) * 2 * max(lengths)


@pytest.mark.parametrize("spread", [0.1, 0.5])
def test_it_gets_better_and_its_spread_narrower(spread: float) -> None:
    """Over many sweeps: the mean error at nine tenths is far below that at a tenth, and the range holds most ends."""
    dice = random.Random(4)
    errors: dict[float, list[float]] = {0.1: [], 0.5: [], 0.9: []}
    within = 0
    for _ in range(200):
        lengths = [max(1.0, dice.gauss(100, 100 * spread)) for _ in range(100)]
        for part, found in errors.items():
            *_, end = play(lengths, 4, 0.0)
            ended, running, waiting, _ = play(lengths, 4, end * part)
            left = time_left(ended, running, waiting, 4)
            assert left is not None
            found.append(abs(left.seconds - end * (1 - part)))
            within += left.low <= end * (1 - part) <= left.high
    means = [sum(found) / len(found) for found in errors.values()]
    assert means[0] > means[1] > means[2]
    assert within / 600 > 0.5


def test_what_tells_nothing_is_not_known() -> None:
    assert time_left([], [], 5, 2) is None  # nothing has ended
    assert time_left([10.0], [], None, 2) is None  # the search has no end
    assert time_left([10.0], [], 5, 0) is None  # nobody works
    assert time_left([], [Running(5.0)], 0, 1) is None
    assert time_left([math.nan], [], 1, 1) is None


def test_epochs_tell_before_anything_has_ended() -> None:
    left = time_left([], [Running(30.0, 0.25), Running(60.0, 0.5)], 2, 2)
    assert left is not None
    assert left.seconds == pytest.approx(90 + 120)  # both that wait take 120 s; the later begins after 90 s


def test_early_stopped_and_failed_trials_make_the_mean_what_it_is() -> None:
    """Nine trials that hyperband stopped after 10 s, and one that took 100: twenty more take 20 * 19 s."""
    left = time_left([10.0] * 9 + [100.0], [], 20, 1)
    assert left is not None
    assert left.seconds == pytest.approx(20 * 19)
    assert left.low < 20 * 19 - 100 < 20 * 19 + 100 < left.high


def test_a_trial_that_takes_longer_than_all_before_is_not_about_to_end() -> None:
    left = time_left([10.0, 12.0], [Running(600.0)], 0, 1)
    assert left is not None
    assert left.seconds == pytest.approx(200)


def test_the_words() -> None:
    assert [short(each) for each in (0.2, 7.4, 42, 61, 3540, 3700, 7260, 90_000)] == [
        "0s", "7s", "40s", "1m", "59m", "1h", "2h", "1d 1h"
    ]  # fmt: skip
    assert told(Left(600, 595, 605)) == "about 10m left"
    assert told(Left(600, 480, 720)) == "8m to 12m left"
    assert told(Left(0.0, 0.0, 0.0)) == "about 0s left"
