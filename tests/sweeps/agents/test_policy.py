"""What --retry-on and --trial-timeout mean, and which endings are tried again."""

from __future__ import annotations

import pytest
from sweepkit.errors import UsageError
from sweepkit.sweeps.agents.outcomes import Ending
from sweepkit.sweeps.agents.policy import RetryPolicy, parse_duration, parse_retry_on


def test_the_words_become_labels() -> None:
    assert parse_retry_on("oom, signal,exit:3,lost,oom") == ("oom", "signal", "exit:3", "lost")
    assert parse_retry_on("none") == ()


@pytest.mark.parametrize("text, told, hint", [
    ("oom,sginal", "'sginal'", "did you mean signal?"), ("", "is empty", "oom, signal"),
    ("finished", "'finished' is no way", "allowed: oom"), ("exit", "needs an exit code", "exit:1"),
    ("exit:N", "needs an exit code", "exit:1"), ("exit:0", "0 is no exit code of a failure", "1 to 255"),
    ("exit:999", "999 is no exit code", "1 to 255"), ("exit:-9", "'exit:-9'", "allowed"),
])  # fmt: skip
def test_a_wrong_word_is_named_with_what_is_allowed(text: str, told: str, hint: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_retry_on(text)
    assert told in error.value.message and hint in str(error.value.hint)


@pytest.mark.parametrize("text, seconds", [
    ("90", 90), ("90s", 90), ("30m", 1800), ("1h30m", 5400), ("1.5h", 5400), ("2D", 172800), ("1h 5m", 3900),
])  # fmt: skip
def test_lengths_of_time(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5m", "5 weeks", "m", "0", "0s", "1e3"])
def test_what_is_no_length_of_time_is_told(text: str) -> None:
    with pytest.raises(UsageError, match="--trial-timeout"):
        parse_duration(text)


def test_a_policy_counts_tries_and_knows_the_kinds() -> None:
    policy = RetryPolicy(2, frozenset({"oom", "exit:3"}))
    assert [policy.again(Ending("oom", -9), tries) for tries in (1, 2, 3)] == [True, True, False]
    assert policy.again(Ending("exit", 3), 1) and not policy.again(Ending("exit", 4), 1)
    assert not policy.again(Ending("signal", -9), 1) and not RetryPolicy(0).again(Ending("oom", -9), 1)
    assert RetryPolicy(1, frozenset({"exit:137"})).again(Ending("signal", 137), 1)
    for kind in ("finished", "stopped", "preempted"):
        assert not RetryPolicy(9, frozenset({kind})).again(Ending(kind), 1)  # type: ignore[arg-type]
