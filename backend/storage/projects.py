"""Projects: an entity's named collections of runs."""

from __future__ import annotations

import sqlite3

from .. import clock
from .names import checked


def find(conn: sqlite3.Connection, entity: str, name: str) -> sqlite3.Row | None:
    return conn.execute("SELECT * FROM projects WHERE entity = ? AND name = ?", (entity, name)).fetchone()


def by_id(conn: sqlite3.Connection, pk: int) -> sqlite3.Row | None:
    return conn.execute("SELECT * FROM projects WHERE id = ?", (pk,)).fetchone()


def ensure(conn: sqlite3.Connection, entity: str, name: str) -> sqlite3.Row:
    """The project, made when it is not there yet. Raises BadName."""
    found = find(conn, entity, name)
    if found:
        return found
    conn.execute(
        "INSERT INTO projects (entity, name, created_at) VALUES (?, ?, ?)",
        (checked("entity", entity), checked("project", name), clock.now()),
    )
    made = find(conn, entity, name)
    assert made is not None
    return made


def listing(conn: sqlite3.Connection, entity: str, limit: int, offset: int) -> list[sqlite3.Row]:
    """An entity's projects, the newest first."""
    return conn.execute(
        "SELECT * FROM projects WHERE entity = ? ORDER BY id DESC LIMIT ? OFFSET ?", (entity, limit, offset)
    ).fetchall()


def describe(conn: sqlite3.Connection, pk: int, description: str) -> None:
    conn.execute("UPDATE projects SET description = ? WHERE id = ?", (description, pk))
