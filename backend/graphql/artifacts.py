"""Versions of artifacts: found, begun and committed, changed, linked, deleted."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import Any

from ariadne import MutationType, ObjectType, QueryType
from ariadne.types import SchemaBindable
from graphql import GraphQLResolveInfo as Info

from ..storage import (
    artifact_aliases,
    artifact_collections,
    artifact_manifests,
    artifact_writing,
    projects,
)
from ..storage import artifacts as store
from .artifact_rows import alias_names, artifact_pk, current, place, project, run, tag_names
from .collections import listed_all
from .errors import ClientError
from .ids import decode, encode

Row = sqlite3.Row
Answer = dict[str, Any]
_COMMIT_TRIES = 5  # parts of a version that many write may arrive while it is committed
# Contents lie in one place; these are names for it, the last from W&B's own single-machine server.
_REGIONS = (None, "default", "minio-local")

query = QueryType()
mutation = MutationType()
project_type = ObjectType("Project")
artifact = ObjectType("Artifact")
alias = ObjectType("ArtifactAlias")
type_ = ObjectType("ArtifactType")
membership = ObjectType("ArtifactCollectionMembership")

# --- fields of a version

_COLUMNS = {
    "state": "state", "digest": "digest", "description": "description", "metadata": "metadata", "size": "size",
    "storageBytes": "size", "fileCount": "file_count", "versionIndex": "version", "historyStep": "history_step",
    "commitHash": "commit_hash", "createdAt": "created_at", "updatedAt": "updated_at",
}  # fmt: skip
for _field, _name in _COLUMNS.items():
    artifact.set_field(_field, lambda row, info, _column=_name: row[_column])
artifact.set_field("id", lambda row, info: encode("Artifact", row["id"]))
artifact.set_field("digestAlgorithm", lambda row, info: "MANIFEST_MD5")
artifact.set_field("labels", lambda row, info: None)
artifact.set_field("ttlDurationSeconds", lambda row, info: -2 if row["ttl_seconds"] is None else row["ttl_seconds"])
artifact.set_field("ttlIsInherited", lambda row, info: row["ttl_seconds"] is None)
artifact.set_field("tags", lambda row, info: store.tags(info.context.rows, row["id"]))
artifact.set_field("aliases", lambda row, info: artifact_aliases.of_artifact(info.context.rows, row["id"]))


@artifact.field("artifactSequence")
def sequence(row: Row, info: Info) -> Row:
    return artifact_collections.by_id(info.context.rows, row["sequence_id"])


@artifact.field("artifactType")
def artifact_type(row: Row, info: Info) -> Row:
    return artifact_collections.type_by_id(info.context.rows, sequence(row, info)["type_id"])


@artifact.field("artifactMemberships")
def artifact_memberships(row: Row, info: Info, first: int | None = None, after: str | None = None) -> Answer:
    return listed_all(store.places(info.context.rows, row["id"]), first, after)


# --- memberships and aliases

membership.set_field("id", lambda row, info: encode("ArtifactCollectionMembership", row["id"]))
membership.set_field("versionIndex", lambda row, info: row["version_index"])
membership.set_field("createdAt", lambda row, info: row["created_at"])
membership.set_field("artifact", lambda row, info: store.by_id(info.context.rows, row["artifact_id"]))
membership.set_field("aliases", lambda row, info: artifact_aliases.of_membership(info.context.rows, row["id"]))
alias.set_field("id", lambda row, info: encode("ArtifactAlias", row["id"]))
alias.set_field("alias", lambda row, info: row["alias"])
for _object in (membership, alias):
    _object.set_field(
        "artifactCollection",
        lambda row, info: artifact_collections.by_id(info.context.rows, row["collection_id"]),
    )


@alias.field("artifact")
def alias_artifact(row: Row, info: Info) -> Row | None:
    found = store.member(info.context.rows, row["collection_id"], row["alias"])
    return store.by_id(info.context.rows, found["artifact_id"]) if found is not None else None


# --- finding


@query.field("artifact")
def by_id(_: Any, info: Info, id: str) -> Row:
    return store.by_id(current(info), artifact_pk(id))


@query.field("clientIDMapping")
def client_id_mapping(_: Any, info: Info, clientID: str) -> Answer | None:
    found = store.by_client_id(info.context.rows, clientID)
    return {"serverID": encode("Artifact", found["id"])} if found is not None else None


@project_type.field("artifactCollectionMembership")
def by_name(row: Row, info: Info, name: str) -> Row | None:
    return store.membership(current(info), row["id"], name)


@project_type.field("artifact")
def artifact_by_name(row: Row, info: Info, name: str, **_: Any) -> Row | None:
    found = by_name(row, info, name)
    return store.by_id(info.context.rows, found["artifact_id"]) if found is not None else None


@type_.field("artifact")
def artifact_of_type(row: Row, info: Info, name: str) -> Row | None:
    found = store.membership(current(info), row["project_id"], name)
    member = store.by_id(info.context.rows, found["artifact_id"]) if found is not None else None
    return member if member is not None and artifact_type(member, info)["id"] == row["id"] else None


# --- making


@mutation.field("createArtifact")
def create(_: Any, info: Info, input: Answer) -> Answer:
    def change(conn: sqlite3.Connection) -> Row:
        home = projects.ensure(conn, *place(info, input))
        made_by = run(conn, home["id"], input["runName"]) if input.get("runName") else None
        return artifact_writing.begin(conn, _draft(input, home["id"], made_by, info.context.user.name))

    return {"artifact": info.context.database.write(change)}


def _draft(given: Answer, project_id: int, made_by: Row | None, user: str) -> artifact_writing.Draft:
    names = [given.get("artifactCollectionName"), *(given.get("artifactCollectionNames") or [])]
    name = next((name for name in names if name), None)
    if name is None:
        raise ClientError("the name of the artifact is missing")
    if given.get("storageRegion") not in _REGIONS:
        raise ClientError(f"invalid storageRegion {given['storageRegion']!r}: this server has one place for contents")
    return artifact_writing.Draft(
        project_id,
        given["artifactTypeName"],
        name,
        given["digest"],
        user,
        deduplicate=bool(given.get("enableDigestDeduplication")),
        run_id=made_by["id"] if made_by is not None else None,
        description=given.get("description"),
        metadata=given.get("metadata"),
        aliases=alias_names(given.get("aliases")),
        tags=tag_names(given.get("tags")),
        ttl=given.get("ttlDurationSeconds"),
        history_step=given.get("historyStep"),
        distributed_id=given.get("distributedID"),
        client_id=given.get("clientID"),
        sequence_client_id=given.get("sequenceClientID"),
    )


@mutation.field("commitArtifact")
def commit(_: Any, info: Info, input: Answer) -> Answer:
    """Read and merge the manifests here, and only keep the result in the writer: others need not wait for it."""
    pk = artifact_pk(input["artifactID"])
    for _attempt in range(_COMMIT_TRIES):
        row = store.by_id(info.context.rows, pk)
        if row["state"] == "COMMITTED":
            return {"artifact": row}
        whole = artifact_manifests.merge(info.context.rows, info.context.blobs, row)
        with info.context.blobs.until_noted(whole.blob) if whole.blob else contextlib.nullcontext():
            committed = info.context.database.write(lambda conn, whole=whole: _commit(conn, pk, whole))
        if committed is not None:
            return {"artifact": committed}
    raise ClientError("the artifact's manifests kept changing while it was committed", 409)


def _commit(conn: sqlite3.Connection, pk: int, whole: artifact_manifests.Whole) -> Row | None:
    """The committed version; None when another manifest has arrived since ``whole`` was read."""
    if tuple(row["id"] for row in artifact_manifests.uploaded(conn, pk)) != whole.parts:
        return None if store.by_id(conn, pk)["state"] != "COMMITTED" else store.by_id(conn, pk)
    return artifact_writing.commit(conn, pk, whole)


# --- changing


@mutation.field("updateArtifact")
def update(_: Any, info: Info, input: Answer) -> Answer:
    pk = artifact_pk(input["artifactID"])

    def change(conn: sqlite3.Connection) -> Row:
        store.add_tags(conn, pk, tag_names(input.get("tagsToAdd")))
        store.remove_tags(conn, pk, tag_names(input.get("tagsToDelete")))
        _point(conn, pk, input.get("aliases") or [])
        return store.change(conn, pk, input.get("description"), input.get("metadata"), input.get("ttlDurationSeconds"))

    return {"artifact": info.context.database.write(change)}


def _point(conn: sqlite3.Connection, pk: int, given: list[Answer]) -> None:
    """Aliases by the name of the collection only: one of the version's own project."""
    for item in given:
        home = store.project_of(conn, store.by_id(conn, pk))
        artifact_aliases.point(conn, _place(conn, home, item["artifactCollectionName"], pk), [item["alias"]])


