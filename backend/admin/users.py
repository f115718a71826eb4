"""``/admin/users``: who may use the backend, for ``sweepkit user``. A key is told once, to who asked for it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .. import limits
from ..storage import users

_BODY = 64 * 1024  # bytes
_OWNERS_KEY = "for a new key, stop the backend, delete account.json in its data folder, and start it again"


async def get(request: Request) -> Response:
    """All users, without their keys."""
    database = request.app.state.database
    rows = await run_in_threadpool(lambda: users.listing(database.read()))
    owner = request.app.state.owner
    return JSONResponse({"users": [_shown(row, owner) for row in rows]})


async def post(request: Request) -> Response:
    """Add a user: ``name``, and optionally ``key`` and ``admin``. 201 for a new one, 200 when all was so already."""
    try:
        given = await _given(request, {"name": str, "key": str, "admin": bool})
        name, key = given.get("name", ""), given.get("key") or users.new_key()
        new = await _written(request, lambda conn: users.add(conn, name, key, given.get("admin", False)))
    except users.UserError as error:
        return _refused(error)
    return JSONResponse({"name": name, "key": key, "new": new}, status_code=201 if new else 200)


async def delete(request: Request) -> Response:
    """Remove a user; the projects of the entity stay."""
    name = request.path_params["name"]
    try:
        _check_is_not_owner(request, name, "the owner stays")
        left = await _written(request, lambda conn: users.remove(conn, name))
    except users.UserError as error:
        return _refused(error)
    return JSONResponse({"name": name, "projects": left})


async def post_key(request: Request) -> Response:
    """Give a user a new ``key``, or a random one."""
    name = request.path_params["name"]
    try:
        _check_is_not_owner(request, name, _OWNERS_KEY)
        key = (await _given(request, {"key": str})).get("key") or users.new_key()
        await _written(request, lambda conn: users.change_key(conn, name, key))
    except users.UserError as error:
        return _refused(error)
    return JSONResponse({"name": name, "key": key})


def _shown(row: sqlite3.Row, owner: str) -> dict[str, Any]:
    role = "owner" if row["name"] == owner else "administrator" if row["admin"] else "user"
    return {"name": row["name"], "role": role, "projects": row["projects"], "created_at": row["created_at"]}


async def _given(request: Request, kinds: dict[str, type]) -> dict[str, Any]:
    """The request's JSON object, each value of its kind; null is as good as absent. Raises UserError."""
    given = limits.json_object(await limits.body(request, _BODY))
    for name, value in given.items():
        if value is not None and not isinstance(value, kinds.get(name, type(None))):
            raise users.UserError(f"{name[:40]!r} is unknown or of the wrong kind", f"known are {', '.join(kinds)}")
    return {name: value for name, value in given.items() if value is not None}


async def _written(request: Request, change: Callable[[sqlite3.Connection], Any]) -> Any:
    return await asyncio.wrap_future(request.app.state.database.submit(change))


def _check_is_not_owner(request: Request, name: str, hint: str) -> None:
    if name == request.app.state.owner:
        raise users.UserError(f"{name} is the owner of this backend", hint, 409)


def _refused(error: users.UserError) -> Response:
    return JSONResponse({"error": str(error), "hint": error.hint}, status_code=error.status)


routes = [
    Route("/users", get, methods=["GET"]),
    Route("/users", post, methods=["POST"]),
    Route("/users/{name}", delete, methods=["DELETE"]),
    Route("/users/{name}/key", post_key, methods=["POST"]),
]
