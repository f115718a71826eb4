"""Who is logged in, and the entities that projects belong to."""

from __future__ import annotations

import base64
import sqlite3
from typing import Any

from ariadne import MutationType, ObjectType, QueryType
from ariadne.types import SchemaBindable
from graphql import GraphQLResolveInfo

from ..permissions import User
from ..storage import projects, users
from .errors import ClientError
from .paging import connection, page

query = QueryType()
mutation = MutationType()
user = ObjectType("User")
entity = ObjectType("Entity")

FLAGS = '{"code_saving_enabled": true}'


@query.field("viewer")
def resolve_viewer(_: Any, info: GraphQLResolveInfo) -> User:
    asker: User = info.context.user
    return asker


@query.field("users")
def resolve_users(
    _: Any, info: GraphQLResolveInfo, query: str | None = None, first: int | None = None, after: str | None = None
) -> dict[str, Any]:
    """Users by a name or address, or by how one begins or ends."""
    limit, offset = page(first, after)
    found = [_user(row) for row in users.matching(info.context.rows, query)]
    return connection(found[offset : offset + limit], first, after, len(found))


@query.field("entity")
def resolve_entity(_: Any, info: GraphQLResolveInfo, name: str | None = None) -> dict[str, str]:
    return {"name": name or info.context.user.name}


@query.field("organization")
def resolve_organization(*_: Any, name: str) -> None:
    """There are no organizations."""


@mutation.field("generateApiKey")
def resolve_generate_api_key(_: Any, info: GraphQLResolveInfo, input: dict[str, Any]) -> None:
    raise ClientError(f"a user has one key here; `sweepkit user key {info.context.user.name}` makes a new one")


@mutation.field("createTeam")
def resolve_create_team(_: Any, info: GraphQLResolveInfo, input: dict[str, Any]) -> dict[str, Any]:
    """A shared entity: what is in it is everybody's to change."""
    name = input["teamName"]
    try:
        info.context.database.write(lambda conn: users.make_team(conn, name))
    except users.UserError as error:
        raise ClientError(f"{error}{f': {error.hint}' if error.hint else ''}", error.status) from None
    return {"entity": {"name": name}, "clientMutationId": input.get("clientMutationId")}


@user.field("id")
def resolve_user_id(row: User, _: GraphQLResolveInfo) -> str:
    return _id("User", row.name)


@user.field("name")
@user.field("username")
@user.field("entity")
def resolve_user_name(row: User, _: GraphQLResolveInfo) -> str:
    return row.name


@user.field("email")
def resolve_email(row: User, _: GraphQLResolveInfo) -> str:
    return row.email


@user.field("admin")
def resolve_admin(row: User, _: GraphQLResolveInfo) -> bool:
    return row.admin


@user.field("flags")
def resolve_flags(*_: Any) -> str:
    return FLAGS


@user.field("apiKeys")
def resolve_api_keys(row: User, info: GraphQLResolveInfo) -> dict[str, Any]:
    """The name of the one key that a user has, for that user and for administrators; keys themselves are not told."""
    asker, found = info.context.user, users.by_name(info.context.rows, row.name)
    start = found["key_start"] if found is not None and (asker.admin or asker.name == row.name) else None
    return {"edges": [{"node": {"id": start, "name": start, "description": ""}}] if start else []}


@user.field("teams")
def resolve_teams(row: User, info: GraphQLResolveInfo) -> dict[str, Any]:
    """The own entity, and those that are shared."""
    names = [row.name, *users.shared_entities(info.context.rows)]
    return {"edges": [{"node": {"name": name}} for name in names]}


@user.field("organizations")
def resolve_organizations(*_: Any) -> list[Any]:
    return []


@entity.field("id")
def resolve_entity_id(row: dict[str, str], _: GraphQLResolveInfo) -> str:
    return _id("Entity", row["name"])


@entity.field("name")
def resolve_entity_name(row: dict[str, str], _: GraphQLResolveInfo) -> str:
    return row["name"]


@entity.field("entityType")
def resolve_entity_type(row: dict[str, str], info: GraphQLResolveInfo) -> str:
    return "team" if resolve_is_team(row, info) else "user"


@entity.field("codeSavingEnabled")
@entity.field("available")
def resolve_yes(*_: Any) -> bool:
    return True


@entity.field("isTeam")
def resolve_is_team(row: dict[str, str], info: GraphQLResolveInfo) -> bool:
    """An entity that is no user's is shared."""
    return not users.is_owned(info.context.rows, row["name"])


@entity.field("readOnly")
def resolve_read_only(row: dict[str, str], info: GraphQLResolveInfo) -> bool:
    return not info.context.may_change(row["name"])


@entity.field("readOnlyAdmin")
@entity.field("privateOnly")
@entity.field("isPaid")
def resolve_no(*_: Any) -> bool:
    return False


@entity.field("defaultAccess")
def resolve_default_access(*_: Any) -> str:
    return "PRIVATE"  # for who has a key, as its projects are


@entity.field("storageBytes")
def resolve_storage_bytes(row: dict[str, str], info: GraphQLResolveInfo) -> int:
    return projects.stored_bytes(info.context.rows, row["name"])


@entity.field("members")
def resolve_members(row: dict[str, str], info: GraphQLResolveInfo) -> list[dict[str, Any]]:
    """Who may change what is in the entity by being a member: its user, or everybody where it is shared."""
    rows, name = info.context.rows, row["name"]
    owner = users.by_name(rows, name)
    found = [owner] if owner is not None else [] if users.is_owned(rows, name) else users.listing(rows)
    return [_member(user) for user in found]


@entity.field("user")
def resolve_entity_user(row: dict[str, str], info: GraphQLResolveInfo) -> User | None:
    found = users.by_name(info.context.rows, row["name"])
    return _user(found) if found is not None else None


def _member(row: sqlite3.Row) -> dict[str, Any]:
    name = row["name"]
    told = {"id": _id("User", name), "name": name, "username": name, "email": row["email"]}
    return {**told, "admin": bool(row["admin"]), "pending": False, "accountType": "USER"}


def _user(row: sqlite3.Row) -> User:
    return User(row["name"], row["email"], bool(row["admin"]))


def _id(kind: str, name: str) -> str:
    """These have a name for a key, unlike everything else."""
    return base64.b64encode(f"{kind}:v1:{name}".encode()).decode()


bindables: list[SchemaBindable] = [query, mutation, user, entity]
