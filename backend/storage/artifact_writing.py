"""How a version is made: begun as pending, filled, and committed under the next number.

The same content gives the same version: a version is looked for by its digest before one is begun, pending ones
included, so that two runs which log the same content at the same time share one version.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..clock import now
from ..graphql.errors import ClientError
from . import artifact_aliases, artifact_collections, artifact_lineage, artifacts
from .artifact_manifests import WHOLE, Whole


@dataclass(frozen=True)
class Draft:
    """What a client tells when it begins a version."""

    project_id: int
    type_name: str
    collection: str
    digest: str
    user: str
    deduplicate: bool = True
    run_id: int | None = None
    description: str | None = None
    metadata: str | None = None
    aliases: Sequence[str] = ()
    tags: Sequence[str] = ()
    ttl: int | None = None
    history_step: int | None = None
    distributed_id: str | None = None
    client_id: str | None = None
    sequence_client_id: str | None = field(default=None)


def begin(conn: sqlite3.Connection, draft: Draft) -> sqlite3.Row:
    """A pending version, or the committed one that has this content already (its aliases and tags are set)."""
    for alias in draft.aliases:
        artifact_aliases.check(alias)
    sequence = artifact_collections.ensure(
        conn, draft.project_id, draft.collection, draft.type_name, "sequence", draft.sequence_client_id
    )
    row = _same(conn, sequence["id"], draft)
    if row is None:
        row = _insert(conn, sequence["id"], draft)
    elif row["state"] == "PENDING":
        _take_over(conn, row, draft)
    if draft.client_id:
        _name_by_client(conn, draft.client_id, row["id"])
    if draft.run_id is not None:
        artifact_lineage.add_output(conn, draft.run_id, row["id"])
    artifacts.add_tags(conn, row["id"], draft.tags)
    if row["state"] == "COMMITTED":
        artifacts.join(conn, sequence, row["id"], draft.aliases)
    else:
        _want_aliases(conn, row, draft.aliases)
    return artifacts.by_id(conn, row["id"])


def _same(conn: sqlite3.Connection, sequence_id: int, draft: Draft) -> sqlite3.Row | None:
    """The version that this draft continues (many writers) or repeats (the same content)."""
    query = "SELECT * FROM artifacts WHERE sequence_id = ? AND state != 'DELETED'"
    row: sqlite3.Row | None
    if draft.distributed_id is not None:
        found = conn.execute(f"{query} AND distributed_id = ?", (sequence_id, draft.distributed_id))
        row = found.fetchone()
    elif draft.deduplicate:
        # Committed before pending; the newest of several.
        order = " AND digest = ? AND distributed_id IS NULL ORDER BY state = 'PENDING', id DESC LIMIT 1"
        row = conn.execute(query + order, (sequence_id, draft.digest)).fetchone()
    else:
        row = None
    return row


def _take_over(conn: sqlite3.Connection, row: sqlite3.Row, draft: Draft) -> None:
    """A version that a run began and never finished is made by the run that finishes it."""
    conn.execute(
        "UPDATE artifacts SET run_id = ?, user = ?, description = ?, metadata = ?, history_step = ? WHERE id = ?"
        " AND NOT EXISTS (SELECT 1 FROM runs WHERE id = run_id AND state IN ('running', 'preempting', 'pending'))",
        (draft.run_id, draft.user, draft.description, draft.metadata, draft.history_step, row["id"]),
    )


def _insert(conn: sqlite3.Connection, sequence_id: int, draft: Draft) -> sqlite3.Row:
    at = now()
    ttl, expires_at = artifacts.expiry(at, draft.ttl)
    cursor = conn.execute(
        "INSERT INTO artifacts (sequence_id, digest, description, metadata, run_id, user, history_step,"
        " distributed_id, ttl_seconds, expires_at, created_at, updated_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            sequence_id, draft.digest, draft.description, artifacts.check_metadata(draft.metadata), draft.run_id,
            draft.user, draft.history_step, draft.distributed_id, ttl, expires_at, at, at,
        ),
    )  # fmt: skip
    return artifacts.by_id(conn, cursor.lastrowid or 0)


def _name_by_client(conn: sqlite3.Connection, client_id: str, artifact_id: int) -> None:
    conn.execute(
        "INSERT INTO artifact_clients (client_id, artifact_id) VALUES (?, ?)"
        " ON CONFLICT (client_id) DO UPDATE SET artifact_id = excluded.artifact_id",
        (client_id, artifact_id),
    )


def _want_aliases(conn: sqlite3.Connection, row: sqlite3.Row, aliases: Sequence[str]) -> None:
    wanted = list(dict.fromkeys([*json.loads(row["wanted_aliases"]), *aliases]))
    conn.execute("UPDATE artifacts SET wanted_aliases = ? WHERE id = ?", (json.dumps(wanted), row["id"]))


def commit(conn: sqlite3.Connection, artifact_id: int, whole: Whole) -> sqlite3.Row:
    """Give a pending version its number, files and aliases. Committing twice changes nothing.

    Raises ClientError when the version or its sequence has been deleted meanwhile.
    """
    row = artifacts.by_id(conn, artifact_id)
    sequence = artifact_collections.by_id(conn, row["sequence_id"])
    if row["state"] == "COMMITTED":
        return row
    if row["state"] == "DELETED" or sequence["state"] == "DELETED":
        raise ClientError("the artifact has been deleted")
    place = artifacts.join(conn, sequence, artifact_id, json.loads(row["wanted_aliases"]))
    conn.executemany(
        "INSERT OR REPLACE INTO artifact_entries (artifact_id, name, md5, size, ref, digest, birth_id)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        [(artifact_id, e.name, e.md5, e.size, e.ref, e.digest, e.birth_id or artifact_id) for e in whole.entries],
    )
    digest = whole.digest or row["digest"]
    conn.execute(
        "UPDATE artifacts SET state = 'COMMITTED', version = ?, digest = ?, commit_hash = ?, size = ?,"
        " file_count = ?, manifest_id = ?, updated_at = ? WHERE id = ?",
        (
            place["version_index"], digest, _commit_hash(place, digest), whole.size, len(whole.entries),
            _keep_manifest(conn, artifact_id, whole), now(), artifact_id,
        ),
    )  # fmt: skip
    return artifacts.by_id(conn, artifact_id)


def _commit_hash(place: sqlite3.Row, digest: str) -> str:
    """20 hex digits that are this version's only; the client insists on some, of whatever meaning."""
    text = f"{place['collection_id']}:{place['version_index']}:{digest}"
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def _keep_manifest(conn: sqlite3.Connection, artifact_id: int, whole: Whole) -> int:
    """The manifest that is handed out: the uploaded one when it is the whole, else the merged one."""
    if whole.blob is None:
        return whole.parts[-1]
    cursor = conn.execute(
        "INSERT INTO artifact_manifests (artifact_id, type, name, md5, digest, size, created_at)"
        " VALUES (?, 'FULL', ?, ?, ?, ?, ?)",
        (artifact_id, WHOLE, whole.blob.md5, whole.blob.digest, whole.blob.size, now()),
    )
    return cursor.lastrowid or 0
