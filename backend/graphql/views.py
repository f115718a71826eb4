"""Workspaces and reports: kept for the programs that make them (``wandb-workspaces``), and given back."""

from __future__ import annotations

import sqlite3
from typing import Any

from ariadne import MutationType, ObjectType, QueryType
from ariadne.types import SchemaBindable
from graphql import GraphQLResolveInfo

from ..permissions import User
from ..storage import projects, short_ids, views
from ..storage.plain_json import strict_json
from .errors import ClientError
from .ids import decode, encode
from .paging import listed

query = QueryType()
mutation = MutationType()
view = ObjectType("View")
project = ObjectType("Project")
bindables: list[SchemaBindable] = [query, mutation, view, project]

REPORT = "runs"
_LONGEST = 1024  # characters of a name or title
_COLUMNS = {
    "name": "name", "type": "type", "displayName": "display_name", "description": "description", "spec": "spec",
    "createdAt": "created_at", "updatedAt": "updated_at",
}  # fmt: skip
for _field, _column in _COLUMNS.items():
    view.set_field(_field, lambda row, info, _name=_column: row[_name])
view.set_field("id", lambda row, info: encode("View", row["id"]))
view.set_field("project", lambda row, info: projects.by_id(info.context.rows, row["project_id"]))
view.set_field("user", lambda row, info: User(row["user"], "", False))


@query.field("view")
def resolve_view(_: Any, info: GraphQLResolveInfo, id: str) -> sqlite3.Row | None:
    return views.by_id(info.context.rows, decode(id, "View"))


@project.field("allViews")
def resolve_all_views(
    row: sqlite3.Row,
    info: GraphQLResolveInfo,
    viewType: str | None = REPORT,
    viewName: str | None = None,
    userName: str | None = None,
    first: int | None = None,
    after: str | None = None,
) -> dict[str, Any]:
    rows, wanted = info.context.rows, (row["id"], viewType or REPORT, viewName, userName)
    return listed(lambda limit, offset: views.listing(rows, *wanted, limit, offset), first, after)


@mutation.field("upsertView")
def resolve_upsert_view(_: Any, info: GraphQLResolveInfo, input: dict[str, Any]) -> dict[str, Any]:
    columns = _columns(input)
    user = info.context.user.name
    row, inserted = info.context.database.write(lambda conn: _upsert(conn, user, input, columns))
    return {"view": row, "inserted": inserted, "clientMutationId": input.get("clientMutationId")}


def _columns(given: dict[str, Any]) -> dict[str, Any]:
    names = {"name": "name", "type": "type", "displayName": "display_name", "description": "description"}
    columns = {column: given[name] for name, column in names.items() if given.get(name) is not None}
    if any(len(text) > _LONGEST for column, text in columns.items() if column != "description"):
        raise ClientError(f"the name, type and title of a view have at most {_LONGEST} characters")
    if given.get("spec") is not None:
        try:
            columns["spec"] = strict_json(given["spec"])
        except (ValueError, TypeError, RecursionError):
            raise ClientError("the spec of a view is not the JSON text of an object") from None
    return columns


def _upsert(
    conn: sqlite3.Connection, user: str, given: dict[str, Any], columns: dict[str, Any]
) -> tuple[sqlite3.Row, bool]:
    """The view as it is afterwards, and whether it is new. A name is a workspace's address: it is there once."""
    if given.get("id"):
        row = views.by_id(conn, decode(given["id"], "View"))
        if row is None:
            raise ClientError("there is no such view", 404)
        return views.update(conn, row["id"], **columns), False
    home = projects.ensure(conn, given.get("entityName") or user, given.get("projectName") or "uncategorized")
    new = {"name": short_ids.make(), "type": REPORT, "display_name": "", "description": "", "spec": "{}", **columns}
    same = views.find(conn, home["id"], new["type"], new["name"])
    if same is not None:
        return views.update(conn, same["id"], **columns), False
    return views.create(conn, home["id"], user, **new), True


@mutation.field("deleteView")
def resolve_delete_view(_: Any, info: GraphQLResolveInfo, input: dict[str, Any]) -> dict[str, Any]:
    pk = decode(input["id"], "View")
    if not info.context.database.write(lambda conn: views.delete(conn, pk)):
        raise ClientError("there is no such view", 404)
    return {"success": True, "pendingDrafts": [], "clientMutationId": input.get("clientMutationId")}
