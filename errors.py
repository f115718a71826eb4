"""What can go wrong, each with the exit code that the command line documents."""

from __future__ import annotations


class SweepkitError(Exception):
    """A failure that is told to the user in one message, without a traceback.

    ``message`` says what was found and where; ``hint`` says what to do about it.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(SweepkitError):
    """Wrong input: an option, a sweep YAML, a name that does not exist."""

    exit_code = 2


class Unreachable(SweepkitError):
    """The backend did not answer, or refused the key."""

    exit_code = 3
