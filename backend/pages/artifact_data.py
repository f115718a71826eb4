"""What the pages show of artifacts, read from the store."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from ..storage import artifact_aliases
from ..storage import artifacts as stored_artifacts
from .data import Rows


@dataclass(frozen=True)
class Version:
    """One version of an artifact, in the collection where it was made or linked."""

    pk: int
    entity: str
    project: str
    type: str
    collection: str
    index: int
    aliases: Sequence[str]
    size: int
    file_count: int
    created_at: str
    row: sqlite3.Row

    @property
    def name(self) -> str:
        return f"{self.collection}:v{self.index}"

    @property
    def address(self) -> tuple[str, str, str, str, str, str]:
        """The segments of the address of its page."""
        return (self.entity, self.project, "artifacts", self.type, self.collection, f"v{self.index}")


_VERSIONS = """SELECT a.*, m.version_index, m.id AS membership_id, c.name AS collection, t.name AS type,
                      p.entity, p.name AS project
               FROM artifact_memberships m
               JOIN artifacts a ON a.id = m.artifact_id AND a.state = 'COMMITTED'
               JOIN artifact_collections c ON c.id = m.collection_id AND c.state = 'READY'
               JOIN artifact_types t ON t.id = c.type_id
               JOIN projects p ON p.id = c.project_id"""


def of_project(rows: Rows, project_id: int) -> list[Version]:
    """The newest version of every collection."""
    latest = "m.version_index = (SELECT max(version_index) FROM artifact_memberships WHERE collection_id = c.id)"
    query = f"{_VERSIONS} WHERE c.project_id = ? AND {latest} ORDER BY t.name, c.name"
    return [_version(rows, row) for row in rows.execute(query, (project_id,)).fetchall()]


def of_collection(rows: Rows, project_id: int, kind: str, collection: str) -> list[Version]:
    """All versions, newest first."""
    query = f"{_VERSIONS} WHERE c.project_id = ? AND t.name = ? AND c.name = ? ORDER BY m.version_index DESC"
    return [_version(rows, row) for row in rows.execute(query, (project_id, kind, collection)).fetchall()]


def by_id(rows: Rows, artifact_id: int) -> Version | None:
    """A version in the collection where it was made."""
    row = rows.execute(f"{_VERSIONS} WHERE a.id = ? AND c.kind = 'sequence'", (artifact_id,)).fetchone()
    return _version(rows, row) if row else None


def logged(rows: Rows, run_pk: int) -> list[Version]:
    """What the run logged."""
    return _of_run(rows, "artifact_outputs", run_pk)


def used(rows: Rows, run_pk: int) -> list[Version]:
    """What the run used."""
    return _of_run(rows, "artifact_inputs", run_pk)


def _of_run(rows: Rows, edges: str, run_pk: int) -> list[Version]:
    query = f"""{_VERSIONS} JOIN {edges} e ON e.artifact_id = a.id
                WHERE e.run_id = ? AND c.kind = 'sequence' ORDER BY t.name, c.name, m.version_index"""
    return [_version(rows, row) for row in rows.execute(query, (run_pk,)).fetchall()]


def neighbours(rows: Rows, artifact_id: int, edges: str) -> list[sqlite3.Row]:
    """The runs that logged (``artifact_outputs``) or used (``artifact_inputs``) the version."""
    query = f"""SELECT r.name, r.display_name, r.state, p.entity, p.name AS project
                FROM {edges} e JOIN runs r ON r.id = e.run_id JOIN projects p ON p.id = r.project_id
                WHERE e.artifact_id = ? ORDER BY r.created_at"""
    return rows.execute(query, (artifact_id,)).fetchall()


def entry(rows: Rows, artifact_id: int, name: str) -> sqlite3.Row | None:
    query = "SELECT * FROM artifact_entries WHERE artifact_id = ? AND name = ?"
    return rows.execute(query, (artifact_id, name)).fetchone()


def referred(rows: Rows, reference: str) -> sqlite3.Row | None:
    """The entry that a reference to another artifact names: ``wandb-artifact://{id}/{name}`` with the hexadecimal
    id as W&B writes it, or ``wandb-client-artifact://{client id}/{name}`` from before the commit."""
    scheme, _, rest = reference.partition("://")
    key, _, name = rest.partition("/")
    if scheme == "wandb-client-artifact":
        found = stored_artifacts.by_client_id(rows, key)
        return entry(rows, found["id"], name) if found else None
    try:
        number = int(bytes.fromhex(key).decode().rpartition(":")[2])  # "Artifact:v1:7", what the global id encodes
    except ValueError:
        return None
    return entry(rows, number, name) if scheme == "wandb-artifact" and 0 < number < 2**63 else None


def _version(rows: Rows, row: sqlite3.Row) -> Version:
    aliases = [found["alias"] for found in artifact_aliases.of_membership(rows, row["membership_id"])]
    return Version(
        pk=row["id"],
        entity=row["entity"],
        project=row["project"],
        type=row["type"],
        collection=row["collection"],
        index=row["version_index"],
        aliases=aliases,
        size=row["size"],
        file_count=row["file_count"],
        created_at=row["created_at"],
        row=row,
    )
