"""History that a client sends again from its beginning, under further line numbers.

A sync that was cut off begins anew, and its client numbers the lines after those that had arrived. A line that says of
a step what is known of it is dropped; its number stays empty.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Any, cast

from . import history


def add_history(conn: sqlite3.Connection, run: sqlite3.Row, lines: history.Lines) -> dict[str, Any]:
    """Keep what is new of a chunk; answers the run's columns that change with it."""
    goes_back = min(lines.steps) <= run["last_step"] and lines.offset + len(lines) > run["history_lines"]
    return _add_new(conn, run, lines) if goes_back else history.add_history(conn, run, lines)


def _add_new(conn: sqlite3.Connection, run: sqlite3.Row, lines: history.Lines) -> dict[str, Any]:
    have = run["history_lines"]
    state = dict(run)
    for number, (step, text) in enumerate(zip(lines.steps, lines.texts, strict=True), lines.offset):
        if number < have or not _is_known(conn, run["id"], step, text):
            before = cast(sqlite3.Row, {**state, "history_lines": have})
            state |= history.add_history(conn, before, history.parse([text], number))
    columns = {name: state[name] for name in ("last_step", "history_keys")}
    return {**columns, "history_lines": max(have, lines.offset + len(lines))}


def _is_known(conn: sqlite3.Connection, run_id: int, step: int, text: str) -> bool:
    """Whether a line of the step says the same; the client's keys come in any order."""
    there = conn.execute("SELECT row FROM history WHERE run_id = ? AND step = ?", (run_id, step))
    return any(_sorted(other) == _sorted(text) for (other,) in there)


def _sorted(text: str) -> str:
    return json.dumps(json.loads(text), sort_keys=True)
