"""Runs that several processes write to at once: W&B's ``mode="shared"``.

Each writer sends lines with numbers, and rows with steps, of its own. The server gives every row the run's next step
and lays the summaries over each other, as W&B's servers do.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from starlette.requests import Request

from .storage import history, shared_lines

if TYPE_CHECKING:
    from .filestream import Update

_LONGEST = 128  # characters of a writer's id that are looked at


def is_shared(request: Request) -> bool:
    """Whether the client says that others write to its run too."""
    return request.headers.get("x-wandb-use-async-filestream") == "true"


def writer(request: Request) -> str | None:
    """The id that a client of a shared run gives itself; None where a run has one writer."""
    return request.headers.get("x-wandb-async-client-id", "")[:_LONGEST] if is_shared(request) else None


def add(conn: sqlite3.Connection, run: sqlite3.Row, writer: str, update: Update) -> dict[str, Any]:
    """Keep what a writer sends; answers the run's columns that change with it."""
    columns: dict[str, Any] = {}
    if update.history:
        columns |= _add_history(conn, run, writer, update.history)
    if update.summary is not None:
        columns["summary"] = _summary(run, update.summary, columns.get("last_step", run["last_step"]))
    if events := update.others.get("wandb-events.jsonl"):
        columns |= _add_events(conn, run, writer, events.offset, events.lines)
    if console := update.others.get("output.log"):
        columns |= _add_console(conn, run, writer, console.offset, console.lines)
    return columns


def _add_history(conn: sqlite3.Connection, run: sqlite3.Row, writer: str, lines: history.Lines) -> dict[str, Any]:
    fresh = _fresh(conn, run, writer, "history", lines.offset, lines.texts)
    if not fresh:
        return {}
    numbered = [_with_step(text, step) for step, text in enumerate(fresh, run["last_step"] + 1)]
    return history.add_history(conn, run, history.parse(numbered, run["history_lines"]))


def _add_events(
    conn: sqlite3.Connection, run: sqlite3.Row, writer: str, offset: int, lines: Sequence[str]
) -> dict[str, Any]:
    fresh = _fresh(conn, run, writer, "event", offset, lines)
    return history.add_events(conn, run, run["event_lines"], fresh) if fresh else {}


def _add_console(
    conn: sqlite3.Connection, run: sqlite3.Row, writer: str, offset: int, lines: Sequence[str]
) -> dict[str, Any]:
    """Keep a writer's console lines; those that it changes are changed where they are."""
    numbers = range(offset, offset + len(lines))
    places = shared_lines.places(conn, run["id"], writer, "console", numbers, run["console_lines"])
    for place, line in zip(places, lines, strict=True):
        history.add_console(conn, run, place, [line])
    return {"console_lines": max(run["console_lines"], *(place + 1 for place in places))} if places else {}


def _summary(run: sqlite3.Row, sent: str, last_step: int) -> str:
    """The run's summary with what a writer says in it."""
    merged = {**json.loads(run["summary"]), **json.loads(sent)}
    if last_step >= 0:
        merged["_step"] = last_step
    return json.dumps(merged)


def _fresh(
    conn: sqlite3.Connection, run: sqlite3.Row, writer: str, file: str, offset: int, lines: Sequence[str]
) -> list[str]:
    """The lines that have not been sent before."""
    have = run[f"{file}_lines"]
    places = shared_lines.places(conn, run["id"], writer, file, range(offset, offset + len(lines)), have)
    return [line for place, line in zip(places, lines, strict=True) if place >= have]


def _with_step(text: str, step: int) -> str:
    return json.dumps({**json.loads(text), "_step": step})
