"""Packing in simulation: places whose throughput saturates, declines or is noisy, and that run out of memory."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sweepkit.sweeps.agents.packing import Packing

GIB = 2**30
Throughput = Callable[[int], float]


class Place:
    """A simulated GPU: ``throughput(n)`` is what ``n`` trials do together; trials differ in speed and in length."""

    def __init__(
        self, throughput: Throughput, noise: float = 0.0, memory: float = 1.0, total: float = 80.0,
        length: tuple[int, int] = (20, 60), seed: int = 0, most: int = 16,
    ) -> None:  # fmt: skip
        self.throughput, self.noise, self.need, self.total, self.length = throughput, noise, memory, total, length
        self.random = random.Random(seed)
        self.packing = Packing(most)
        self.trials: dict[str, list[float]] = {}  # name -> [its own speed, looks left]
        self.number = 0
        self.crashes = 0
        self.most = 0

    def run(self, looks: int) -> int:
        for _ in range(looks):
            self.look()
        return self.packing.slots

    def look(self) -> None:
        while len(self.trials) < self.packing.slots:
            self.number += 1
            self.trials[str(self.number)] = [self.random.lognormvariate(0, 1), self.random.randint(*self.length)]
        count = len(self.trials)
        self.most = max(self.most, count)
        if count * self.need > self.total:
            self.crashes += 1
            self.trials.popitem()
            assert self.packing.out_of_memory(count)
            return
        self.packing.memory(int(count * self.need * GIB), int(self.total * GIB))
        for name, trial in list(self.trials.items()):
            rate = trial[0] * self.throughput(count) / count * self.random.lognormvariate(0, self.noise)
            if count == self.packing.slots:
                self.packing.rate(name, rate)
            trial[1] -= 1
            if trial[1] <= 0:
                del self.trials[name]
                self.packing.ended(None)
        self.packing.decide()


def saturating(at: float) -> Throughput:
    return lambda trials: min(trials, at)


@pytest.mark.parametrize("at", [1, 2, 3, 5, 8])
def test_it_grows_to_where_throughput_ends_and_stays(at: int) -> None:
    place = Place(saturating(at))
    assert place.run(400) in (at, at + 1)  # for a moment, when it looks again whether one more pays by now
    assert place.most <= at + 1


def test_it_never_grows_where_trials_only_take_from_each_other() -> None:
    place = Place(lambda trials: 1 / trials)
    assert place.run(30) == 1
    assert place.packing.why == "2 trials do 0.50 times as much as 1"
    place.run(1000)
    assert place.most == 2


def test_it_does_not_try_what_does_not_fit() -> None:
    place = Place(lambda trials: trials, memory=15, total=80)
    assert place.run(400) == 4  # 75 of 80 would be more than 0.9 of it
    assert place.crashes == 0


def test_unknown_memory_is_not_tried() -> None:
    packing = Packing(8)
    for _ in range(9):
        packing.rate("a", 1.0)
    assert packing.decide() == 1
    packing.memory(GIB, 80 * GIB)
    assert packing.decide() == 2


def test_it_backs_off_when_memory_runs_out_and_the_others_were_too_many() -> None:
    """A trial's memory grows after it has started, so that it fits at first."""
    place = Place(lambda trials: trials)
    assert place.run(60) >= 4
    place.need, before = 30, place.packing.slots
    place.run(20)
    assert place.packing.slots <= 2 < before
    assert place.crashes <= before - 2
    crashes = place.crashes
    place.run(2000)
    assert place.crashes - crashes <= 8  # it looks again now and then, and less and less often


def test_a_trial_that_does_not_fit_alone_is_nobodys_fault() -> None:
    packing = Packing(8)
    assert not packing.out_of_memory(1)
    assert packing.slots == 1


def test_trials_that_log_nothing_are_compared_by_their_length() -> None:
    packing = Packing(8)
    packing.memory(GIB, 80 * GIB)
    for seconds in (10, 11, 9):
        packing.ended(seconds)
    assert packing.decide() == 2
    for seconds in (12, 13, 11):
        packing.ended(seconds)
    assert packing.decide() == 3 and packing.gain() is None
    for seconds in (30, 31, 29, 30):
        packing.ended(seconds)
    assert packing.decide() == 2


def test_short_trials_with_none_in_common_are_compared_by_the_mean_of_many() -> None:
    place = Place(saturating(3), length=(1, 2), noise=0.02)
    place.random.lognormvariate = lambda mu, sigma: 1.0  # type: ignore[method-assign]
    assert place.run(300) in (3, 4)


@settings(max_examples=150, deadline=None)
@given(
    at=st.floats(1, 10), fall=st.floats(0, 0.3), noise=st.floats(0, 0.1), memory=st.floats(0.5, 40),
    seed=st.integers(0, 2**32),
)  # fmt: skip
def test_whatever_the_curve_most_of_the_best_is_reached_and_memory_is_kept(
    at: float, fall: float, noise: float, memory: float, seed: int
) -> None:
    def throughput(trials: int) -> float:
        return min(trials, at) / (1 + fall * max(0.0, trials - at))

    place = Place(throughput, noise, memory, seed=seed, most=8)
    place.run(400)
    room = max(1, min(8, int(0.9 * 80 / memory)))
    best = max(throughput(trials) for trials in range(1, room + 1))
    assert place.crashes == 0 and place.most <= room
    reached = max(throughput(place.packing.slots), throughput(max(1, place.packing.slots - 1)))
    assert reached >= 0.75 * best
