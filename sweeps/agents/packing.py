"""How many trials share a GPU, or the CPU: found by measuring, without clock or process.

Trials differ in speed by their hyperparameters, so two trials say nothing about two numbers of neighbours. What is
compared is each trial with itself: its rate among ``n`` and, when one more has started, among ``n + 1``. If each keeps
the share ``s`` of its rate, the place does ``s * (n + 1) / n`` times as much. Where trials are too short for that, the
mean of many is taken.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

SAMPLES = 3  # rates of each trial that make a measurement
TRIALS = 3  # trials at each of two numbers that can be compared with none in common
GAIN = 1.05  # by so much one more trial must raise what the place does
FULL = 0.9  # of the memory; what comes on top while a trial runs must fit into the rest
PATIENCE = (
    20  # trials that end before a number that did not pay, or did not fit, is tried again; twice as many each time
)


_KEPT = 32  # rates of a trial


@dataclass
class _Level:
    """What was measured with so many trials at a time."""

    rates: dict[str, list[float]] = field(default_factory=dict)  # trial -> progress a second
    lengths: list[float] = field(default_factory=list)  # seconds of trials that ran through

    def enough(self, trials: int) -> bool:
        measured = sum(min(len(rates), SAMPLES) for rates in self.rates.values())
        return measured >= SAMPLES * trials or len(self.lengths) >= max(TRIALS, trials + 1)


class Packing:
    """How many trials share one place. Tell it what happens, and ask ``slots`` how many there should be.

    ``most`` is a limit; ``start`` is where it begins. ``why`` says in a few words what the last change came from.
    """

    def __init__(self, most: int, start: int = 1) -> None:
        self.slots = start
        self.why = ""
        self._most = most
        self._ceiling = most
        self._waited = 0  # trials that ended since the ceiling came down
        self._patience = PATIENCE
        self._levels: dict[int, _Level] = {}
        self._used = 0.0  # bytes, the most that was seen at this number
        self._total: float | None = None

    def rate(self, trial: str, rate: float) -> None:
        """``trial`` made so much progress a second, in any unit, while ``slots`` trials ran, none of them starting."""
        if rate > 0 and math.isfinite(rate):
            rates = self._level(self.slots).rates.setdefault(trial, [])
            rates.append(rate)
            del rates[:-_KEPT]

    def memory(self, used: int | None, total: int | None) -> None:
        """Bytes that all trials of the place use now, and that there are."""
        if used is not None and total is not None:
            self._used, self._total = max(self._used, float(used)), float(total)

    def ended(self, seconds: float | None) -> None:
        """A trial ran to its end; in ``seconds``, if ``slots`` were the same all the time."""
        if seconds is not None and seconds > 0:
            self._level(self.slots).lengths.append(seconds)
        self._waited += 1
        if self._ceiling < self._most and self._waited >= self._patience:
            self._ceiling += 1
            self._levels.pop(self._ceiling, None)
            self._patience *= 2
            self._waited = 0

    def out_of_memory(self, running: int) -> bool:
        """A trial ended for want of memory while ``running`` ran, itself included; whether the others were too many."""
        if running < 2:
            return False
        self._limit(running - 1)
        if self.slots > self._ceiling:
            self._go(self._ceiling, f"{running} trials did not fit into the memory")
        return True

    @property
    def open(self) -> bool:
        """Whether there is anything to find out now."""
        level = self._levels.get(self.slots)
        return self.slots < self._ceiling or level is None or not level.enough(self.slots)

    def decide(self) -> int:
        """How many slots there should be, after what was measured."""
        now = self._levels.get(self.slots)
        if now is None or not now.enough(self.slots):
            return self.slots
        if self.slots > 1 and (gain := self.gain()) is not None:
            if gain < GAIN:
                self._limit(self.slots - 1)
                self._go(self.slots - 1, f"{self.slots} trials do {gain:.2f} times as much as {self.slots - 1}")
                return self.slots
            self.why = f"{self.slots} trials do {gain:.2f} times as much as {self.slots - 1}"
        if self.slots < self._ceiling and self._fits(self.slots + 1):
            self._levels.pop(self.slots + 1, None)  # what an earlier try measured was with other trials
            self._go(self.slots + 1, self.why)
        return self.slots

    def gain(self) -> float | None:
        """What the place does now, as a multiple of what it did with one trial less; None where that is not known."""
        now, before = self._levels.get(self.slots), self._levels.get(self.slots - 1)
        if now is None or before is None:
            return None
        share = _share(before, now)
        return None if share is None else share * self.slots / (self.slots - 1)

    def _level(self, slots: int) -> _Level:
        return self._levels.setdefault(slots, _Level())

    def _limit(self, slots: int) -> None:
        self._ceiling = min(self._ceiling, max(1, slots))
        self._waited = 0

    def _go(self, slots: int, why: str) -> None:
        if slots < self.slots:
            self._used *= slots / self.slots
        self.slots, self.why = slots, why

    def _fits(self, slots: int) -> bool:
        """Whether so many trials of the mean size fit. What cannot be known is not tried."""
        return self._total is not None and self._used * slots / self.slots <= FULL * self._total


def _share(before: _Level, now: _Level) -> float | None:
    """What part of its rate a trial keeps with one more neighbour."""
    pairs = [(before.rates[trial], rates) for trial, rates in now.rates.items() if trial in before.rates]
    if pairs:
        return math.exp(_mean([_log_mean(after) - _log_mean(first) for first, after in pairs]))
    if len(before.rates) >= TRIALS and len(now.rates) >= TRIALS:
        return math.exp(_mean(_logs(now)) - _mean(_logs(before)))
    if len(before.lengths) >= TRIALS and len(now.lengths) >= TRIALS:
        return math.exp(_log_mean(before.lengths) - _log_mean(now.lengths))
    return None


def _logs(level: _Level) -> list[float]:
    return [_log_mean(rates) for rates in level.rates.values()]


def _log_mean(values: Sequence[float]) -> float:
    return _mean([math.log(value) for value in values])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
