"""What a sweep's search must know of its runs, however many: which are open, how the others did, what was tried."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator
from typing import Any

_PAGE = 2000  # rows in memory at once
_MARKS = 500  # question marks in one query
_OPEN = """
    SELECT runs.id, runs.name, runs.state, runs.updated_at, runs.history_lines, trials.configuration, trials.stopped_at
    FROM open_runs JOIN runs ON runs.id = open_runs.run_id LEFT JOIN trials ON trials.run_id = runs.id
    WHERE open_runs.sweep_id = ? AND open_runs.run_id > ? ORDER BY open_runs.run_id LIMIT ?
"""
# Those that an agent may still work on: the open ones, and what agents hold, a crashed run among them.
UNDER_WAY = """
    SELECT run_id FROM open_runs WHERE sweep_id = :sweep
    UNION SELECT trials.run_id FROM agents JOIN trials ON trials.holder = agents.id WHERE agents.sweep_id = :sweep
"""


def begin(conn: sqlite3.Connection, sweep_id: int, key: str) -> None:
    """Make a search's tables anew where they were written by another ``key``: all runs are open to be looked at."""
    sweep = conn.execute("SELECT search_key FROM sweeps WHERE id = ?", (sweep_id,)).fetchone()
    if sweep is None or sweep["search_key"] == key:
        return
    for table in ("outcomes", "band_values", "bands", "joined_runs", "released"):
        conn.execute(f"DELETE FROM {table} WHERE sweep_id = ?", (sweep_id,))
    conn.execute("INSERT OR IGNORE INTO open_runs SELECT id, sweep_id FROM runs WHERE sweep_id = ?", (sweep_id,))
    conn.execute("UPDATE sweeps SET search_key = ?, grid_position = 0 WHERE id = ?", (key, sweep_id))


def is_of(conn: sqlite3.Connection, sweep_id: int, key: str) -> bool:
    """Whether the search's tables are those of ``key``."""
    sweep = conn.execute("SELECT 1 FROM sweeps WHERE id = ? AND search_key = ?", (sweep_id, key)).fetchone()
    return sweep is not None


def grid_position(conn: sqlite3.Connection, sweep_id: int) -> int:
    """How far the sweep's grid has come; 0 for a sweep that was deleted."""
    sweep = conn.execute("SELECT grid_position FROM sweeps WHERE id = ?", (sweep_id,)).fetchone()
    return sweep["grid_position"] if sweep else 0


def set_grid_position(conn: sqlite3.Connection, sweep_id: int, position: int) -> None:
    conn.execute("UPDATE sweeps SET grid_position = ? WHERE id = ?", (position, sweep_id))


def open_runs(conn: sqlite3.Connection, sweep_id: int) -> Iterator[list[sqlite3.Row]]:
    """The sweep's open runs in order of their creation, page by page; rows may be written between two pages."""
    after = -1
    while rows := conn.execute(_OPEN, (sweep_id, after, _PAGE)).fetchall():
        yield rows
        after = rows[-1]["id"]


def settle(
    conn: sqlite3.Connection,
    run_id: int,
    values: tuple[float | None, float | None, float | None],
    seen: sqlite3.Row,
) -> None:
    """Keep how a run did (best, worst, worth). It is no longer open, unless it has changed since it was ``seen``."""
    conn.execute(
        "INSERT OR REPLACE INTO outcomes (run_id, sweep_id, best, worst, worth)"
        " SELECT id, sweep_id, ?, ?, ? FROM runs WHERE id = ? AND sweep_id IS NOT NULL",
        (*values, run_id),
    )
    same = "state = ? AND updated_at = ? AND history_lines = ?"
    conn.execute(
        f"DELETE FROM open_runs WHERE run_id = (SELECT id FROM runs WHERE id = ? AND {same})",
        (run_id, seen["state"], seen["updated_at"], seen["history_lines"]),
    )


def has_outcome(conn: sqlite3.Connection, run_id: int) -> bool:
    return conn.execute("SELECT 1 FROM outcomes WHERE run_id = ?", (run_id,)).fetchone() is not None


def reopen(conn: sqlite3.Connection, run_id: int) -> None:
    """A run that was over goes on."""
    conn.execute("DELETE FROM outcomes WHERE run_id = ?", (run_id,))


