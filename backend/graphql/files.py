"""A run's files: listed, and the addresses where they are put and got."""

from __future__ import annotations

import base64
import binascii
import mimetypes
import sqlite3
from typing import Any

from ariadne import MutationType, ObjectType
from ariadne.types import SchemaBindable
from graphql import GraphQLResolveInfo

from .. import fencing
from ..storage import files, projects, runs
from ..storage.names import BadName, checked_file
from ..transfer import path_of
from .context import Context
from .errors import ClientError
from .ids import row_number
from .paging import connection, page

run = ObjectType("Run")
mutation = MutationType()
MOST_NAMES = 10_000
NOT_THERE = "0"  # the MD5 by which the client tells a file that was asked for by name and is not there


@run.field("files")
def resolve_files(
    row: sqlite3.Row,
    info: GraphQLResolveInfo,
    names: list[str | None] | None = None,
    first: int | None = None,
    after: str | None = None,
    pattern: str | None = None,
) -> dict[str, Any]:
    """By name, a pattern of SQL's LIKE, or all. One that is asked for by name is answered also when it is not there:
    this is how the older client gets an address to upload it to."""
    where = _where(info.context, row)
    limit, offset = page(first, after)
    if names:
        asked = [name.removeprefix("./") for name in names if name][:MOST_NAMES]
        shown = [_named(info.context, row, where, name) for name in asked[offset : offset + limit]]
        answer = connection(shown, first, after, len(asked))
    else:
        found = files.listing(info.context.rows, row["id"], pattern, limit + 1, offset)
        answer = connection([_node(info.context, row, where, file) for file in found], first, after)
    return {**answer, "uploadHeaders": []}


@run.field("fileCount")
def resolve_file_count(row: sqlite3.Row, info: GraphQLResolveInfo) -> int:
    return files.count(info.context.rows, row["id"])


@mutation.field("createRunFiles")
def resolve_create_run_files(_: Any, info: GraphQLResolveInfo, input: dict[str, Any]) -> dict[str, Any]:
    """An address to upload each file to; the file is the run's once it was put there."""
    context = info.context
    row = _run(context, input)
    try:
        fencing.check(context.rows, row, context.lease)
    except fencing.Fenced as error:
        raise ClientError(str(error), 410) from error
    where = _where(context, row)
    nodes = [_named(context, row, where, _checked(name)) for name in input["files"][:MOST_NAMES]]
    return {"runID": row["name"], "uploadHeaders": [], "files": nodes}


@mutation.field("markRunFilesUploaded")
def resolve_mark_run_files_uploaded(_: Any, info: GraphQLResolveInfo, input: dict[str, Any]) -> dict[str, Any]:
    """Whether the files are there: an upload counts here as soon as it was put."""
    row = _run(info.context, input)
    missing = [name for name in input["files"] if files.find(info.context.rows, row["id"], name) is None]
    if missing:
        raise ClientError(f"not uploaded: {', '.join(missing[:5])}", 404)
    return {"success": True}


@mutation.field("deleteFiles")
def resolve_delete_files(_: Any, info: GraphQLResolveInfo, input: dict[str, Any]) -> dict[str, Any]:
    wanted = [file_of(text) for text in input["files"]]

    def change(conn: sqlite3.Connection) -> int:
        return sum(files.delete(conn, run_id, name) for run_id, name in wanted)

    if info.context.database.write(change) != len(wanted):
        raise ClientError("some of the files were not there", 404)
    return {"success": True}


def _run(context: Context, given: dict[str, Any]) -> sqlite3.Row:
    path = (given.get("entityName") or context.user.name, given.get("projectName") or "", given["runName"])
    row = runs.by_path(context.rows, *path)
    if row is None:
        raise ClientError(f"there is no run {'/'.join(path)}", 404)
    return row


def _where(context: Context, row: sqlite3.Row) -> tuple[str, str, str]:
    project = projects.by_id(context.rows, row["project_id"])
    if project is None:
        raise ClientError("the project was deleted meanwhile", 404)
    return project["entity"], project["name"], row["name"]


def _named(context: Context, row: sqlite3.Row, where: tuple[str, str, str], name: str) -> dict[str, Any]:
    found = files.find(context.rows, row["id"], name)
    return _node(context, row, where, found or {"name": name, "size": 0, "md5": NOT_THERE, "updated_at": None})


def _node(
    context: Context, row: sqlite3.Row, where: tuple[str, str, str], file: sqlite3.Row | dict[str, Any]
) -> dict[str, Any]:
    path = path_of(*where, file["name"])
    direct = context.download_url(path)

    def url(_: GraphQLResolveInfo, upload: bool | None = None) -> str:
        return context.upload_url(path, where[0]) if upload else direct

    return {
        "id": _encode(row["id"], file["name"]),
        "name": file["name"],
        "displayName": file["name"],
        "url": url,
        "directUrl": direct,
        "uploadUrl": lambda _: context.upload_url(path, where[0]),
        "uploadHeaders": [],
        "sizeBytes": file["size"],
        "md5": file["md5"],
        "mimetype": mimetypes.guess_type(file["name"])[0],
        "updatedAt": file["updated_at"],
    }


def _checked(name: str) -> str:
    try:
        return checked_file(name)
    except BadName as error:
        raise ClientError(str(error)) from None


def _encode(run_id: int, name: str) -> str:
    return base64.b64encode(f"RunFile:{run_id}:{name}".encode()).decode()


def file_of(text: str) -> tuple[int, str]:
    """The run's row and the file's name in the id of a run's file. Raises ClientError."""
    try:
        kind, run_id, name = base64.b64decode(text, validate=True).decode().split(":", 2)
        if kind == "RunFile":
            return row_number(run_id), name
    except (binascii.Error, ValueError):
        pass
    raise ClientError(f"{text!r} is not the id of a run's file")


bindables: list[SchemaBindable] = [run, mutation]
