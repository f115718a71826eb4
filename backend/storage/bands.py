"""The thresholds of early termination, kept so that each is one look, however many runs have reached a band.

A band's threshold is the value of rank int(n / eta) among those of the n runs that reached it. With each new value the
rank moves by one place at most, and so does the row that is kept; where a value was changed or deleted, the row is
gone and is made anew.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """The threshold of a band that ``runs`` have reached, and the run whose value it is."""

    runs: int
    threshold: float
    run_id: int


@dataclass(frozen=True)
class Order:
    """How a sweep's values are ranked: by which rank of n, and whether the largest comes first."""

    rank: Callable[[int], int]
    largest_first: bool

    @property
    def way(self) -> str:
        return "DESC" if self.largest_first else "ASC"

    def other(self) -> Order:
        """The same from behind."""
        return Order(self.rank, not self.largest_first)

    def is_before(self, one: tuple[float, int], other: tuple[float, int]) -> bool:
        return one > other if self.largest_first else one < other


def keep(conn: sqlite3.Connection, run_id: int, sweep_id: int, values: Mapping[int, float], order: Order) -> None:
    """A run's values at the bands that it has reached; there are no others."""
    query = "SELECT band, value FROM band_values WHERE run_id = ?"
    known = {row["band"]: row["value"] for row in conn.execute(query, (run_id,)).fetchall()}
    for band in known.keys() - values.keys():
        conn.execute("DELETE FROM band_values WHERE run_id = ? AND band = ?", (run_id, band))
    for band, value in values.items():
        if band not in known:
            _add(conn, run_id, sweep_id, band, value, order)
        elif known[band] != value:
            conn.execute("UPDATE band_values SET value = ? WHERE run_id = ? AND band = ?", (value, run_id, band))


def threshold(conn: sqlite3.Connection, sweep_id: int, band: int, order: Order) -> float | None:
    """The value to reach at a band; None where no run has reached it."""
    found = place(conn, sweep_id, band, order)
    return None if found is None else found.threshold


def place(conn: sqlite3.Connection, sweep_id: int, band: int, order: Order) -> Place | None:
    """A band's threshold, whose value it is, and how many runs have reached the band; None where none has."""
    query = "SELECT runs, threshold, run_id FROM bands WHERE sweep_id = ? AND band = ?"
    row = conn.execute(query, (sweep_id, band)).fetchone()
    return Place(*row) if row is not None else _counted(conn, sweep_id, band, order)


def _add(conn: sqlite3.Connection, run_id: int, sweep_id: int, band: int, value: float, order: Order) -> None:
    insert = "INSERT INTO band_values (run_id, band, sweep_id, value) VALUES (?, ?, ?, ?)"
    conn.execute(insert, (run_id, band, sweep_id, value))
    row = conn.execute("SELECT * FROM bands WHERE sweep_id = ? AND band = ?", (sweep_id, band)).fetchone()
    if row is None:
        found = _counted(conn, sweep_id, band, order)
        assert found is not None, "a value was just added"
    else:
        runs, at = row["runs"] + 1, (row["threshold"], row["run_id"])
        moves = order.rank(runs) - order.rank(runs - 1) - order.is_before((value, run_id), at)
        if moves:
            at = _next(conn, sweep_id, band, at, order if moves > 0 else order.other())
        found = Place(runs, *at)
    values = (sweep_id, band, found.runs, found.threshold, found.run_id)
    conn.execute(
        "INSERT OR REPLACE INTO bands (sweep_id, band, runs, threshold, run_id) VALUES (?, ?, ?, ?, ?)", values
    )


def _counted(conn: sqlite3.Connection, sweep_id: int, band: int, order: Order) -> Place | None:
    """A band's place, looked for from the beginning."""
    where = "FROM band_values WHERE sweep_id = ? AND band = ?"
    runs = int(conn.execute(f"SELECT count(*) {where}", (sweep_id, band)).fetchone()[0])
    query = f"SELECT value, run_id {where} ORDER BY value {order.way}, run_id {order.way} LIMIT 1 OFFSET ?"
    row = conn.execute(query, (sweep_id, band, order.rank(runs))).fetchone()
    return Place(runs, *row) if row is not None else None


def _next(conn: sqlite3.Connection, sweep_id: int, band: int, at: tuple[float, int], order: Order) -> tuple[float, int]:
    """The place behind another in an order."""
    row = conn.execute(
        "SELECT value, run_id FROM band_values WHERE sweep_id = ? AND band = ?"
        f" AND (value, run_id) {'<' if order.largest_first else '>'} (?, ?)"
        f" ORDER BY value {order.way}, run_id {order.way} LIMIT 1",
        (sweep_id, band, *at),
    ).fetchone()
    return row["value"], row["run_id"]
