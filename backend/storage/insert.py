"""Many rows in few statements.

Python's sqlite3 gives up its global lock for every row of an ``executemany`` and has to get it back from the threads
that parse and answer meanwhile; that wait is longer than the row takes. One statement of many rows waits once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import chain, islice
from typing import Any

_SIZES = (128, 16, 1)  # rows of one statement


def many(
    conn: sqlite3.Connection, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], length: int
) -> None:
    """Insert ``length`` rows; one whose primary key is there replaces that one."""
    rows = iter(rows)
    for size in _SIZES:
        statement = _statement(table, tuple(columns), size)
        for _ in range(length // size):
            conn.execute(statement, tuple(chain.from_iterable(islice(rows, size))))
        length %= size


@cache
def _statement(table: str, columns: tuple[str, ...], size: int) -> str:
    row = f"({', '.join('?' * len(columns))})"
    return f"INSERT OR REPLACE INTO {table} ({', '.join(columns)}) VALUES {', '.join([row] * size)}"
