"""Workspaces and reports, which programs make for W&B's web app: kept and given back as they are."""

from __future__ import annotations

import sqlite3
from typing import Any

from .. import clock


def by_id(conn: sqlite3.Connection, pk: int) -> sqlite3.Row | None:
    return conn.execute("SELECT * FROM views WHERE id = ?", (pk,)).fetchone()


def find(conn: sqlite3.Connection, project_id: int, kind: str, name: str) -> sqlite3.Row | None:
    query = "SELECT * FROM views WHERE project_id = ? AND type = ? AND name = ?"
    return conn.execute(query, (project_id, kind, name)).fetchone()


def listing(
    conn: sqlite3.Connection, project_id: int, kind: str, name: str | None, user: str | None, limit: int, offset: int
) -> list[sqlite3.Row]:
    """Those of a type, the newest first; by name and by user where these are given."""
    return conn.execute(
        "SELECT * FROM views WHERE project_id = ? AND type = ? AND (? IS NULL OR name = ?) AND (? IS NULL OR user = ?)"
        " ORDER BY created_at DESC, id DESC LIMIT ? OFFSET ?",
        (project_id, kind, name, name, user, user, limit, offset),
    ).fetchall()


def create(conn: sqlite3.Connection, project_id: int, user: str, **columns: Any) -> sqlite3.Row:
    """A new view of a project; ``columns`` are name, type, display_name, description and spec."""
    now = clock.now()
    given = {"project_id": project_id, "user": user, "created_at": now, "updated_at": now, **columns}
    marks = ", ".join("?" * len(given))
    cursor = conn.execute(f"INSERT INTO views ({', '.join(given)}) VALUES ({marks})", tuple(given.values()))
    return _got(conn, cursor.lastrowid or 0)


def update(conn: sqlite3.Connection, pk: int, **columns: Any) -> sqlite3.Row:
    """Change columns of a view."""
    given = {"updated_at": clock.now(), **columns}
    assignments = ", ".join(f"{name} = ?" for name in given)
    conn.execute(f"UPDATE views SET {assignments} WHERE id = ?", (*given.values(), pk))
    return _got(conn, pk)


def delete(conn: sqlite3.Connection, pk: int) -> bool:
    return conn.execute("DELETE FROM views WHERE id = ?", (pk,)).rowcount > 0


def _got(conn: sqlite3.Connection, pk: int) -> sqlite3.Row:
    row = by_id(conn, pk)
    assert row is not None, f"there is no view {pk}"
    return row