def join(conn: sqlite3.Connection, run_id: int, configuration: str) -> None:
    """A run tries a configuration that no trial of the sweep has as it is."""
    conn.execute(
        "INSERT OR REPLACE INTO joined_runs (run_id, sweep_id, configuration)"
        " SELECT id, sweep_id, ? FROM runs WHERE id = ? AND sweep_id IS NOT NULL",
        (configuration, run_id),
    )


def tries(conn: sqlite3.Connection, sweep_id: int, configuration: str) -> int:
    """How many runs with an outcome had this configuration, as trials or when they joined the sweep."""
    of = "AS tried JOIN outcomes ON outcomes.run_id = tried.run_id WHERE tried.sweep_id = ?1 AND configuration = ?2"
    query = f"SELECT (SELECT count(*) FROM trials {of}) + (SELECT count(*) FROM joined_runs {of})"
    return int(conn.execute(query, (sweep_id, configuration)).fetchone()[0])


def settled(conn: sqlite3.Connection, sweep_id: int) -> int:
    """How many runs of the sweep are not open."""
    query = """SELECT run_count - (SELECT count(*) FROM open_runs WHERE open_runs.sweep_id = sweeps.id)
        FROM sweeps WHERE id = ?"""
    row = conn.execute(query, (sweep_id,)).fetchone()
    return int(row[0]) if row else 0


def extreme(conn: sqlite3.Connection, sweep_id: int, column: str, largest: bool) -> float | None:
    """The largest or the smallest ``best`` or ``worst`` of all outcomes."""
    assert column in {"best", "worst"}
    query = f"SELECT {'max' if largest else 'min'}({column}) FROM outcomes WHERE sweep_id = ?"
    found: float | None = conn.execute(query, (sweep_id,)).fetchone()[0]
    return found


def latest(conn: sqlite3.Connection, sweep_id: int, most: int, unknown: bool) -> list[tuple[int, float | None]]:
    """The latest runs and their worths, the latest last; those of unknown worth only where asked for."""
    condition = "" if unknown else "AND +worth IS NOT NULL"  # the plus: in order of the runs, not of their worths
    query = f"SELECT run_id, worth FROM outcomes WHERE sweep_id = ? {condition} ORDER BY run_id DESC LIMIT ?"
    return [tuple(row) for row in conn.execute(query, (sweep_id, most)).fetchall()][::-1]


def best(
    conn: sqlite3.Connection, sweep_id: int, most: int, largest: bool, unknown: bool
) -> list[tuple[int, float | None]]:
    """The best runs and their worths, the best first; then those of unknown worth where asked for."""
    way = "DESC" if largest else "ASC"
    query = f"SELECT run_id, worth FROM outcomes WHERE sweep_id = ? AND worth IS NOT NULL ORDER BY worth {way} LIMIT ?"
    found = [tuple(row) for row in conn.execute(query, (sweep_id, most)).fetchall()]
    if unknown and len(found) < most:
        rest = "SELECT run_id, worth FROM outcomes WHERE sweep_id = ? AND worth IS NULL ORDER BY run_id LIMIT ?"
        found += [tuple(row) for row in conn.execute(rest, (sweep_id, most - len(found))).fetchall()]
    return found


def configurations(conn: sqlite3.Connection, run_ids: Collection[int]) -> dict[int, dict[str, Any]]:
    """What runs of a sweep try, as the search knows it."""
    found: dict[int, dict[str, Any]] = {}
    wanted = list(run_ids)
    for start in range(0, len(wanted), _MARKS):
        part = wanted[start : start + _MARKS]
        marks = ", ".join("?" * len(part))
        for table in ("trials", "joined_runs"):  # in this order: what joined counts
            query = f"SELECT run_id, configuration FROM {table} WHERE run_id IN ({marks})"
            found |= {row["run_id"]: json.loads(row["configuration"]) for row in conn.execute(query, part)}
    return found


def released(conn: sqlite3.Connection, sweep_id: int) -> Iterator[dict[str, Any]]:
    """Configurations that a grid has passed and whose runs were deleted, in order of the runs' creation."""
    query = "SELECT run_id, configuration FROM released WHERE sweep_id = ? AND run_id > ? ORDER BY run_id LIMIT ?"
    after = -1
    while rows := conn.execute(query, (sweep_id, after, _PAGE)).fetchall():
        yield from (json.loads(row["configuration"]) for row in rows)
        after = rows[-1]["run_id"]
