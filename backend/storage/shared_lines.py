"""Where the lines of several writers lie: each numbers its own from 0, and the run has one sequence of them.

A line keeps its place: a chunk that is sent twice is there once, and a changed console line changes in place.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import groupby


def places(
    conn: sqlite3.Connection, run_id: int, writer: str, file: str, numbers: range, next_line: int
) -> Sequence[int]:
    """The run's line for each of a writer's ``numbers``; new ones follow each other from ``next_line`` on."""
    known = _known(conn, run_id, writer, file, numbers)
    new = [number for number in numbers if number not in known]
    for line, number in enumerate(new, next_line):
        known[number] = line
    for first, count in _blocks(new):
        conn.execute(
            "INSERT INTO shared_lines (run_id, writer, file, first, count, line) VALUES (?, ?, ?, ?, ?, ?)",
            (run_id, writer, file, first, count, known[first]),
        )
    return [known[number] for number in numbers]


def _known(conn: sqlite3.Connection, run_id: int, writer: str, file: str, numbers: range) -> dict[int, int]:
    cursor = conn.execute(
        "SELECT first, count, line FROM shared_lines"
        " WHERE run_id = ? AND writer = ? AND file = ? AND first < ? AND first + count > ?",
        (run_id, writer, file, numbers.stop, numbers.start),
    )
    found: dict[int, int] = {}
    for first, count, line in cursor:
        within = range(max(first, numbers.start), min(first + count, numbers.stop))
        found |= {number: line + number - first for number in within}
    return found


def _blocks(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """(first, how many) of each unbroken part of ascending numbers."""
    parts = groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0])
    blocks = [[number for _, number in part] for _, part in parts]
    return [(block[0], len(block)) for block in blocks]
