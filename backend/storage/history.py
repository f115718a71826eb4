"""What a run streams line by line: its history, its system events, its console.

A line is kept by its number in the client's file, so a chunk that is sent twice is there once.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .plain_json import named_numbers


@dataclass(frozen=True)
class Line:
    """One parsed line of wandb-history.jsonl."""

    step: int
    text: str
    types: tuple[tuple[str, str], ...]  # (key, W&B's name of its value's type)


class BadLine(ValueError):
    """A line that is not what the file stream promises."""


def parse_line(text: str, number: int) -> Line:
    """Line ``number`` of a history; one without ``_step`` counts as its own step. Raises BadLine."""
    row = _object(text)
    step = row.get("_step", number)
    if isinstance(step, bool) or not isinstance(step, (int, float)) or not math.isfinite(step):
        raise BadLine("_step is not a number")
    if abs(step) >= 2**62:
        raise BadLine("_step is too large")
    return Line(int(step), text, tuple(_types(row)))


def add_history(conn: sqlite3.Connection, run: sqlite3.Row, offset: int, lines: Sequence[Line]) -> dict[str, Any]:
    """Keep a chunk; answers the run's columns that change with it."""
    numbered = [(run["id"], offset + n, line.step, line.text) for n, line in enumerate(lines)]
    conn.executemany("INSERT OR REPLACE INTO history (run_id, line, step, row) VALUES (?, ?, ?, ?)", numbered)
    fresh = lines[max(0, run["history_lines"] - offset) :]
    return {
        "history_lines": max(run["history_lines"], offset + len(lines)),
        "last_step": max(run["last_step"], *(line.step for line in lines)),
        "history_keys": _count_types(run["history_keys"], fresh),
    }


def add_events(conn: sqlite3.Connection, run: sqlite3.Row, offset: int, lines: Sequence[str]) -> dict[str, Any]:
    """Keep a chunk of system events; answers the run's columns that change with it. Raises BadLine."""
    for line in lines:
        _object(line)
    numbered = [(run["id"], offset + n, line) for n, line in enumerate(lines)]
    conn.executemany("INSERT OR REPLACE INTO events (run_id, line, row) VALUES (?, ?, ?)", numbered)
    return {"event_lines": max(run["event_lines"], offset + len(lines))}


def add_console(conn: sqlite3.Connection, run: sqlite3.Row, offset: int, lines: Sequence[str]) -> dict[str, Any]:
    """Keep console lines; the client changes lines that it sent before (progress bars)."""
    numbered = [(run["id"], offset + n, line) for n, line in enumerate(lines)]
    conn.executemany("INSERT OR REPLACE INTO console (run_id, line, text) VALUES (?, ?, ?)", numbered)
    return {"console_lines": max(run["console_lines"], offset + len(lines))}


def texts(
    conn: sqlite3.Connection, run_id: int, min_step: int | None = None, max_step: int | None = None
) -> Iterator[str]:
    """History lines as the client sent them, from ``min_step`` to before ``max_step``, in step order."""
    low = -(2**62) if min_step is None else min_step
    high = 2**62 if max_step is None else max_step
    cursor = conn.execute(
        "SELECT row FROM history WHERE run_id = ? AND step >= ? AND step < ? ORDER BY step, line", (run_id, low, high)
    )
    return (row["row"] for row in cursor)


def rows(
    conn: sqlite3.Connection, run_id: int, min_step: int = 0, max_step: int | None = None
) -> Iterator[dict[str, Any]]:
    """History rows from ``min_step`` to before ``max_step``, in step order, as the client sent them (NaN included)."""
    return (json.loads(text) for text in texts(conn, run_id, min_step, max_step))


def metric(conn: sqlite3.Connection, run_id: int, key: str) -> list[tuple[int, float]]:
    """(step, value) of one metric, finite numbers only, in step order."""
    points = []
    cursor = conn.execute("SELECT step, row FROM history WHERE run_id = ? ORDER BY step, line", (run_id,))
    first = key.split(".")[0]
    for step, text in cursor:
        if first.isalnum() and first.isascii() and first not in text:
            continue  # parsing is what costs here
        value = value_at(json.loads(text), key)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            points.append((int(step), float(value)))
    return points