def _place(conn: sqlite3.Connection, project_id: int, name: str, pk: int) -> Row:
    """The version's membership of the collection ``name``. Raises ClientError when it is no member."""
    found = artifact_collections.find(conn, project_id, name)
    member = store.place(conn, found["id"], pk) if found is not None else None
    if member is None:
        raise ClientError(f"the artifact is not in the collection {name!r}", 404)
    return member


def _placed(conn: sqlite3.Connection, pk: int, item: Answer) -> Row:
    home = project(conn, item["entityName"], item["projectName"])
    return _place(conn, home["id"], item["artifactCollectionName"], pk)


@mutation.field("addAliases")
def add_aliases(_: Any, info: Info, input: Answer) -> Answer:
    pk = artifact_pk(input["artifactID"])

    def change(conn: sqlite3.Connection) -> None:
        for item in input["aliases"]:
            artifact_aliases.point(conn, _placed(conn, pk, item), [item["alias"]])

    info.context.database.write(change)
    return {"success": True}


@mutation.field("deleteAliases")
def delete_aliases(_: Any, info: Info, input: Answer) -> Answer:
    pk = artifact_pk(input["artifactID"])

    def change(conn: sqlite3.Connection) -> None:
        for item in input["aliases"]:
            artifact_aliases.remove(conn, _placed(conn, pk, item), [item["alias"]])

    info.context.database.write(change)
    return {"success": True}


