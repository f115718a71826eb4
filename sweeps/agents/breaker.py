"""The failure guard: when a slot, or the whole sweep, is no longer worth trials.

It only keeps count; what it decides is carried out elsewhere, and it has no clock: every call says what time it is, in
seconds of a clock that never goes back.

- A slot whose trials fail one after the other, while trials on other slots succeed, is taken out. It is never the last.
- A program that fails everywhere ends the sweep: sooner while nothing has ever succeeded than later on.

Failures are counted by trials and not by tries, so that one poisoned configuration condemns neither. Bad trials mostly
fail fast and good ones take their time, so a trial elsewhere that runs far longer than the failed ones lived is a sign
that the program works: with it a slot can be taken out before anything has finished, and the sweep has more patience.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

SLOT_FAILURES = 3
FIRST_FAILURES = 3  # as W&B's FLAPPING_MAX_FAILURES
LATER_FAILURES = 5
_OUTLIVES = 2.0  # a trial outlives the failed ones when it runs so many times as long as any of them did


@dataclass(frozen=True)
class Limits:
    """Failed trials in a row: on one ``slot``; everywhere while nothing has succeeded yet (``first``), and ``later``.

    None is no limit.
    """

    slot: int | None = SLOT_FAILURES
    first: int | None = FIRST_FAILURES
    later: int | None = LATER_FAILURES


def limits_of(environ: Mapping[str, str]) -> Limits:
    """The limits, with the variables of W&B's agent: WANDB_AGENT_DISABLE_FLAPPING=true never ends a sweep, and
    WANDB_AGENT_MAX_INITIAL_FAILURES is how many trials may fail before one succeeds (`wandb/env.py`)."""
    if environ.get("WANDB_AGENT_DISABLE_FLAPPING") == "true":
        return Limits(first=None, later=None)
    text = environ.get("WANDB_AGENT_MAX_INITIAL_FAILURES", "")
    first = int(text) if text.isdigit() and int(text) > 0 else FIRST_FAILURES
    return Limits(first=first, later=max(first, LATER_FAILURES))


@dataclass(frozen=True)
class Verdict:
    """``take_out`` is a slot that gets no more trials, and ``blamed`` the trials that failed because of it;
    ``stop`` says why no slot does. At most one of the two is set."""

    take_out: str | None = None
    blamed: tuple[str, ...] = ()
    stop: str | None = None


GO_ON = Verdict()


@dataclass
class _Place:
    running: str | None = None
    since: float = 0.0
    failed: dict[str, float] = field(default_factory=dict)  # trial -> seconds it lived, since the last success here
    elsewhere: int = 0  # successes on other slots since the first of these failures


class Breaker:
    """Counts of one command's slots."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._places: dict[str, _Place] = {}
        self._row: dict[str, float] = {}  # failed trials since the last success anywhere
        self._successes = 0

    def add(self, slot: str) -> None:
        """``slot`` takes part; one that was taken out starts afresh."""
        self._places[slot] = _Place()

    def remove(self, slot: str) -> None:
        self._places.pop(slot, None)

    def started(self, slot: str, trial: str, now: float) -> None:
        place = self._places.setdefault(slot, _Place())
        place.running, place.since = trial, now

    def neutral(self, slot: str) -> None:
        """The slot's trial ended in a way that says nothing about slot or program: it was stopped, or preempted."""
        if place := self._places.get(slot):
            place.running = None

    def succeeded(self, slot: str) -> None:
        self._successes += 1
        self._row.clear()
        for name, place in self._places.items():
            if name == slot:
                place.running, place.failed, place.elsewhere = None, {}, 0
            elif place.failed:
                place.elsewhere += 1

    def failed(self, slot: str, trial: str, now: float) -> Verdict:
        """Count a failure; what is to be done about it."""
        place = self._places.get(slot)
        if place is None:  # it was taken out while its last trial ran
            return GO_ON
        lived = max(0.0, now - place.since)
        place.running = None
        place.failed[trial] = max(lived, place.failed.get(trial, 0.0))
        self._row[trial] = max(lived, self._row.get(trial, 0.0))
        return self._about_slot(slot, place, now) or self._about_sweep(slot, now) or GO_ON

    def suspects(self, slot: str) -> bool:
        """Whether a trial that failed on ``slot`` had better be tried again elsewhere: it fails there, and others'
        succeed, or it was not the first."""
        place = self._places.get(slot)
        return place is None or bool(place.failed) and (place.elsewhere > 0 or len(place.failed) > 1)

    def _about_slot(self, slot: str, place: _Place, now: float) -> Verdict | None:
        limit = self._limits.slot
        if limit is None or len(place.failed) < limit or len(self._places) < 2:
            return None
        if not place.elsewhere and not self._outlived(slot, max(place.failed.values()), now):
            return None
        del self._places[slot]
        for trial in place.failed:
            self._row.pop(trial, None)
        return Verdict(take_out=slot, blamed=tuple(place.failed))

    def _about_sweep(self, slot: str, now: float) -> Verdict | None:
        limit = self._limits.later if self._successes else self._limits.first
        if limit is None:
            return None
        if self._outlived(slot, max(self._row.values()), now):
            limit = max(4 * limit, 2 * len(self._places))
        if len(self._row) < limit:
            return None
        which = "last" if self._successes else "first"
        return Verdict(stop=f"the {which} {len(self._row)} trials all failed, so no more are started")

    def _outlived(self, slot: str, seconds: float, now: float) -> bool:
        others = (place for name, place in self._places.items() if name != slot and place.running is not None)
        return any(now - place.since > _OUTLIVES * seconds for place in others)


def from_environment() -> Breaker:
    return Breaker(limits_of(os.environ))
