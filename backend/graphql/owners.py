"""Whose things each mutation changes: the one table by which all of them are guarded.

A mutation that is not in the table stops the start of the server, so that none can be forgotten. What is named and
not there has no owner: the mutation itself says so (404).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from graphql import GraphQLResolveInfo, GraphQLSchema

from .. import permissions
from ..permissions import User
from ..storage import projects
from .files import file_of
from .ids import decode

Given = Mapping[str, Any]
Owners = Callable[[sqlite3.Connection, User, Given], Iterable[str]]


def guard(schema: GraphQLSchema) -> None:
    """Let every mutation ask the table first. Raises LookupError for one that the table lacks."""
    fields = schema.mutation_type.fields if schema.mutation_type else {}
    missing = fields.keys() - OWNERS.keys()
    if missing:
        raise LookupError(f"graphql/owners.py does not say whose things these change: {', '.join(sorted(missing))}")
    for name, field in fields.items():
        assert field.resolve is not None, name
        field.resolve = _guarded(OWNERS[name], field.resolve)


def _guarded(owners: Owners, resolve: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(obj: Any, info: GraphQLResolveInfo, **arguments: Any) -> Any:
        context = info.context
        for entity in owners(context.rows, context.user, arguments.get("input") or {}):
            permissions.check(context.rows, context.user, entity)
        return resolve(obj, info, **arguments)

    return guarded


# --- what names the owner


def _anyone(conn: sqlite3.Connection, user: User, given: Given) -> Iterable[str]:
    """It changes nothing that is somebody's."""
    return ()


def _named(conn: sqlite3.Connection, user: User, given: Given) -> Iterable[str]:
    """The entity by its name, the asker's own without one."""
    yield given.get("entityName") or given.get("entity") or user.name


def _by_id(kind: str, key: str = "id") -> Owners:
    """The entity of the row whose global id is given."""

    def owners(conn: sqlite3.Connection, user: User, given: Given) -> Iterable[str]:
        entity = projects.entity_of(conn, kind, decode(given[key], kind))
        return () if entity is None else (entity,)

    return owners


_version = _by_id("Artifact", "artifactID")
_sequence = _by_id("ArtifactSequence", "artifactSequenceID")
_portfolio = _by_id("ArtifactPortfolio", "artifactPortfolioID")


def _by_id_or_name(kind: str) -> Owners:
    by_id = _by_id(kind)
    return lambda conn, user, given: (by_id if given.get("id") else _named)(conn, user, given)


def _of_each(key: str, owners: Owners) -> Owners:
    """Those of every item in a list."""
    return lambda conn, user, given: {entity for item in given[key] for entity in owners(conn, user, item)}


def _of_files(conn: sqlite3.Connection, user: User, given: Given) -> Iterable[str]:
    runs = {file_of(text)[0] for text in given["files"]}
    return {entity for run in runs if (entity := projects.entity_of(conn, "Run", run)) is not None}


def _of_link(conn: sqlite3.Connection, user: User, given: Given) -> Iterable[str]:
    """Where the portfolio lies: by its id, by names, or beside the version that is linked."""
    if given.get("artifactPortfolioID"):
        return _portfolio(conn, user, given)
    if given.get("entityName") and given.get("projectName"):
        return (given["entityName"],)
    return _of_source(conn, user, given)


def _of_source(conn: sqlite3.Connection, user: User, given: Given) -> Iterable[str]:
    if given.get("artifactID"):
        return _version(conn, user, given)
    row = conn.execute("SELECT artifact_id FROM artifact_clients WHERE client_id = ?", (given.get("clientID"),))
    found = row.fetchone()
    entity = projects.entity_of(conn, "Artifact", found["artifact_id"]) if found else None
    return () if entity is None else (entity,)


OWNERS: dict[str, Owners] = {
    # projects and runs
    "upsertModel": _by_id_or_name("Project"),
    "upsertBucket": _by_id_or_name("Run"),
    "deleteRun": _by_id("Run"),
    "stopRun": _by_id("Run"),
    "updateRunState": _by_id("Run"),
    "rewindRun": _named,
    "createRunFiles": _named,
    "markRunFilesUploaded": _named,
    "deleteFiles": _of_files,
    "notifyScriptableRunAlert": _named,
    "createCustomChart": _named,
    # sweeps; an agent works for the sweep's owner
    "upsertSweep": _by_id_or_name("Sweep"),
    "enqueueSweepRun": _by_id("Sweep"),
    "createAgent": _named,
    "agentHeartbeat": _by_id("Agent"),
    # artifacts; an alias, a link and a tag of a collection belong to the collection, the input of a run to the run
    "createArtifactType": _named,
    "createArtifact": _named,
    "createArtifactManifest": _version,
    "updateArtifactManifest": _by_id("ArtifactManifest", "artifactManifestID"),
    "createArtifactFiles": _of_each("artifactFiles", _version),
    "completeMultipartUploadArtifact": _version,
    "commitArtifact": _version,
    "updateArtifact": _version,
    "deleteArtifact": _version,
    "addAliases": _of_each("aliases", _named),
    "deleteAliases": _of_each("aliases", _named),
    "linkArtifact": _of_link,
    "unlinkArtifact": _portfolio,
    "useArtifact": _named,
    "updateArtifactSequence": _sequence,
    "updateArtifactPortfolio": _portfolio,
    "moveArtifactSequence": _sequence,
    "deleteArtifactSequence": _sequence,
    "deleteArtifactPortfolio": _portfolio,
    "createArtifactCollectionTagAssignments": _named,
    "deleteArtifactCollectionTagAssignments": _named,
    # workspaces and reports
    "upsertView": _by_id_or_name("View"),
    "deleteView": _by_id("View"),
    # users
    "generateApiKey": _anyone,
    "createTeam": _anyone,
}