@mutation.field("deleteArtifact")
def delete(_: Any, info: Info, input: Answer) -> Answer:
    pk, with_aliases = artifact_pk(input["artifactID"]), bool(input.get("deleteAliases"))
    info.context.database.write(lambda conn: store.delete(conn, pk, with_aliases))
    return {"artifact": store.by_id(info.context.rows, pk)}


@mutation.field("linkArtifact")
def link(_: Any, info: Info, input: Answer) -> Answer:
    linked = info.context.database.write(lambda conn: _link(conn, input))
    return {"versionIndex": linked["version_index"], "artifactMembership": linked}


def _link(conn: sqlite3.Connection, given: Answer) -> Row:
    if given.get("artifactID"):
        source: Row | None = store.by_id(conn, artifact_pk(given["artifactID"]))
    else:
        source = store.by_client_id(conn, given.get("clientID") or "")
    if source is None:
        raise ClientError("there is no such artifact", 404)
    project_id, name = _portfolio(conn, given, source)
    return store.link(conn, source["id"], project_id, name, alias_names(given.get("aliases")))


def _portfolio(conn: sqlite3.Connection, given: Answer, source: Row) -> tuple[int, str]:
    """The project and the name of the portfolio that is meant, by id or by name."""
    if given.get("artifactPortfolioID"):
        row = artifact_collections.by_id(conn, decode(given["artifactPortfolioID"], "ArtifactPortfolio"))
        return row["project_id"], row["name"]
    if not given.get("artifactPortfolioName"):
        raise ClientError("the name of the portfolio is missing")
    if given.get("entityName") and given.get("projectName"):
        home = projects.ensure(conn, given["entityName"], given["projectName"])["id"]
    else:
        home = store.project_of(conn, source)
    return home, given["artifactPortfolioName"]


@mutation.field("unlinkArtifact")
def unlink(_: Any, info: Info, input: Answer) -> Answer:
    pk, portfolio = artifact_pk(input["artifactID"]), decode(input["artifactPortfolioID"], "ArtifactPortfolio")
    info.context.database.write(lambda conn: store.unlink(conn, pk, portfolio))
    return {"success": True}


features = (
    "ARTIFACT_MEMBERSHIP_IN_LINK_ARTIFACT_RESPONSE",
    "ARTIFACT_TAGS",
    "CLIENT_IDS",
    "PROJECT_ARTIFACT_COLLECTION_MEMBERSHIP",
)
bindables: list[SchemaBindable] = [query, mutation, project_type, type_, artifact, alias, membership]
