"""Aliases: names that point to one version of a collection and move when they are given again.

``latest`` is the store's own: it follows the newest version, as on W&B's servers.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable

from ..graphql.errors import ClientError

LATEST = "latest"
_VERSION = re.compile(r"v([0-9]{1,18})")


def version_of(alias: str) -> int | None:
    """The number in an alias of the form ``v3``, which every version has by itself."""
    match = _VERSION.fullmatch(alias)
    return int(match[1]) if match else None


def check(alias: str) -> str:
    """The alias, or ClientError when W&B's client could not address a version by it."""
    if not alias or len(alias) > 128 or "/" in alias or ":" in alias:
        raise ClientError(f"{alias!r} is no alias: 1 to 128 characters without '/' and ':' are allowed")
    return alias


def point(conn: sqlite3.Connection, membership: sqlite3.Row, aliases: Iterable[str]) -> None:
    """Let ``aliases`` point to this version, wherever in the collection they pointed before."""
    for alias in aliases:
        if version_of(check(alias)) == membership["version_index"]:
            continue  # its own number
        if version_of(alias) is not None:
            raise ClientError(f"{alias!r} is the number of another version, it cannot be an alias of this one")
        conn.execute(
            "INSERT INTO artifact_aliases (collection_id, membership_id, alias) VALUES (?, ?, ?)"
            " ON CONFLICT (collection_id, alias) DO UPDATE SET membership_id = excluded.membership_id",
            (membership["collection_id"], membership["id"], alias),
        )


def remove(conn: sqlite3.Connection, membership: sqlite3.Row, aliases: Iterable[str]) -> None:
    """Take ``aliases`` from this version; those that it does not have are no error."""
    conn.executemany(
        "DELETE FROM artifact_aliases WHERE membership_id = ? AND alias = ?",
        [(membership["id"], alias) for alias in aliases],
    )


def of_membership(conn: sqlite3.Connection, membership_id: int) -> list[sqlite3.Row]:
    """The aliases of a version in one collection, oldest first."""
    query = "SELECT * FROM artifact_aliases WHERE membership_id = ? ORDER BY id"
    return conn.execute(query, (membership_id,)).fetchall()


def of_artifact(conn: sqlite3.Connection, artifact_id: int) -> list[sqlite3.Row]:
    """The aliases of a version in all collections that it is in."""
    return conn.execute(
        "SELECT a.* FROM artifact_aliases a JOIN artifact_memberships m ON m.id = a.membership_id"
        " WHERE m.artifact_id = ? ORDER BY a.id",
        (artifact_id,),
    ).fetchall()


def restore_latest(conn: sqlite3.Connection, collection_id: int) -> None:
    """After a version went: ``latest`` points to the newest that is left, unless it still points to one."""
    conn.execute(
        "INSERT INTO artifact_aliases (collection_id, membership_id, alias)"
        " SELECT collection_id, id, ? FROM artifact_memberships WHERE collection_id = ?"
        " ORDER BY version_index DESC LIMIT 1 ON CONFLICT DO NOTHING",
        (LATEST, collection_id),
    )
