"""Which run used which version, and which run logged it."""

from __future__ import annotations

import sqlite3

from ..clock import now

_TABLES = {"input": "artifact_inputs", "output": "artifact_outputs"}


def add_input(conn: sqlite3.Connection, run_id: int, artifact_id: int, used_as: str | None = None) -> None:
    """A run used a version (again)."""
    conn.execute(
        "INSERT INTO artifact_inputs (run_id, artifact_id, used_as, created_at) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (run_id, artifact_id) DO UPDATE SET used_as = coalesce(excluded.used_as, used_as)",
        (run_id, artifact_id, used_as, now()),
    )


def add_output(conn: sqlite3.Connection, run_id: int, artifact_id: int) -> None:
    """A run logged a version: made it, or logged the same content again."""
    conn.execute(
        "INSERT INTO artifact_outputs (run_id, artifact_id, created_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (run_id, artifact_id, now()),
    )


def of_run(
    conn: sqlite3.Connection, run_id: int, direction: str, limit: int = -1, offset: int = 0
) -> list[sqlite3.Row]:
    """The committed versions that a run used (``direction`` "input") or logged ("output"), in order."""
    return conn.execute(
        f"SELECT a.* FROM {_TABLES[direction]} l JOIN artifacts a ON a.id = l.artifact_id"
        " WHERE l.run_id = ? AND a.state = 'COMMITTED' ORDER BY l.rowid LIMIT ? OFFSET ?",
        (run_id, limit, offset),
    ).fetchall()


def count_of_run(conn: sqlite3.Connection, run_id: int, direction: str) -> int:
    """How many versions ``of_run`` has."""
    row = conn.execute(
        f"SELECT count(*) FROM {_TABLES[direction]} l JOIN artifacts a ON a.id = l.artifact_id"
        " WHERE l.run_id = ? AND a.state = 'COMMITTED'",
        (run_id,),
    ).fetchone()
    return int(row[0])


def users_of(conn: sqlite3.Connection, artifact_id: int) -> list[sqlite3.Row]:
    """The runs that used a version."""
    return conn.execute(
        "SELECT r.* FROM artifact_inputs l JOIN runs r ON r.id = l.run_id WHERE l.artifact_id = ? ORDER BY l.rowid",
        (artifact_id,),
    ).fetchall()
