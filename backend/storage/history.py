"""What a run streams line by line: its history, its system events, its console.

A line is kept by its number in the client's file, so a chunk that is sent twice is there once.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, repeat
from typing import Any

import orjson

from . import insert, plain_json
from .plain_json import named_numbers

_PAGE = 1000  # rows that are in memory at once where a whole history is read


@dataclass(frozen=True)
class Lines:
    """Consecutive lines of wandb-history.jsonl, parsed; the first is line ``offset`` of the file."""

    offset: int
    texts: Sequence[str]
    steps: Sequence[int]
    types: Counter[tuple[str, str]]  # (key, W&B's name of its value's type) -> in how many of the lines

    def __len__(self) -> int:
        return len(self.texts)


class BadLine(ValueError):
    """A line that is not what the file stream promises."""


def parse(texts: Sequence[str], offset: int) -> Lines:
    """Lines of a history from line ``offset`` on; one without ``_step`` counts as its own step. Raises BadLine."""
    rows = objects(texts)
    steps = [_step(row.get("_step", line)) for line, row in enumerate(rows, offset)]
    return Lines(offset, texts, steps, _types(rows))


def add_history(conn: sqlite3.Connection, run: sqlite3.Row | dict[str, Any], lines: Lines) -> dict[str, Any]:
    """Keep a chunk; answers the run's columns that change with it."""
    if run["began_anew"]:
        return {**add_history(conn, _overwritten(conn, run, lines), lines), "began_anew": 0}
    again = _types(_kept(conn, run["id"], lines.offset, lines.offset + len(lines)))
    values = zip(repeat(run["id"]), count(lines.offset), lines.steps, lines.texts)
    insert.many(conn, "history", ("run_id", "line", "step", "row"), values, len(lines))
    return {
        "history_lines": max(run["history_lines"], lines.offset + len(lines)),
        "last_step": max(run["last_step"], *lines.steps),
        "history_keys": _with_types(run["history_keys"], lines.types, again),
    }


def _kept(conn: sqlite3.Connection, run_id: int, start: int, stop: int) -> list[dict[str, Any]]:
    """What lies under the numbers of lines that are about to be kept: lines that were sent before."""
    query = "SELECT row FROM history WHERE run_id = ? AND line >= ? AND line < ?"
    return objects([row["row"] for row in conn.execute(query, (run_id, start, stop))])


def _overwritten(conn: sqlite3.Connection, run: sqlite3.Row | dict[str, Any], lines: Lines) -> dict[str, Any]:
    """The run without its history, if the first line of the run's new life goes back in its steps."""
    known = {**dict(run), "began_anew": 0}
    if lines.steps[0] > run["last_step"]:
        return known
    forget(conn, run["id"])
    return {**known, "history_lines": min(run["history_lines"], lines.offset), "last_step": -1, "history_keys": "{}"}


def forget(conn: sqlite3.Connection, run_id: int) -> None:
    """Drop a run's whole history."""
    conn.execute("DELETE FROM history WHERE run_id = ?", (run_id,))


def add_events(conn: sqlite3.Connection, run: sqlite3.Row, offset: int, lines: Sequence[str]) -> dict[str, Any]:
    """Keep a chunk of system events; answers the run's columns that change with it. Raises BadLine."""
    objects(lines)
    insert.many(conn, "events", ("run_id", "line", "row"), zip(repeat(run["id"]), count(offset), lines), len(lines))
    return {"event_lines": max(run["event_lines"], offset + len(lines))}


def add_console(conn: sqlite3.Connection, run: sqlite3.Row, offset: int, lines: Sequence[str]) -> dict[str, Any]:
    """Keep console lines; the client changes lines that it sent before (progress bars)."""
    insert.many(conn, "console", ("run_id", "line", "text"), zip(repeat(run["id"]), count(offset), lines), len(lines))
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


def tail(conn: sqlite3.Connection, run_id: int, table: str) -> str | None:
    """The last line of ``history`` or ``events``."""
    assert table in {"history", "events"}
    row = conn.execute(f"SELECT row FROM {table} WHERE run_id = ? ORDER BY line DESC LIMIT 1", (run_id,)).fetchone()
    return row["row"] if row else None


