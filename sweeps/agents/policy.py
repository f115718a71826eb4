"""Which endings of a trial are worth another try, and how often; read from the command line's words."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from ...errors import UsageError
from .outcomes import Ending

ALLOWED = ("oom", "signal", "timeout", "exit:N", "lost")
DEFAULT_RETRY_ON = ("oom", "signal", "lost")  # not exit:N: a program that ends by itself mostly does it again
DEFAULT_RETRIES = 2
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True)
class RetryPolicy:
    """``retries`` more tries after the first, for endings whose label is in ``retry_on``."""

    retries: int = DEFAULT_RETRIES
    retry_on: frozenset[str] = frozenset(DEFAULT_RETRY_ON)

    def again(self, ending: Ending, tries: int) -> bool:
        """Whether a trial that has been tried ``tries`` times here is tried once more after ``ending``."""
        if not ending.failed or tries > self.retries:
            return False
        # A shell tells its child's signal by an exit code, so such an ending has both names.
        return ending.label in self.retry_on or f"exit:{ending.code}" in self.retry_on


def parse_retry_on(text: str) -> tuple[str, ...]:
    """``oom,signal,exit:3`` as labels of endings; ``none`` is nothing. Raises UsageError that names the wrong one."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    if words == ["none"]:
        return ()
    if not words:
        raise UsageError("--retry-on is empty", f"give some of {', '.join(ALLOWED)}, or none")
    return tuple(dict.fromkeys(_label(word, text) for word in words))


def _label(word: str, text: str) -> str:
    if word in ALLOWED and word != "exit:N":
        return word
    if match := re.fullmatch(r"exit:(\d{1,3})", word):
        code = int(match[1])
        if 1 <= code <= 255:
            return f"exit:{code}"
        raise UsageError(f"--retry-on {text}: {code} is no exit code of a failure", "they are 1 to 255")
    if word in ("exit", "exit:N", "exit:"):
        raise UsageError(f"--retry-on {text}: {word} needs an exit code", "write it as exit:1")
    close = get_close_matches(word, ALLOWED, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    raise UsageError(f"--retry-on {text}: {word!r} is no way for a trial to end", f"{hint}allowed: {_allowed()}")


def _allowed() -> str:
    return f"{', '.join(ALLOWED)} (N an exit code), or none"


def parse_duration(text: str, option: str = "--trial-timeout") -> float:
    """``30m``, ``90s``, ``1h30m``, ``2d`` or plain seconds, as seconds. Raises UsageError, for 0 as well."""
    compact = text.replace(" ", "").lower()
    if re.fullmatch(r"\d+(\.\d+)?", compact):
        seconds = float(compact)
    elif re.fullmatch(r"(\d+(\.\d+)?[smhd])+", compact):
        seconds = sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([\d.]+)([smhd])", compact))
    else:
        raise UsageError(f"{option} {text}: this is no length of time", "write it as 90s, 30m, 2h or 1h30m")
    if seconds <= 0:
        raise UsageError(f"{option} {text}: this leaves no time", "leave the option out for no limit")
    return seconds


def retry_policy(retries: int, retry_on: Iterable[str]) -> RetryPolicy:
    return RetryPolicy(retries, frozenset(retry_on))
