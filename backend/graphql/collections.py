"""Artifact types and collections: listings, changes, tags."""

from __future__ import annotations

import sqlite3
from typing import Any

from ariadne import InterfaceType, MutationType, ObjectType, QueryType
from ariadne.types import SchemaBindable
from graphql import GraphQLResolveInfo as Info

from ..storage import artifact_collections as store
from ..storage import artifact_listings, artifacts, projects
from .artifact_rows import current, place, project, tag_names
from .errors import ClientError
from .ids import decode, encode
from .paging import connection, page

Row = sqlite3.Row
Answer = dict[str, Any]
KINDS = {"sequence": "ArtifactSequence", "portfolio": "ArtifactPortfolio"}

query = QueryType()
mutation = MutationType()
project_type = ObjectType("Project")
artifact_type = ObjectType("ArtifactType")
collection = InterfaceType("ArtifactCollection", lambda row, *_: KINDS[row["kind"]])
sequence = ObjectType("ArtifactSequence")
tag = ObjectType("Tag")
entity = ObjectType("Entity")


def listed(found: artifact_listings.Page, first: int | None, after: str | None) -> Answer:
    """A connection out of a page of a listing."""
    return connection(found.rows, first, after, found.total)


def listed_all(rows: list[Row], first: int | None, after: str | None) -> Answer:
    """A connection out of rows that are all at hand."""
    limit, offset = page(first, after)
    return connection(rows[offset : offset + limit], first, after, len(rows))


def collection_pk(text: str) -> int:
    """The row number in the id of a collection of either kind."""
    try:
        return decode(text, "ArtifactSequence")
    except ClientError:
        return decode(text, "ArtifactPortfolio")


# --- types


for _name in ("name", "description"):
    artifact_type.set_field(_name, lambda row, info, _column=_name: row[_column])
artifact_type.set_field("id", lambda row, info: encode("ArtifactType", row["id"]))
artifact_type.set_field("createdAt", lambda row, info: row["created_at"])
artifact_type.set_field("project", lambda row, info: projects.by_id(info.context.rows, row["project_id"]))


@project_type.field("artifactTypes")
def project_types(row: Row, info: Info, first: int | None = None, after: str | None = None, **_: Any) -> Answer:
    limit, offset = page(first, after)
    return listed(artifact_listings.types(current(info), row["id"], limit, offset), first, after)


@project_type.field("artifactType")
def project_artifact_type(row: Row, info: Info, name: str) -> Row | None:
    return store.find_type(current(info), row["id"], name)


# --- collections


@project_type.field("artifactCollections")
def project_collections(row: Row, info: Info, **asked: Any) -> Answer:
    return _collections(info, "project_id", row["id"], **asked)


@artifact_type.field("artifactCollections")
def type_collections(row: Row, info: Info, **asked: Any) -> Answer:
    return _collections(info, "type_id", row["id"], **asked)


def _collections(
    info: Info,
    column: str,
    value: int,
    filters: str | None = None,
    order: str | None = None,
    first: int | None = None,
    after: str | None = None,
) -> Answer:
    limit, offset = page(first, after)
    found = artifact_listings.collections(current(info), column, value, filters, order, limit, offset)
    return listed(found, first, after)


@project_type.field("artifactCollection")
def project_collection(row: Row, info: Info, name: str) -> Row | None:
    return store.find(current(info), row["id"], name)


@artifact_type.field("artifactCollection")
def type_collection(row: Row, info: Info, name: str) -> Row | None:
    found = store.find(current(info), row["project_id"], name)
    return found if found is not None and found["type_id"] == row["id"] else None


@query.field("artifactCollection")
def by_id(_: Any, info: Info, id: str) -> Row:
    return store.by_id(current(info), collection_pk(id))


for _name in ("name", "description", "state"):
    collection.set_field(_name, lambda row, info, _column=_name: row[_column])
collection.set_field("id", lambda row, info: encode(KINDS[row["kind"]], row["id"]))
collection.set_field("createdAt", lambda row, info: row["created_at"])
collection.set_field("updatedAt", lambda row, info: row["updated_at"])
collection.set_field("project", lambda row, info: projects.by_id(info.context.rows, row["project_id"]))
collection.set_field("defaultArtifactType", lambda row, info: store.type_by_id(info.context.rows, row["type_id"]))


@collection.field("tags")
def tags(row: Row, info: Info, first: int | None = None, after: str | None = None) -> Answer:
    return listed_all(store.tags(info.context.rows, row["id"]), first, after)


@collection.field("aliases")
def aliases(row: Row, info: Info, first: int | None = None, after: str | None = None) -> Answer:
    limit, offset = page(first, after)
    return listed(artifact_listings.aliases(current(info), row["id"], limit, offset), first, after)


