"""Pages of artifact types, collections and versions, filtered and ordered as the client asks."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from . import artifact_filters

_COLLECTIONS = " FROM artifact_collections c JOIN artifact_types t ON t.id = c.type_id WHERE c.state = 'READY' AND "
_VERSIONS = " FROM artifact_memberships m JOIN artifacts a ON a.id = m.artifact_id WHERE m.collection_id = ? AND "


@dataclass(frozen=True)
class Page:
    """Some rows of a listing, and how many it has in all."""

    rows: list[sqlite3.Row]
    total: int


def types(conn: sqlite3.Connection, project_id: int, limit: int, offset: int) -> Page:
    """A project's artifact types, oldest first; one without collections is not shown."""
    source = (
        " FROM artifact_types t WHERE t.project_id = ? AND EXISTS"
        " (SELECT 1 FROM artifact_collections c WHERE c.type_id = t.id AND c.state = 'READY')"
    )
    rows = conn.execute(f"SELECT t.*{source} ORDER BY t.id LIMIT ? OFFSET ?", (project_id, limit, offset))
    return Page(rows.fetchall(), _count(conn, source, [project_id]))


def collections(
    conn: sqlite3.Connection, column: str, value: int, filters: str | None, order: str | None, limit: int, offset: int
) -> Page:
    """The collections of a project (``column`` "project_id") or of a type ("type_id"), newest first."""
    assert column in ("project_id", "type_id")
    sql, values = artifact_filters.where(filters, artifact_filters.COLLECTION)
    source, values = f"{_COLLECTIONS}c.{column} = ? AND ({sql})", [value, *values]
    by = artifact_filters.order(order, artifact_filters.COLLECTION, "c.id DESC")
    rows = conn.execute(f"SELECT c.*{source} ORDER BY {by} LIMIT ? OFFSET ?", [*values, limit, offset])
    return Page(rows.fetchall(), _count(conn, source, values))


def versions(
    conn: sqlite3.Connection, collection_id: int, filters: str | None, order: str | None, limit: int, offset: int
) -> Page:
    """The memberships of a collection, newest version first."""
    sql, values = artifact_filters.where(filters, artifact_filters.VERSION)
    source, values = f"{_VERSIONS}({sql})", [collection_id, *values]
    by = artifact_filters.order(order, artifact_filters.VERSION, "m.version_index DESC")
    rows = conn.execute(f"SELECT m.*{source} ORDER BY {by} LIMIT ? OFFSET ?", [*values, limit, offset])
    return Page(rows.fetchall(), _count(conn, source, values))


def aliases(conn: sqlite3.Connection, collection_id: int, limit: int, offset: int) -> Page:
    """The aliases of a collection, oldest first."""
    source = " FROM artifact_aliases WHERE collection_id = ?"
    rows = conn.execute(f"SELECT *{source} ORDER BY id LIMIT ? OFFSET ?", (collection_id, limit, offset))
    return Page(rows.fetchall(), _count(conn, source, [collection_id]))


def files(conn: sqlite3.Connection, artifact_id: int, names: list[str] | None, limit: int, offset: int) -> Page:
    """The files of a version by name; with ``names`` only those."""
    marks = "" if names is None else f" AND name IN ({', '.join('?' * len(names))})"
    source, values = f" FROM artifact_entries WHERE artifact_id = ?{marks}", [artifact_id, *(names or [])]
    rows = conn.execute(f"SELECT *{source} ORDER BY name LIMIT ? OFFSET ?", [*values, limit, offset])
    return Page(rows.fetchall(), _count(conn, source, values))


def _count(conn: sqlite3.Connection, source: str, values: list[object]) -> int:
    return int(conn.execute(f"SELECT count(*){source}", values).fetchone()[0])
