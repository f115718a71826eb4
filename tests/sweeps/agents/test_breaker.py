"""The failure guard: examples for people, and properties over any order of events."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sweepkit.sweeps.agents.breaker import GO_ON, Breaker, Limits, Verdict, limits_of


class Slots:
    """A breaker with slots, and a clock that goes on by itself; every trial has a name of its own."""

    def __init__(self, *names: str, limits: Limits | None = None) -> None:
        self.breaker = Breaker(limits or Limits())
        self.now = 0.0
        self.names = (f"t{number}" for number in itertools.count())
        for name in names:
            self.breaker.add(name)

    def start(self, slot: str, trial: str | None = None) -> str:
        trial = trial or next(self.names)
        self.breaker.started(slot, trial, self.now)
        return trial

    def fail(self, slot: str, seconds: float = 1.0, trial: str | None = None) -> Verdict:
        trial = self.start(slot, trial)
        self.now += seconds
        return self.breaker.failed(slot, trial, self.now)

    def succeed(self, slot: str, seconds: float = 1.0) -> None:
        self.start(slot)
        self.now += seconds
        self.breaker.succeeded(slot)


def test_a_program_that_fails_everywhere_is_stopped_after_three_trials() -> None:
    slots = Slots("a", "b")
    assert slots.fail("a") == slots.fail("b") == GO_ON
    assert slots.fail("a").stop == "the first 3 trials all failed, so no more are started"


def test_a_program_that_worked_and_then_fails_everywhere_is_stopped_later() -> None:
    slots = Slots("a", "b")
    slots.succeed("a")
    slots.succeed("b")
    verdicts = [slots.fail(slot) for slot in "ababa"]
    assert verdicts[:4] == [GO_ON] * 4
    assert verdicts[4].stop == "the last 5 trials all failed, so no more are started"


def test_a_slot_that_fails_while_others_succeed_is_taken_out_with_its_trials() -> None:
    slots = Slots("bad", "good")
    for number in range(2):
        assert slots.fail("bad", trial=f"bad{number}") == GO_ON
        slots.succeed("good")
    assert slots.breaker.suspects("bad") and not slots.breaker.suspects("good")
    assert slots.fail("bad", trial="bad2") == Verdict(take_out="bad", blamed=("bad0", "bad1", "bad2"))


def test_a_slot_is_taken_out_before_anything_has_finished_when_others_outlive_its_trials() -> None:
    slots = Slots("bad", "good")
    slots.start("good")  # and it takes an hour
    verdicts = [slots.fail("bad", 5.0) for _ in range(3)]
    assert verdicts[:2] == [GO_ON] * 2 and verdicts[2].take_out == "bad"


def test_one_poisoned_configuration_condemns_neither_slot_nor_sweep() -> None:
    slots = Slots("a", "b")
    assert {slots.fail(slot, trial="poison") for slot in "ababababab"} == {GO_ON}


def test_a_success_wipes_the_slate() -> None:
    slots = Slots("a", "b")
    for _ in range(10):
        assert slots.fail("a") == slots.fail("a") == GO_ON
        slots.succeed("a")


def test_wandbs_variables() -> None:
    assert limits_of({}) == Limits()
    assert limits_of({"WANDB_AGENT_DISABLE_FLAPPING": "true"}) == Limits(first=None, later=None)
    assert limits_of({"WANDB_AGENT_MAX_INITIAL_FAILURES": "7"}).first == 7
    assert limits_of({"WANDB_AGENT_MAX_INITIAL_FAILURES": "many"}) == Limits()
    unlimited = Slots("a", limits=limits_of({"WANDB_AGENT_DISABLE_FLAPPING": "true"}))
    assert {unlimited.fail("a") for _ in range(100)} == {GO_ON}


EVENTS = st.lists(
    st.tuples(st.sampled_from("abcd"), st.sampled_from(["fail", "succeed", "start", "stop"]), st.floats(0, 100)),
    max_size=200,
)


def play(slots: Slots, events: list[tuple[str, str, float]]) -> list[tuple[str, str, Verdict]]:
    """What came of each event; a slot that was taken out has no more, and after a stop there is nothing."""
    seen, out = [], set()
    for slot, what, seconds in events:
        if slot in out:
            continue
        verdict = GO_ON
        if what == "fail":
            verdict = slots.fail(slot, seconds)
        elif what == "succeed":
            slots.succeed(slot, seconds)
        elif what == "start":
            slots.start(slot)
        else:
            slots.breaker.neutral(slot)
        seen.append((slot, what, verdict))
        if verdict.take_out:
            out.add(verdict.take_out)
        if verdict.stop:
            break
    return seen


@given(EVENTS)
def test_the_last_slot_is_never_taken_out_and_only_the_failing_one_is(events: list[tuple[str, str, float]]) -> None:
    seen = play(Slots(*"abcd"), events)
    taken = [(slot, verdict) for slot, _, verdict in seen if verdict.take_out]
    assert len(taken) < 4
    assert all(verdict.take_out == slot and len(verdict.blamed) >= 3 for slot, verdict in taken)


@given(EVENTS)
def test_no_verdict_comes_without_enough_failures_since_the_last_success(events: list[tuple[str, str, float]]) -> None:
    seen = play(Slots(*"abcd"), events)
    for index, (slot, _, verdict) in enumerate(seen):
        before = seen[: index + 1]
        if verdict.take_out:
            own = [what for name, what, _ in before if name == slot and what in ("fail", "succeed")]
            assert own[-3:] == ["fail"] * 3
        if verdict.stop:
            told = [what for _, what, _ in before if what in ("fail", "succeed")]
            assert told[-3:] == ["fail"] * 3
            assert "succeed" not in told or told[-5:] == ["fail"] * 5


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.floats(0, 1000)), min_size=60, max_size=60), st.booleans())
def test_a_program_that_fails_everywhere_never_burns_more_than_a_few_trials(
    events: list[tuple[str, float]], worked_once: bool
) -> None:
    """Whatever the lengths, and even while a trial hangs for ever on another slot."""
    slots = Slots(*"abcd", "hangs")
    if worked_once:
        slots.succeed("a")
    slots.start("hangs")
    seen = play(slots, [(slot, "fail", seconds) for slot, seconds in events])
    failures = sum(what == "fail" for _, what, _ in seen)
    done = any(verdict.stop for *_, verdict in seen)
    out = {verdict.take_out for *_, verdict in seen if verdict.take_out}
    assert (done or len(out) == 4) and failures <= 32


@given(EVENTS, st.floats(0, 1e6))
def test_only_differences_of_time_count(events: list[tuple[str, str, float]], start: float) -> None:
    early, late = Slots(*"abcd"), Slots(*"abcd")
    late.now = float(round(start))
    rounded = [(slot, what, float(round(seconds))) for slot, what, seconds in events]
    assert play(early, rounded) == play(late, rounded)


@pytest.mark.parametrize("limit", [1, 2, 10])
def test_the_first_limit_is_the_one_that_is_set(limit: int) -> None:
    slots = Slots("a", limits=Limits(first=limit, later=limit))
    verdicts = [slots.fail("a") for _ in range(limit)]
    assert all(verdict == GO_ON for verdict in verdicts[:-1]) and verdicts[-1].stop
