"""A run's files: a name, and the blob that holds the content."""

from __future__ import annotations

import sqlite3

from .. import clock
from .blobs import Blob
from .names import checked_file


def find(conn: sqlite3.Connection, run_id: int, name: str) -> sqlite3.Row | None:
    return conn.execute("SELECT * FROM files WHERE run_id = ? AND name = ?", (run_id, name)).fetchone()


def listing(
    conn: sqlite3.Connection, run_id: int, pattern: str | None = None, limit: int = -1, offset: int = 0
) -> list[sqlite3.Row]:
    """A run's files by name; ``pattern`` is one of SQL's LIKE, as the client gives it."""
    return conn.execute(
        "SELECT * FROM files WHERE run_id = ? AND (? IS NULL OR name LIKE ?) ORDER BY name LIMIT ? OFFSET ?",
        (run_id, pattern, pattern, limit, offset),
    ).fetchall()


def count(conn: sqlite3.Connection, run_id: int) -> int:
    return int(conn.execute("SELECT count(*) FROM files WHERE run_id = ?", (run_id,)).fetchone()[0])


def put(conn: sqlite3.Connection, run_id: int, name: str, digest: str, size: int, md5: str = "") -> None:
    """The run's file ``name`` is now this blob. Raises BadName."""
    conn.execute(
        "INSERT OR REPLACE INTO files (run_id, name, digest, md5, size, updated_at) VALUES (?, ?, ?, ?, ?, ?)",
        (run_id, checked_file(name), digest, md5, size, clock.now()),
    )


def put_blob(conn: sqlite3.Connection, run_id: int, name: str, blob: Blob) -> None:
    """The run's file ``name`` is now this blob. Raises BadName."""
    put(conn, run_id, name, blob.digest, blob.size, blob.md5)


def delete(conn: sqlite3.Connection, run_id: int, name: str) -> bool:
    return conn.execute("DELETE FROM files WHERE run_id = ? AND name = ?", (run_id, name)).rowcount > 0
