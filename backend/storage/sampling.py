"""Rows of a history by their place in it, without reading all of it: a million rows are sampled in a moment.

A place is a row's number in the order of steps. The index on the steps is walked in SQL, row by row without their
texts; only the rows that were picked are read.
"""

from __future__ import annotations

import json
import math
import sqlite3
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

from . import history

Spot = tuple[int, int]  # (step, line), by which rows are ordered

LOWEST, HIGHEST = -(2**62), 2**62
_NARROW = 20_000  # rows that are read by the index on the steps; more are read in the order in which they lie
_PAGE = 1000
_CONDITIONS = 50  # keys that SQL looks for in the rows' texts; SQLite's statements must not grow without bound
_LONGEST = 1000  # characters of a key that SQL looks for


@dataclass(frozen=True)
class Span:
    """The rows of a run with steps from ``low`` to before ``high``."""

    run_id: int
    low: int = LOWEST
    high: int = HIGHEST


def size(conn: sqlite3.Connection, span: Span) -> int:
    """How many rows there are."""
    query = "SELECT count(*) FROM history WHERE run_id = ? AND step >= ? AND step < ?"
    return int(conn.execute(query, (span.run_id, span.low, span.high)).fetchone()[0])


def places(length: int, most: int) -> Sequence[int]:
    """At most ``most`` of ``length`` places, evenly spread, the first and the last among them; 0 or less means none."""
    if most <= 0 or length <= most:
        return range(length if most > 0 else 0)
    if most == 1:
        return [length - 1]
    step = (length - 1) / (most - 1)
    return [round(n * step) for n in range(most)]


def pick(conn: sqlite3.Connection, span: Span, most: int) -> list[str]:
    """The texts of at most ``most`` rows, evenly spread."""
    with _as_of_now(conn):
        length = size(conn, span)
        if length <= most:
            return list(history.texts(conn, span.run_id, span.low, span.high))
        return _texts_at(conn, span, _at(conn, span, places(length, most), []))


def pick_with(conn: sqlite3.Connection, span: Span, keys: Sequence[str], most: int) -> list[dict[str, Any]]:
    """At most ``most`` rows that have a value for all of the keys, evenly spread; each as its values by key."""
    with _as_of_now(conn):
        length = size(conn, span)
        rare = _rare(conn, span.run_id, keys)
        mostly = length > max(_NARROW, 2 * sum(rare.values()))
        lacking = _lacking(conn, span.run_id, rare) if mostly else None
        if lacking is not None:
            wanted = places(length - _within(lacking, span), most)
            found = [_values(text, keys) for text in _texts_at(conn, span, _at(conn, span, wanted, lacking))]
            if None not in found:
                return [values for values in found if values is not None]
        having = _having(conn, span, rare)
        if having is None:
            having = sorted(
                (step, line)
                for step, line, row in candidates(conn, span, list(rare))
                if all(history.value_at(row, key) is not None for key in keys)
            )
        spots = [having[place] for place in places(len(having), most)]
        found = [_values(text, keys) for text in _texts_at(conn, span, spots)]
        return [values for values in found if values is not None]


def pick_events(conn: sqlite3.Connection, run_id: int, most: int) -> list[str]:
    """The texts of at most ``most`` lines of system metrics, evenly spread."""
    with _as_of_now(conn):
        lines = conn.execute("SELECT line FROM events WHERE run_id = ? ORDER BY line", (run_id,)).fetchall()
        picked = json.dumps([lines[place]["line"] for place in places(len(lines), most)])
        query = "SELECT row FROM events WHERE run_id = ? AND line IN (SELECT value FROM json_each(?)) ORDER BY line"
        return [row["row"] for row in conn.execute(query, (run_id, picked))]


def metric(conn: sqlite3.Connection, run_id: int, key: str) -> list[tuple[int, float]]:
    """(step, value) of one metric, finite numbers only, in step order."""
    points = []
    for step, line, row in candidates(conn, Span(run_id), [key]):
        value = history.value_at(row, key)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            points.append((step, line, float(value)))
    return [(step, value) for step, _, value in sorted(points)]


@contextmanager
def _as_of_now(conn: sqlite3.Connection) -> Iterator[None]:
    """All reads see the same rows, whatever is written meanwhile."""
    if conn.in_transaction:
        yield
        return
    conn.execute("BEGIN")
    try:
        yield
    finally:
        conn.execute("ROLLBACK")


def _texts_at(conn: sqlite3.Connection, span: Span, spots: Iterable[Spot]) -> list[str]:
    lines = [line for _, line in spots]
    query = "SELECT line, row FROM history WHERE run_id = ? AND line IN (SELECT value FROM json_each(?))"
    found = dict(conn.execute(query, (span.run_id, json.dumps(lines))).fetchall())
    return [found[line] for line in lines]


def _at(conn: sqlite3.Connection, span: Span, wanted: Iterable[int], lacking: Sequence[Spot]) -> Iterator[Spot]:
    """The rows at ascending places, where rows that are ``lacking`` (sorted) do not count.

    Goes as far as the place would be if none lacked; then as far again as there were lacking ones on the way.
    """
    spot, at = (span.low, -1), -1
    for place in wanted:
        hop, at = place - at, place
        while hop:
            passed = bisect_right(lacking, spot)
            spot = _further(conn, span, spot, hop)
            hop = bisect_right(lacking, spot) - passed
        yield spot


