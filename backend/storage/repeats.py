"""History that a client sends again from its beginning, under further line numbers.

A sync that was cut off begins anew, and its client numbers the lines after those that had arrived. A line that says of
a step what is known of it is dropped; its number stays empty. So it is too where the number was taken meanwhile: the
last request of a client that was killed may arrive after the next one was told how many lines there are.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, cast

from . import history


def add_history(conn: sqlite3.Connection, run: sqlite3.Row, lines: history.Lines) -> dict[str, Any]:
    """Keep what is new of a chunk; answers the run's columns that change with it."""
    goes_back = min(lines.steps) <= run["last_step"]
    if run["began_anew"]:  # then lines under old numbers are the new life's
        goes_back &= lines.offset + len(lines) > run["history_lines"]
    return _add_new(conn, run, lines) if goes_back else history.add_history(conn, run, lines)


def _add_new(conn: sqlite3.Connection, run: sqlite3.Row, lines: history.Lines) -> dict[str, Any]:
    have = run["history_lines"]
    numbered = enumerate(zip(lines.steps, lines.texts, strict=True), lines.offset)
    new_life = have if run["began_anew"] else 0  # what has a number before it takes the old line's place
    kept = [(n, text) for n, (step, text) in numbered if n < new_life or not _is_known(conn, run["id"], step, text)]
    state = dict(run)
    for first, texts in _unbroken(kept):
        before = cast(sqlite3.Row, {**state, "history_lines": have})
        state |= history.add_history(conn, before, history.parse(texts, first))
    columns = {name: state[name] for name in ("last_step", "history_keys")}
    return {**columns, "history_lines": max(have, lines.offset + len(lines))}


def _unbroken(numbered: Sequence[tuple[int, str]]) -> Iterator[tuple[int, list[str]]]:
    """The parts of lines in which one number follows the other: the first number, and the lines."""
    for _, part in groupby(enumerate(numbered), key=lambda pair: pair[1][0] - pair[0]):
        found = [pair[1] for pair in part]
        yield found[0][0], [text for _, text in found]


def _is_known(conn: sqlite3.Connection, run_id: int, step: int, text: str) -> bool:
    """Whether a line of the step says the same; the client's keys come in any order."""
    # As a range: for an equality SQLite walks the run's lines by their numbers, all of them for every line.
    there = conn.execute("SELECT row FROM history WHERE run_id = ? AND step BETWEEN ? AND ?", (run_id, step, step))
    return any(other == text or _sorted(other) == _sorted(text) for (other,) in there)


def _sorted(text: str) -> str:
    return json.dumps(json.loads(text), sort_keys=True)
