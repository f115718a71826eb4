"""Who is logged in, and the entities that projects belong to."""

from __future__ import annotations

import base64
from typing import Any

from ariadne import MutationType, ObjectType, QueryType
from ariadne.types import SchemaBindable
from graphql import GraphQLResolveInfo

from .context import User
from .errors import ClientError

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
    """The one user there is, if the query names them."""
    asker = info.context.user
    found = query in {None, asker.name, asker.email}
    return {"edges": [{"node": asker}] if found else [], "pageInfo": {"hasNextPage": False}}


@query.field("entity")
def resolve_entity(_: Any, info: GraphQLResolveInfo, name: str | None = None) -> dict[str, str]:
    return {"name": name or info.context.user.name}


@query.field("organization")
def resolve_organization(*_: Any, name: str) -> None:
    """There are no organizations."""


@mutation.field("generateApiKey")
def resolve_generate_api_key(*_: Any, input: dict[str, Any]) -> None:
    raise ClientError("the embedded backend has one key, in server.json of its data folder")


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
def resolve_api_keys(*_: Any) -> dict[str, Any]:
    """Keys are not told: whoever asks has one already."""
    return {"edges": []}


@user.field("teams")
def resolve_teams(row: User, _: GraphQLResolveInfo) -> dict[str, Any]:
    return {"edges": [{"node": {"name": row.name}}]}


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
def resolve_entity_type(*_: Any) -> str:
    return "user"


@entity.field("codeSavingEnabled")
@entity.field("available")
def resolve_yes(*_: Any) -> bool:
    return True


@entity.field("isTeam")
@entity.field("readOnly")
@entity.field("readOnlyAdmin")
@entity.field("privateOnly")
@entity.field("isPaid")
def resolve_no(*_: Any) -> bool:
    return False


@entity.field("members")
def resolve_members(*_: Any) -> list[Any]:
    return []


@entity.field("user")
def resolve_entity_user(row: dict[str, str], info: GraphQLResolveInfo) -> User | None:
    asker: User = info.context.user
    return asker if asker.name == row["name"] else None


def _id(kind: str, name: str) -> str:
    """These have a name for a key, unlike everything else."""
    return base64.b64encode(f"{kind}:v1:{name}".encode()).decode()


bindables: list[SchemaBindable] = [query, mutation, user, entity]