@collection.field("artifactMembership")
def membership(row: Row, info: Info, aliasName: str) -> Row | None:
    return artifacts.member(current(info), row["id"], aliasName)


@collection.field("artifactMemberships")
def memberships(
    row: Row,
    info: Info,
    filters: str | None = None,
    order: str | None = None,
    first: int | None = None,
    after: str | None = None,
) -> Answer:
    limit, offset = page(first, after)
    found = artifact_listings.versions(current(info), row["id"], filters, order, limit, offset)
    return listed(found, first, after)


@collection.field("artifacts")
def versions(row: Row, info: Info, **asked: Any) -> Answer:
    """The same, as versions under the collection's own numbers."""
    answer = memberships(row, info, **asked)
    edges = [
        {
            "version": f"v{edge['node']['version_index']}",
            "node": artifacts.by_id(info.context.rows, edge["node"]["artifact_id"]),
            "cursor": edge["cursor"],
        }
        for edge in answer["edges"]
    ]
    return {**answer, "edges": edges}


@sequence.field("latestArtifact")
def latest(row: Row, info: Info) -> Row | None:
    found = artifacts.member(info.context.rows, row["id"], "latest")
    return artifacts.by_id(info.context.rows, found["artifact_id"]) if found is not None else None


sequence.set_field("digestAlgorithm", lambda row, info: "MANIFEST_MD5")
entity.set_field("xxhashDigestsEnabled", lambda row, info: False)
tag.set_field("id", lambda row, info: encode("Tag", row["id"]))
tag.set_field("name", lambda row, info: row["name"])


# --- changes


@mutation.field("createArtifactType")
def create_type(_: Any, info: Info, input: Answer) -> Answer:
    def change(conn: sqlite3.Connection) -> Row:
        home = projects.ensure(conn, *place(info, input))
        return store.ensure_type(conn, home["id"], input["name"], input.get("description"))

    return {"artifactType": info.context.database.write(change)}


def _update(info: Info, pk: int, given: Answer) -> Answer:
    def change(conn: sqlite3.Connection) -> Row:
        return store.update(conn, store.by_id(conn, pk), given.get("name"), given.get("description"))

    return {"artifactCollection": info.context.database.write(change)}


@mutation.field("updateArtifactSequence")
def update_sequence(_: Any, info: Info, input: Answer) -> Answer:
    return _update(info, decode(input["artifactSequenceID"], "ArtifactSequence"), input)


@mutation.field("updateArtifactPortfolio")
def update_portfolio(_: Any, info: Info, input: Answer) -> Answer:
    return _update(info, decode(input["artifactPortfolioID"], "ArtifactPortfolio"), input)


@mutation.field("moveArtifactSequence")
def move_sequence(_: Any, info: Info, input: Answer) -> Answer:
    pk = decode(input["artifactSequenceID"], "ArtifactSequence")

    def change(conn: sqlite3.Connection) -> Row:
        return store.move(conn, store.by_id(conn, pk), input["destinationArtifactTypeName"])

    return {"artifactCollection": info.context.database.write(change)}


def _delete(info: Info, pk: int) -> Answer:
    return {"artifactCollection": info.context.database.write(lambda conn: store.delete(conn, store.by_id(conn, pk)))}


@mutation.field("deleteArtifactSequence")
def delete_sequence(_: Any, info: Info, input: Answer) -> Answer:
    return _delete(info, decode(input["artifactSequenceID"], "ArtifactSequence"))


@mutation.field("deleteArtifactPortfolio")
def delete_portfolio(_: Any, info: Info, input: Answer) -> Answer:
    return _delete(info, decode(input["artifactPortfolioID"], "ArtifactPortfolio"))


def _named(conn: sqlite3.Connection, given: Answer) -> int:
    home = project(conn, given["entityName"], given["projectName"])
    found = store.find(conn, home["id"], given["artifactCollectionName"])
    if found is None:
        raise ClientError(f"there is no artifact collection {given['artifactCollectionName']!r}", 404)
    return int(found["id"])


@mutation.field("createArtifactCollectionTagAssignments")
def add_tags(_: Any, info: Info, input: Answer) -> Answer:
    def change(conn: sqlite3.Connection) -> list[Row]:
        pk = _named(conn, input)
        store.add_tags(conn, pk, tag_names(input["tags"]))
        return store.tags(conn, pk)

    return {"tags": info.context.database.write(change)}


@mutation.field("deleteArtifactCollectionTagAssignments")
def remove_tags(_: Any, info: Info, input: Answer) -> Answer:
    info.context.database.write(lambda conn: store.remove_tags(conn, _named(conn, input), tag_names(input["tags"])))
    return {"success": True}


features = ("ARTIFACT_COLLECTIONS_FILTERING_SORTING",)
bindables: list[SchemaBindable] = [query, mutation, project_type, artifact_type, collection, sequence, tag, entity]
