"""Projects; "model" is W&B's older word for the same."""

from __future__ import annotations

import sqlite3
from typing import Any

from ariadne import MutationType, ObjectType, QueryType
from ariadne.types import SchemaBindable
from graphql import GraphQLResolveInfo

from ..permissions import User
from ..storage import projects
from .errors import ClientError
from .ids import decode, encode
from .paging import listed

query = QueryType()
mutation = MutationType()
project = ObjectType("Project")


@query.field("project")
@query.field("model")
def resolve_project(
    _: Any, info: GraphQLResolveInfo, name: str | None = None, entityName: str | None = None
) -> sqlite3.Row | None:
    """The project; one in the own namespace when no entity is named."""
    return projects.find(info.context.rows, entityName or info.context.user.name, name or "uncategorized")


@query.field("projects")
@query.field("models")
def resolve_projects(
    _: Any,
    info: GraphQLResolveInfo,
    entityName: str | None = None,
    first: int | None = None,
    after: str | None = None,
) -> dict[str, Any]:
    entity = entityName or info.context.user.name
    return listed(lambda limit, offset: projects.listing(info.context.rows, entity, limit, offset), first, after)


@mutation.field("upsertModel")
def resolve_upsert_model(_: Any, info: GraphQLResolveInfo, input: dict[str, Any]) -> dict[str, Any]:
    """Make a project, or change its description."""
    entity = input.get("entityName") or info.context.user.name

    def change(conn: sqlite3.Connection) -> tuple[sqlite3.Row, bool]:
        row, inserted = _found_or_made(conn, entity, input)
        if input.get("description") is not None:
            projects.describe(conn, row["id"], input["description"])
        return projects.by_id(conn, row["id"]) or row, inserted

    row, inserted = info.context.database.write(change)
    return {"project": row, "model": row, "inserted": inserted}


def _found_or_made(conn: sqlite3.Connection, entity: str, given: dict[str, Any]) -> tuple[sqlite3.Row, bool]:
    if given.get("id"):
        row = projects.by_id(conn, decode(given["id"], "Project"))
        if row is None:
            raise ClientError("there is no such project", 404)
        return row, False
    if not given.get("name"):
        raise ClientError("a project needs a name")
    inserted = projects.find(conn, entity, given["name"]) is None
    return projects.ensure(conn, entity, given["name"]), inserted


@project.field("id")
def resolve_id(row: sqlite3.Row, _: GraphQLResolveInfo) -> str:
    return encode("Project", row["id"])


@project.field("internalId")
def resolve_internal_id(row: sqlite3.Row, _: GraphQLResolveInfo) -> str:
    return encode("ProjectInternalId", row["id"])


@project.field("name")
def resolve_name(row: sqlite3.Row, _: GraphQLResolveInfo) -> str:
    return str(row["name"])


@project.field("entityName")
def resolve_entity_name(row: sqlite3.Row, _: GraphQLResolveInfo) -> str:
    return str(row["entity"])


@project.field("entity")
def resolve_entity(row: sqlite3.Row, _: GraphQLResolveInfo) -> dict[str, str]:
    return {"name": row["entity"]}


@project.field("description")
def resolve_description(row: sqlite3.Row, _: GraphQLResolveInfo) -> str:
    return str(row["description"])


@project.field("createdAt")
def resolve_created_at(row: sqlite3.Row, _: GraphQLResolveInfo) -> str:
    return str(row["created_at"])


@project.field("readOnly")
def resolve_read_only(row: sqlite3.Row, info: GraphQLResolveInfo) -> bool:
    return not info.context.may_change(row["entity"])


@project.field("isBenchmark")
def resolve_no(*_: Any) -> bool:
    return False


@project.field("access")
def resolve_access(*_: Any) -> str:
    return "PRIVATE"


@project.field("user")
def resolve_user(_: sqlite3.Row, info: GraphQLResolveInfo) -> User:
    owner: User = info.context.user
    return owner


bindables: list[SchemaBindable] = [query, mutation, project]
