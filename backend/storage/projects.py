"""Projects: an entity's named collections of runs."""

from __future__ import annotations

import sqlite3

from .. import clock
from .names import checked

# From a row to the entity in which it lies, by the kind of its global id.
_PATHS = {
    "Project": "SELECT entity FROM projects WHERE id = ?",
    "Run": "SELECT entity FROM projects JOIN runs ON runs.project_id = projects.id WHERE runs.id = ?",
    "Sweep": "SELECT entity FROM projects JOIN sweeps ON sweeps.project_id = projects.id WHERE sweeps.id = ?",
    "Agent": "SELECT entity FROM projects JOIN sweeps ON sweeps.project_id = projects.id"
    " JOIN agents ON agents.sweep_id = sweeps.id WHERE agents.id = ?",
    "View": "SELECT entity FROM projects JOIN views ON views.project_id = projects.id WHERE views.id = ?",
    "ArtifactSequence": "SELECT entity FROM projects JOIN artifact_collections c ON c.project_id = projects.id"
    " WHERE c.id = ?",
    "Artifact": "SELECT entity FROM projects JOIN artifact_collections c ON c.project_id = projects.id"
    " JOIN artifacts a ON a.sequence_id = c.id WHERE a.id = ?",
    "ArtifactManifest": "SELECT entity FROM projects JOIN artifact_collections c ON c.project_id = projects.id"
    " JOIN artifacts a ON a.sequence_id = c.id JOIN artifact_manifests m ON m.artifact_id = a.id WHERE m.id = ?",
}
_PATHS["ArtifactPortfolio"] = _PATHS["ArtifactSequence"]


def find(conn: sqlite3.Connection, entity: str, name: str) -> sqlite3.Row | None:
    return conn.execute("SELECT * FROM projects WHERE entity = ? AND name = ?", (entity, name)).fetchone()


def by_id(conn: sqlite3.Connection, pk: int) -> sqlite3.Row | None:
    return conn.execute("SELECT * FROM projects WHERE id = ?", (pk,)).fetchone()


def entity_of(conn: sqlite3.Connection, kind: str, pk: int) -> str | None:
    """The entity in which row ``pk`` of a kind of global ids lies; None where there is no such row."""
    row = conn.execute(_PATHS[kind], (pk,)).fetchone()
    return None if row is None else str(row["entity"])


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


def stored_bytes(conn: sqlite3.Connection, entity: str) -> int:
    """The sizes of the run files and the artifacts' contents in an entity's projects, added up."""
    ours = "(SELECT id FROM projects WHERE entity = :entity)"
    row = conn.execute(
        "SELECT (SELECT coalesce(sum(size), 0) FROM files JOIN runs ON runs.id = files.run_id"
        f" WHERE runs.project_id IN {ours}) + (SELECT coalesce(sum(size), 0) FROM artifact_contents"
        f" WHERE project_id IN {ours})",
        {"entity": entity},
    ).fetchone()
    return int(row[0])


def describe(conn: sqlite3.Connection, pk: int, description: str) -> None:
    conn.execute("UPDATE projects SET description = ? WHERE id = ?", (description, pk))
