"""Versions of artifacts: found by name and alias, changed, linked, deleted.

How one is made is in ``artifact_writing``; collections, aliases, manifests and lineage have files of their own.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from datetime import timedelta

from .. import clock
from ..clock import now
from ..graphql.errors import ClientError
from . import artifact_aliases, artifact_collections, plain_json, projects
from .artifact_lineage import of_run

__all__ = ["by_client_id", "by_id", "change", "delete", "entries", "expire", "find", "link", "membership", "of_run"]

_INHERIT = -1  # what the client sends for "as the team has set it"; here that is: never


def by_id(conn: sqlite3.Connection, artifact_id: int) -> sqlite3.Row:
    """A version in whatever state. Raises ClientError (404) when there was never one."""
    row: sqlite3.Row | None = conn.execute("SELECT * FROM artifacts WHERE id = ?", (artifact_id,)).fetchone()
    if row is None:
        raise ClientError("there is no such artifact", 404)
    return row


def by_client_id(conn: sqlite3.Connection, client_id: str) -> sqlite3.Row | None:
    """The version that a client made under an id of its own (for references between artifacts)."""
    query = "SELECT a.* FROM artifact_clients c JOIN artifacts a ON a.id = c.artifact_id WHERE c.client_id = ?"
    row: sqlite3.Row | None = conn.execute(query, (client_id,)).fetchone()
    return row


def find(
    conn: sqlite3.Connection, entity: str, project: str, collection: str, alias: str = artifact_aliases.LATEST
) -> sqlite3.Row | None:
    """The version that ``entity/project/collection:alias`` names, or None."""
    home = projects.find(conn, entity, project)
    row = membership(conn, home["id"], f"{collection}:{alias}") if home is not None else None
    return by_id(conn, row["artifact_id"]) if row is not None else None


def membership(conn: sqlite3.Connection, project_id: int, name: str) -> sqlite3.Row | None:
    """The place in a collection that ``collection:alias`` names; without an alias the latest version's."""
    name, _, alias = name.partition(":")
    collection = artifact_collections.find(conn, project_id, name)
    return None if collection is None else member(conn, collection["id"], alias or artifact_aliases.LATEST)


def member(conn: sqlite3.Connection, collection_id: int, alias: str) -> sqlite3.Row | None:
    """A collection's version by alias or by number (``v3``)."""
    query = "SELECT m.* FROM artifact_memberships m JOIN artifact_aliases a ON a.membership_id = m.id"
    where = " WHERE a.collection_id = ? AND a.alias = ?"
    row: sqlite3.Row | None = conn.execute(query + where, (collection_id, alias)).fetchone()
    if row is None and (version := artifact_aliases.version_of(alias)) is not None:
        query = "SELECT * FROM artifact_memberships WHERE collection_id = ? AND version_index = ?"
        row = conn.execute(query, (collection_id, version)).fetchone()
    return row


def place(conn: sqlite3.Connection, collection_id: int, artifact_id: int) -> sqlite3.Row | None:
    """A version's membership of a collection."""
    query = "SELECT * FROM artifact_memberships WHERE collection_id = ? AND artifact_id = ?"
    row: sqlite3.Row | None = conn.execute(query, (collection_id, artifact_id)).fetchone()
    return row


def places(conn: sqlite3.Connection, artifact_id: int) -> list[sqlite3.Row]:
    """All memberships of a version: its own sequence first, then the portfolios that link it."""
    query = "SELECT * FROM artifact_memberships WHERE artifact_id = ? ORDER BY id"
    return conn.execute(query, (artifact_id,)).fetchall()


def entries(conn: sqlite3.Connection, artifact_id: int) -> list[sqlite3.Row]:
    """The files of a committed version by name: ``name md5 size ref digest birth_id``."""
    query = "SELECT * FROM artifact_entries WHERE artifact_id = ? ORDER BY name"
    return conn.execute(query, (artifact_id,)).fetchall()


def project_of(conn: sqlite3.Connection, artifact: sqlite3.Row) -> int:
    """The project that a version belongs to, by its sequence."""
    return int(artifact_collections.by_id(conn, artifact["sequence_id"])["project_id"])


def tags(conn: sqlite3.Connection, artifact_id: int) -> list[sqlite3.Row]:
    query = "SELECT * FROM artifact_tags WHERE artifact_id = ? ORDER BY id"
    return conn.execute(query, (artifact_id,)).fetchall()


def add_tags(conn: sqlite3.Connection, artifact_id: int, names: Iterable[str]) -> None:
    conn.executemany(
        "INSERT INTO artifact_tags (artifact_id, name) VALUES (?, ?) ON CONFLICT DO NOTHING",
        [(artifact_id, artifact_collections.check_tag(name)) for name in names],
    )


def remove_tags(conn: sqlite3.Connection, artifact_id: int, names: Iterable[str]) -> None:
    conn.executemany(
        "DELETE FROM artifact_tags WHERE artifact_id = ? AND name = ?", [(artifact_id, name) for name in names]
    )


def check_metadata(text: str | None) -> str | None:
    """Metadata is a JSON object, or nothing. One with NaN in it would fail every filter of a listing."""
    if text is None or text.strip() == "null":
        return text
    try:
        return plain_json.strict_json(text)
    except ValueError as error:
        raise ClientError(f"the metadata of an artifact must be a JSON object: {error}") from None