def value_at(row: dict[str, Any], key: str) -> Any:
    """A row's value by its key, or by dotted names into nested dictionaries; None where there is none."""
    if key in row:
        return row[key]
    value: Any = row
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            return None
        value = value[part]
    return value


def event_texts(conn: sqlite3.Connection, run_id: int) -> list[str]:
    """System metrics as the client sent them."""
    cursor = conn.execute("SELECT row FROM events WHERE run_id = ? ORDER BY line", (run_id,))
    return [row["row"] for row in cursor]


def tail(conn: sqlite3.Connection, run_id: int, table: str) -> str | None:
    """The last line of ``history`` or ``events``."""
    assert table in {"history", "events"}
    row = conn.execute(f"SELECT row FROM {table} WHERE run_id = ? ORDER BY line DESC LIMIT 1", (run_id,)).fetchone()
    return row["row"] if row else None


def console(conn: sqlite3.Connection, run_id: int, limit: int = -1, offset: int = 0) -> list[sqlite3.Row]:
    """Console lines (``line``, ``text``) in order."""
    return conn.execute(
        "SELECT line, text FROM console WHERE run_id = ? ORDER BY line LIMIT ? OFFSET ?", (run_id, limit, offset)
    ).fetchall()


def console_tail(conn: sqlite3.Connection, run_id: int, last: int) -> list[sqlite3.Row]:
    """The last console lines (``line``, ``text``), in order."""
    found = conn.execute(
        "SELECT line, text FROM console WHERE run_id = ? ORDER BY line DESC LIMIT ?", (run_id, last)
    ).fetchall()
    return found[::-1]


def console_parts(text: str) -> dict[str, Any]:
    """A console line's ``content``, ``ts``, ``level`` and ``label``; one that is plain text has only its content."""
    if text.startswith("{"):
        try:
            parts = json.loads(text)
        except (ValueError, RecursionError):
            parts = None
        if isinstance(parts, dict) and isinstance(parts.get("content"), str):
            return parts
    return {"content": text}


def copy(conn: sqlite3.Connection, parent_id: int, child_id: int, last_step: int) -> None:
    """Give a new run its parent's history up to a step, that step included."""
    conn.execute(
        "INSERT INTO history (run_id, line, step, row) SELECT ?, line, step, row FROM history"
        " WHERE run_id = ? AND step <= ?",
        (child_id, parent_id, last_step),
    )


def cut(conn: sqlite3.Connection, run_id: int, after_step: int) -> dict[str, Any]:
    """Drop the history after a step (a rewind); answers the run's columns that change with it.

    The summary becomes what the remaining lines say: the last value of each key.
    """
    conn.execute("DELETE FROM history WHERE run_id = ? AND step > ?", (run_id, after_step))
    cursor = conn.execute("SELECT line, row FROM history WHERE run_id = ? ORDER BY line", (run_id,))
    summary: dict[str, Any] = {}
    lines: list[Line] = []
    last = -1
    for last, text in cursor:
        summary |= json.loads(text)
        lines.append(parse_line(text, last))
    return {
        "summary": json.dumps(named_numbers(summary)),
        "history_lines": last + 1,
        "last_step": max((line.step for line in lines), default=-1),
        "history_keys": _count_types("{}", lines),
    }


def _object(text: str) -> dict[str, Any]:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadLine(f"a line is not JSON: {error}") from None
    if not isinstance(row, dict):
        raise BadLine("a line is not a JSON object")
    return row


def _types(row: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in row.items():
        if isinstance(value, dict) and isinstance(value.get("_type"), str):
            yield prefix + key, value["_type"]
        elif isinstance(value, dict) and prefix.count(".") < 8:
            yield from _types(value, f"{prefix}{key}.")
        else:
            yield prefix + key, _type_name(value)


def _type_name(value: Any) -> str:
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, str):
        return "string"
    return "list" if isinstance(value, list) else "map"


def _count_types(known: str, lines: Sequence[Line]) -> str:
    """The column ``history_keys`` (key -> type -> how often) with more lines counted in."""
    counted = Counter(pair for line in lines for pair in line.types)
    keys: dict[str, dict[str, int]] = json.loads(known)
    for (key, kind), times in counted.items():
        kinds = keys.setdefault(key, {})
        kinds[kind] = kinds.get(kind, 0) + times
    return json.dumps(keys)
