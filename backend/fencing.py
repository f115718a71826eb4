"""Fencing: what a former copy of a trial sends, after the trial went to another agent, is not kept.

An agent that was frozen, or cut off from the network, does not know that its trial was handed out again; when it wakes,
two copies of the trial say that they are the same run. A trial's lease is counted (``trials.attempts``), and only what
is sent under the newest lease is kept. W&B's client stops sending for good when its stream is answered with 410.

A client is known to be of an old lease by one of two things:

- sweepkit's agents have the client say the lease's number in a header (its setting ``x_extra_http_headers``).
- W&B's own agent knows no leases. Its client numbers the lines of its history from the number of lines that it was
  told when it began (``historyLineCount`` of UpsertBucket), so it is told a number that holds the lease:
  ``lines + 2**24 * (lease - 1)``. Lines are kept under their plain numbers. What such a client sends without a line of
  history, the end of its run for one, cannot be told apart until it has sent one.
"""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from typing import Any

from starlette.requests import Request

from .storage import history, trials

HEADER = "x-sweepkit-lease"
# What lies between the first lines of two leases. W&B's schema has 32 bits for a count of lines, so 127 leases fit; a
# trial is handed out 20 times at most (``sweeps.PREEMPTIONS``).
_LINES = 2**24


class Fenced(Exception):
    """It comes from a copy of the trial that lost its lease."""

    def __init__(self) -> None:
        super().__init__("this trial was handed to another agent: what its former copy sends is not kept")


def lease_of(request: Request) -> int | None:
    """The number of the lease that a client says it works under; None where it says none."""
    text = request.headers.get(HEADER, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def check(conn: sqlite3.Connection, run: sqlite3.Row, lease: int | None) -> None:
    """Raise Fenced where ``lease`` is not the newest of the run's trial."""
    if lease is not None and lease < _newest(conn, run):
        raise Fenced


def received(conn: sqlite3.Connection, run: sqlite3.Row, lines: history.Lines, lease: int | None) -> history.Lines:
    """Lines of history under their plain numbers. Raises Fenced where their numbers are those of an old lease."""
    first = _first_line(conn, run)
    if lines.offset >= first:
        return replace(lines, offset=lines.offset - first)
    if lease is None:
        raise Fenced
    return lines  # the header has told that it is the newest one


def told(conn: sqlite3.Connection, run: sqlite3.Row) -> dict[str, Any]:
    """The run as a client that begins is told it: with the number of its first line of history under this lease."""
    return {**dict(run), "history_lines": run["history_lines"] + _first_line(conn, run)}


def _first_line(conn: sqlite3.Connection, run: sqlite3.Row) -> int:
    """What the newest lease adds to the plain numbers of lines."""
    return _LINES * max(0, _newest(conn, run) - 1)


def _newest(conn: sqlite3.Connection, run: sqlite3.Row) -> int:
    """The newest lease of the run's trial; 0 for a run that is no trial."""
    return 0 if run["sweep_id"] is None else trials.lease(conn, run["id"])
