"""What the nouns of artifacts share: rows that have not expired, and rows by the names and ids of a request."""

from __future__ import annotations

import sqlite3
from typing import Any

from graphql import GraphQLResolveInfo

from ..storage import artifacts, projects, runs
from .errors import ClientError
from .ids import decode

UNNAMED_PROJECT = "uncategorized"


def current(info: GraphQLResolveInfo) -> sqlite3.Connection:
    """The connection for reading, after what is past its time to live has been deleted."""
    conn: sqlite3.Connection = info.context.rows
    if artifacts.expired(conn):
        info.context.database.write(artifacts.expire)
    return conn


def project(conn: sqlite3.Connection, entity: str, name: str) -> sqlite3.Row:
    """A project that must be there. Raises ClientError (404)."""
    row = projects.find(conn, entity, name)
    if row is None:
        raise ClientError(f"there is no project {entity}/{name}", 404)
    return row


def place(info: GraphQLResolveInfo, given: dict[str, Any]) -> tuple[str, str]:
    """The entity and project of an input. A run that was offline names neither: they are the asker's own then."""
    return given.get("entityName") or info.context.user.name, given.get("projectName") or UNNAMED_PROJECT


def run(conn: sqlite3.Connection, project_id: int, name: str) -> sqlite3.Row:
    """A run that must be there. Raises ClientError (404)."""
    row = runs.find(conn, project_id, name)
    if row is None:
        raise ClientError(f"there is no run {name} in this project", 404)
    return row


def artifact_pk(text: str) -> int:
    return decode(text, "Artifact")


def tag_names(given: list[dict[str, Any]] | None) -> list[str]:
    """The names in a list of TagInput."""
    return [str(tag["tagName"]) for tag in given or []]


def alias_names(given: list[dict[str, Any]] | None) -> list[str]:
    """The names in a list of ArtifactAliasInput."""
    return [str(alias["alias"]) for alias in given or []]