def _further(conn: sqlite3.Connection, span: Span, spot: Spot, hop: int) -> Spot:
    query = (
        "SELECT step, line FROM history WHERE run_id = ? AND (step, line) > (?, ?) AND step < ?"
        " ORDER BY step, line LIMIT 1 OFFSET ?"
    )
    row = conn.execute(query, (span.run_id, *spot, span.high, hop - 1)).fetchone()
    return row["step"], row["line"]


def _within(spots: Sequence[Spot], span: Span) -> int:
    return bisect_right(spots, (span.high, -1)) - bisect_right(spots, (span.low, -1))


def _rare(conn: sqlite3.Connection, run_id: int, keys: Sequence[str]) -> dict[str, int]:
    """Those of the keys that some rows of the run lack, and how many, by the counts that are kept with the run.

    The rarest comes first: looking for it leaves the fewest rows to look at.
    """
    run = conn.execute("SELECT history_lines, history_keys FROM runs WHERE id = ?", (run_id,)).fetchone()
    known = json.loads(run["history_keys"])
    missing = {key: run["history_lines"] - _count(known.get(key, {})) for key in keys}
    return {key: missing[key] for key in sorted(missing, key=lambda key: -missing[key]) if missing[key]}


def _count(types: dict[str, int]) -> int:
    return sum(times for kind, times in types.items() if kind != "nil")


def _lacking(conn: sqlite3.Connection, run_id: int, rare: dict[str, int]) -> list[Spot] | None:
    """The rows of a run that lack one of the keys, in order; None where that cannot be told by SQL alone.

    Rows in which a key is not written lack it. They are all that lack it, if they are as many as the counts say.
    """
    if len(rare) > _CONDITIONS:
        return None
    written = [_written(key) for key in rare]
    names = [f"has{n}" for n in range(len(written))]
    columns = "".join(f", {condition} AS {name}" for name, (condition, _) in zip(names, written, strict=True))
    query = f"SELECT step, line{columns} FROM history WHERE run_id = ? AND NOT ({' AND '.join(names)})"
    parameters = [text for _, texts in written for text in texts]
    rows = conn.execute(query, (*parameters, run_id)).fetchall() if rare else []
    if [sum(not row[name] for row in rows) for name in names] != list(rare.values()):
        return None
    return sorted((row["step"], row["line"]) for row in rows)


def _having(conn: sqlite3.Connection, span: Span, rare: dict[str, int]) -> list[Spot] | None:
    """The rows that have the one key that some lack, in order; None where that cannot be told by SQL alone.

    Rows in which the key is written may have it. They all do, if in the whole run they are as many as the counts say.
    That it may be written with escapes need not be looked at: the counts would tell.
    """
    if len(rare) != 1:
        return None
    ((key, missing),) = rare.items()
    condition, texts = _written(key, escaped=False)
    cursor = conn.cursor()
    cursor.row_factory = None  # plain tuples: there may be hundreds of thousands
    query = f"SELECT step, line FROM history WHERE run_id = ? AND {condition}"
    rows: list[Spot] = cursor.execute(query, (span.run_id, *texts)).fetchall()
    lines = conn.execute("SELECT history_lines FROM runs WHERE id = ?", (span.run_id,)).fetchone()["history_lines"]
    if len(rows) != lines - missing:
        return None
    rows.sort()
    return rows[bisect_left(rows, (span.low,)) : bisect_left(rows, (span.high,))]


def candidates(conn: sqlite3.Connection, span: Span, keys: Sequence[str]) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """(step, line, row) of rows that may have values for all of the keys, in no order."""
    written = [_written(key) for key in keys[:_CONDITIONS]]
    step = "step" if size(conn, span) <= _NARROW else "+step"  # the plus keeps SQLite from using the index
    conditions = "".join(f" AND {condition}" for condition, _ in written)
    query = f"SELECT step, line, row FROM history WHERE run_id = ? AND {step} >= ? AND {step} < ?{conditions}"
    parameters = [text for _, texts in written for text in texts]
    cursor = conn.execute(query, (span.run_id, span.low, span.high, *parameters))
    while page := list(islice(cursor, _PAGE)):
        rows = history.objects([row["row"] for row in page])
        yield from ((spot["step"], spot["line"], row) for spot, row in zip(page, rows, strict=True))


def _written(key: str, escaped: bool = True) -> tuple[str, list[str]]:
    """A condition, with its parameters, that holds for every row with a value for ``key``, and for few others.

    A key stands in quotes, as itself or nested below its first name. It may be written with escapes, so a row with a
    backslash could have any; ``escaped`` False passes these over. GLOB is SQLite's fastest search; it is faster still
    from a letter than from a quote, of which a row has many, so a row without the end of the key is passed over first.
    """
    if len(key) > _LONGEST:
        return "row IS NOT NULL", []
    conditions, patterns = [], []
    for name in sorted({key, key.split(".")[0]}):
        # A lone surrogate is always written with an escape: what stands here for it need not be found.
        text = "".join(
            f"[{letter}]" if letter in "*?[" else letter for letter in name.encode(errors="replace").decode()
        )
        conditions.append("(row GLOB ? AND row GLOB ?)")
        patterns += [f'*{text}"*', f'*"{text}"*']
    if escaped:
        conditions.append("row GLOB ?")
        patterns.append("*\\*")
    return f"({' OR '.join(conditions)})", patterns


def _values(text: str, keys: Sequence[str]) -> dict[str, Any] | None:
    """The row's values; None where it lacks one."""
    (row,) = history.objects([text])
    values = {key: history.value_at(row, key) for key in keys}
    return None if any(value is None for value in values.values()) else values