def change(
    conn: sqlite3.Connection, artifact_id: int, description: str | None, metadata: str | None, ttl: int | None
) -> sqlite3.Row:
    """Set what is not None. ``ttl`` is in seconds from the version's making; -1 inherits, -2 switches it off."""
    row = by_id(conn, artifact_id)
    kept, expires_at = (row["ttl_seconds"], row["expires_at"]) if ttl is None else expiry(row["created_at"], ttl)
    conn.execute(
        "UPDATE artifacts SET description = coalesce(?, description), metadata = coalesce(?, metadata),"
        " ttl_seconds = ?, expires_at = ?, updated_at = ? WHERE id = ?",
        (description, check_metadata(metadata), kept, expires_at, now(), artifact_id),
    )
    return by_id(conn, artifact_id)


def expiry(created_at: str, ttl: int | None) -> tuple[int | None, str | None]:
    """``ttl_seconds`` and ``expires_at`` as they are kept, for a time to live as the client sends it."""
    if ttl is None or ttl == _INHERIT:
        return None, None
    if ttl <= 0:
        return ttl, None
    try:
        return ttl, clock.text(clock.parse(created_at) + timedelta(seconds=ttl))
    except OverflowError:
        return ttl, None  # beyond the year 9999


def expired(conn: sqlite3.Connection) -> bool:
    """Whether a version's time to live is over."""
    query = "SELECT 1 FROM artifacts WHERE expires_at <= ? AND state = 'COMMITTED' LIMIT 1"
    return conn.execute(query, (now(),)).fetchone() is not None


def expire(conn: sqlite3.Connection) -> None:
    """Delete the versions whose time to live is over."""
    query = "SELECT id FROM artifacts WHERE expires_at <= ? AND state = 'COMMITTED'"
    for (artifact_id,) in conn.execute(query, (now(),)).fetchall():
        delete(conn, artifact_id, with_aliases=True)


def delete(conn: sqlite3.Connection, artifact_id: int, with_aliases: bool = False) -> sqlite3.Row:
    """Delete a version and the links to it. Raises ClientError when it still has aliases and they may not go."""
    row = by_id(conn, artifact_id)
    found = [alias["alias"] for alias in artifact_aliases.of_artifact(conn, artifact_id)]
    if found and not with_aliases:
        raise ClientError(f"the artifact has aliases ({', '.join(sorted(set(found)))}): delete them with it, or first")
    collections = [place["collection_id"] for place in places(conn, artifact_id)]
    conn.execute("DELETE FROM artifact_memberships WHERE artifact_id = ?", (artifact_id,))
    conn.execute("DELETE FROM artifact_entries WHERE artifact_id = ?", (artifact_id,))
    conn.execute("UPDATE artifacts SET state = 'DELETED', updated_at = ? WHERE id = ?", (now(), artifact_id))
    for collection_id in collections:
        artifact_aliases.restore_latest(conn, collection_id)
    return row


def delete_of_run(conn: sqlite3.Connection, run_id: int) -> None:
    """Delete the versions that a run made, with their aliases (``Run.delete(delete_artifacts=True)``)."""
    query = "SELECT id FROM artifacts WHERE run_id = ? AND state != 'DELETED'"
    for (artifact_id,) in conn.execute(query, (run_id,)).fetchall():
        delete(conn, artifact_id, with_aliases=True)


def join(conn: sqlite3.Connection, collection: sqlite3.Row, artifact_id: int, aliases: Iterable[str]) -> sqlite3.Row:
    """Make a version a member of a collection under the next number (or the one it has), as its latest."""
    found = place(conn, collection["id"], artifact_id)
    if found is None:
        version = conn.execute(
            "UPDATE artifact_collections SET next_version = next_version + 1, updated_at = ? WHERE id = ?"
            " RETURNING next_version - 1",
            (now(), collection["id"]),
        ).fetchone()[0]
        conn.execute(
            "INSERT INTO artifact_memberships (collection_id, artifact_id, version_index, created_at)"
            " VALUES (?, ?, ?, ?)",
            (collection["id"], artifact_id, version, now()),
        )
        found = place(conn, collection["id"], artifact_id)
        aliases = [*aliases, artifact_aliases.LATEST]
    assert found is not None
    artifact_aliases.point(conn, found, aliases)
    return found


def link(
    conn: sqlite3.Connection, artifact_id: int, project_id: int, portfolio: str, aliases: Iterable[str]
) -> sqlite3.Row:
    """Link a committed version into a portfolio, made when it is new. Linking twice changes aliases only."""
    row = by_id(conn, artifact_id)
    if row["state"] != "COMMITTED":
        raise ClientError("only a committed artifact can be linked")
    sequence = artifact_collections.by_id(conn, row["sequence_id"])
    type_name = artifact_collections.type_by_id(conn, sequence["type_id"])["name"]
    target = artifact_collections.ensure(conn, project_id, portfolio, type_name, "portfolio")
    return join(conn, target, artifact_id, aliases)


def unlink(conn: sqlite3.Connection, artifact_id: int, portfolio_id: int) -> None:
    """Take a version out of a portfolio. Raises ClientError for a sequence, whose versions are deleted instead."""
    if artifact_collections.by_id(conn, portfolio_id)["kind"] != "portfolio":
        raise ClientError("an artifact can be unlinked only from a portfolio; delete it instead")
    conn.execute(
        "DELETE FROM artifact_memberships WHERE artifact_id = ? AND collection_id = ?", (artifact_id, portfolio_id)
    )
    artifact_aliases.restore_latest(conn, portfolio_id)
