"""Artifact types and collections of a project: sequences, where versions are made, and portfolios, which link them."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable

from ..clock import now
from ..graphql.errors import ClientError
from . import artifact_aliases

_TAG = re.compile(r"[-\w]+( +[-\w]+)*")
_TYPE = re.compile(r"[-\w]+([ ]*[-.\w]+)*")
_RESERVED = "wandb-"  # types of W&B's own, such as wandb-history, cannot be given or taken by hand


def ensure_type(conn: sqlite3.Connection, project_id: int, name: str, description: str | None = None) -> sqlite3.Row:
    """The artifact type of this name in a project, made when it is new."""
    if not _TYPE.fullmatch(name) or len(name) > 128:
        raise ClientError(f"{name!r} is no artifact type: letters, digits, '-', '_', '.' and spaces are allowed")
    conn.execute(
        "INSERT INTO artifact_types (project_id, name, description, created_at) VALUES (?, ?, ?, ?)"
        " ON CONFLICT DO NOTHING",
        (project_id, name, description, now()),
    )
    row = find_type(conn, project_id, name)
    assert row is not None
    return row


def find_type(conn: sqlite3.Connection, project_id: int, name: str) -> sqlite3.Row | None:
    query = "SELECT * FROM artifact_types WHERE project_id = ? AND name = ?"
    row: sqlite3.Row | None = conn.execute(query, (project_id, name)).fetchone()
    return row


def type_by_id(conn: sqlite3.Connection, type_id: int) -> sqlite3.Row:
    row: sqlite3.Row = conn.execute("SELECT * FROM artifact_types WHERE id = ?", (type_id,)).fetchone()
    return row


def find(conn: sqlite3.Connection, project_id: int, name: str) -> sqlite3.Row | None:
    """The collection of this name that is not deleted."""
    query = "SELECT * FROM artifact_collections WHERE project_id = ? AND name = ? AND state = 'READY'"
    row: sqlite3.Row | None = conn.execute(query, (project_id, name)).fetchone()
    return row


def by_id(conn: sqlite3.Connection, collection_id: int) -> sqlite3.Row:
    """A collection, deleted or not. Raises ClientError (404) when there was never one."""
    row: sqlite3.Row | None = conn.execute(
        "SELECT * FROM artifact_collections WHERE id = ?", (collection_id,)
    ).fetchone()
    if row is None:
        raise ClientError("there is no such artifact collection", 404)
    return row


def ensure(
    conn: sqlite3.Connection, project_id: int, name: str, type_name: str, kind: str, client_id: str | None = None
) -> sqlite3.Row:
    """The collection of this name, made when it is new.

    Raises ClientError when the name belongs to a collection of the other kind or of another type.
    """
    row = find(conn, project_id, name)
    if row is None:
        return _create(conn, project_id, name, type_name, kind, client_id)
    if row["kind"] != kind:
        raise ClientError(f"the artifact collection {name!r} is a {row['kind']}, not a {kind}")
    found = type_by_id(conn, row["type_id"])["name"]
    if found != type_name:
        raise ClientError(f"the artifact collection {name!r} already exists with type {found!r}, not {type_name!r}")
    return row


def _create(
    conn: sqlite3.Connection, project_id: int, name: str, type_name: str, kind: str, client_id: str | None
) -> sqlite3.Row:
    check_name(name)
    kept = ensure_type(conn, project_id, type_name)["id"]
    at = now()
    cursor = conn.execute(
        "INSERT INTO artifact_collections (project_id, type_id, kind, name, client_id, created_at, updated_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (project_id, kept, kind, name, client_id, at, at),
    )
    return by_id(conn, cursor.lastrowid or 0)


def check_name(name: str) -> str:
    """The name, or ClientError when W&B's client would not accept it."""
    if not name or len(name) > 128 or any(c in "/:" or ord(c) < 32 for c in name):
        raise ClientError(f"{name!r} is no artifact name: 1 to 128 characters without '/' and ':' are allowed")
    return name


def update(conn: sqlite3.Connection, row: sqlite3.Row, name: str | None, description: str | None) -> sqlite3.Row:
    """Rename or describe a collection; None leaves a field as it is. Raises ClientError when the name is taken."""
    name = check_name(row["name"] if name is None else name)
    other = find(conn, row["project_id"], name)
    if other is not None and other["id"] != row["id"]:
        raise ClientError(f"there is already an artifact collection {name!r} in this project")
    conn.execute(
        "UPDATE artifact_collections SET name = ?, description = coalesce(?, description), updated_at = ? WHERE id = ?",
        (name, description, now(), row["id"]),
    )
    return by_id(conn, row["id"])


def move(conn: sqlite3.Connection, row: sqlite3.Row, type_name: str) -> sqlite3.Row:
    """Give a sequence another type. W&B's own types can be neither left nor taken."""
    if type_by_id(conn, row["type_id"])["name"].startswith(_RESERVED):
        raise ClientError("the type of this artifact collection is W&B's own and cannot be changed")
    if type_name.startswith(_RESERVED):
        raise ClientError(f"artifact types that start with {_RESERVED!r} are reserved for internal use")
    target = ensure_type(conn, row["project_id"], type_name)
    conn.execute(
        "UPDATE artifact_collections SET type_id = ?, updated_at = ? WHERE id = ?", (target["id"], now(), row["id"])
    )
    return by_id(conn, row["id"])


def delete(conn: sqlite3.Connection, row: sqlite3.Row) -> sqlite3.Row:
    """Delete a collection: a sequence with its versions (and the links to them), a portfolio with its links only."""
    if row["kind"] == "sequence":
        linked = conn.execute(
            "SELECT DISTINCT m.collection_id FROM artifact_memberships m JOIN artifacts a ON a.id = m.artifact_id"
            " WHERE a.sequence_id = ?",
            (row["id"],),
        ).fetchall()
        conn.execute(
            "DELETE FROM artifact_memberships WHERE artifact_id IN (SELECT id FROM artifacts WHERE sequence_id = ?)",
            (row["id"],),
        )
        conn.execute("UPDATE artifacts SET state = 'DELETED' WHERE sequence_id = ?", (row["id"],))
        for (collection_id,) in linked:
            artifact_aliases.restore_latest(conn, collection_id)
    conn.execute("DELETE FROM artifact_memberships WHERE collection_id = ?", (row["id"],))
    conn.execute("UPDATE artifact_collections SET state = 'DELETED', updated_at = ? WHERE id = ?", (now(), row["id"]))
    return by_id(conn, row["id"])


def check_tag(name: str) -> str:
    """The tag, or ClientError (W&B's wording begins with "Invalid tag")."""
    if not _TAG.fullmatch(name) or len(name) > 128:
        raise ClientError(f"Invalid tag {name!r}: letters, digits, '-', '_' and single words with spaces are allowed")
    return name


def tags(conn: sqlite3.Connection, collection_id: int) -> list[sqlite3.Row]:
    query = "SELECT * FROM artifact_collection_tags WHERE collection_id = ? ORDER BY id"
    return conn.execute(query, (collection_id,)).fetchall()


def add_tags(conn: sqlite3.Connection, collection_id: int, names: Iterable[str]) -> None:
    conn.executemany(
        "INSERT INTO artifact_collection_tags (collection_id, name) VALUES (?, ?) ON CONFLICT DO NOTHING",
        [(collection_id, check_tag(name)) for name in names],
    )


def remove_tags(conn: sqlite3.Connection, collection_id: int, names: Iterable[str]) -> None:
    conn.executemany(
        "DELETE FROM artifact_collection_tags WHERE collection_id = ? AND name = ?",
        [(collection_id, name) for name in names],
    )