def ends(conn: sqlite3.Connection, run_id: int) -> list[dict[str, Any]]:
    """The rows of the first and the last step (the same where there is one only), each with its ``_step``."""
    query = "SELECT step, row FROM history WHERE run_id = ? ORDER BY step {0}, line {0} LIMIT 1"
    found = [conn.execute(query.format(way), (run_id,)).fetchone() for way in ("ASC", "DESC")]
    return [{**_loads(row["row"]), "_step": row["step"]} for row in found if row is not None]


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
    summary: dict[str, Any] = {}
    types: Counter[tuple[str, str]] = Counter()
    last, last_step = -1, -1
    cursor = conn.execute("SELECT line, step, row FROM history WHERE run_id = ? ORDER BY line", (run_id,))
    while page := cursor.fetchmany(_PAGE):
        rows = objects([row["row"] for row in page])
        for row in rows:
            summary |= row
        types += _types(rows)
        last, last_step = page[-1]["line"], max(last_step, *(row["step"] for row in page))
    return {
        "summary": json.dumps(named_numbers(summary)),
        "history_lines": last + 1,
        "last_step": last_step,
        "history_keys": _with_types("{}", types, Counter()),
    }


def objects(texts: Sequence[str]) -> list[dict[str, Any]]:
    """Lines of JSON objects, parsed. Raises BadLine."""
    try:
        rows = list(map(orjson.loads, texts))
    except orjson.JSONDecodeError:  # what strict JSON does not know and W&B's client sends: NaN, lone surrogates
        rows = [_loads(text) for text in texts]
    else:
        for text in texts:
            if len(text) > 2 * plain_json.DEEPEST and plain_json.may_be_deep(text):
                _loads(text)  # refuses it if it is
    if not all(type(row) is dict for row in rows):
        raise BadLine("a line is not a JSON object")
    return rows


def _loads(text: str) -> Any:
    try:
        return plain_json.loads(text)
    except ValueError as error:
        raise BadLine(f"a line is not JSON: {error}") from None


def _step(step: Any) -> int:
    if type(step) is not int and (type(step) is not float or not math.isfinite(step)):
        raise BadLine("_step is not a number")
    if abs(step) >= 2**62:
        raise BadLine("_step is too large")
    return int(step)


def _types(rows: Iterable[dict[str, Any]]) -> Counter[tuple[str, str]]:
    """How often which key has which type. Rows mostly look alike, so that they are counted by what they look like."""
    counted: Counter[tuple[str, str]] = Counter()
    shapes: Counter[tuple[tuple[str, ...], tuple[type, ...]]] = Counter()
    for row in rows:
        kinds = tuple(map(type, row.values()))
        if dict in kinds:
            # In a row, a name with dots stands for itself before it stands for what is nested.
            counted.update({**dict(_nested_types(row)), **dict(_own_types(row))}.items())
        else:
            shapes[tuple(row), kinds] += 1
    for (keys, kinds), times in shapes.items():
        for key, kind in zip(keys, kinds, strict=True):
            counted[key, _TYPE_NAMES[kind]] += times
    return counted


def _nested_types(row: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in row.items():
        if isinstance(value, dict) and isinstance(value.get("_type"), str):
            yield prefix + key, value["_type"]
        elif isinstance(value, dict) and prefix.count(".") < 8:
            yield from _nested_types(value, f"{prefix}{key}.")
        else:
            yield prefix + key, _TYPE_NAMES[type(value)]


def _own_types(row: dict[str, Any]) -> Iterator[tuple[str, str]]:
    return ((key, _TYPE_NAMES[type(value)]) for key, value in row.items() if not isinstance(value, dict))


_TYPE_NAMES: dict[type, str] = {  # of what JSON can hold, as W&B names it
    type(None): "nil",
    bool: "boolean",
    int: "number",
    float: "number",
    str: "string",
    list: "list",
    dict: "map",
}


def _with_types(known: str, more: Counter[tuple[str, str]], fewer: Counter[tuple[str, str]]) -> str:
    """The column ``history_keys`` (key -> type -> in how many rows) with more counted in, and others out."""
    keys: dict[str, dict[str, int]] = json.loads(known)
    for key, kind in more | fewer:
        kinds = keys.setdefault(key, {})
        kinds[kind] = kinds.get(kind, 0) + more[key, kind] - fewer[key, kind]
    left = {key: {kind: times for kind, times in kinds.items() if times > 0} for key, kinds in keys.items()}
    return json.dumps({key: kinds for key, kinds in left.items() if kinds})
