"""Run files over HTTP: PUT to the address that CreateRunFiles gave, GET with a key or a signed address."""

from __future__ import annotations

import asyncio
import errno
import logging
import mimetypes
import sqlite3
from collections.abc import Mapping
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from . import limits, permissions
from .storage import files, runs
from .storage.blobs import Blob, Blobs, TooLarge
from .storage.database import Database
from .storage.names import BadName

_log = logging.getLogger(__name__)

# A file may hold a script: it is never run in this server's origin, however it is opened.
FILE_POLICY = "sandbox; default-src 'none'; img-src 'self' data:; media-src 'self'; style-src 'unsafe-inline'"


def path_of(entity: str, project: str, run: str, name: str) -> str:
    """The path at which a run's file is put and got, not quoted."""
    return f"/files/{entity}/{project}/{run}/{name}"


async def put(request: Request) -> Response:
    """Keep an upload as the run's file. 204 means that it is on disk."""
    path = request.path_params
    database = request.app.state.database

    def find() -> sqlite3.Row | None:
        permissions.check_upload(database.read(), request, path["entity"])
        return runs.by_path(database.read(), path["entity"], path["project"], path["run"])

    run = await run_in_threadpool(find)
    if run is None:
        return JSONResponse({"error": "there is no such run"}, status_code=404)
    received = await receive(request)
    if isinstance(received, Response):
        return received
    with request.app.state.blobs.until_noted(received):
        return await _noted(database, run["id"], path["name"], received)


async def _noted(database: Database, run_id: int, name: str, blob: Blob) -> Response:
    try:
        await asyncio.wrap_future(database.submit(lambda conn: files.put_blob(conn, run_id, name, blob)))
    except BadName as error:
        return JSONResponse({"error": str(error)}, status_code=400)
    return Response(status_code=204)


async def receive(request: Request) -> Blob | Response:
    """The body as a blob, or the answer that says why not: 413 too large, 507 or 503 the disk does not take it."""
    blobs: Blobs = request.app.state.blobs
    try:
        return await blobs.receive(request.stream(), limits.UPLOAD_BYTES)
    except TooLarge as error:
        return JSONResponse({"error": str(error)}, status_code=413)
    except OSError as error:
        return not_kept(error)


def not_kept(error: OSError) -> Response:
    """The disk does not take an upload: 507 where it is full, else 503; the client tries again after either."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return JSONResponse({"error": "the disk of the data folder is full"}, status_code=507)
    _log.error("an upload could not be kept: %s", error)
    return JSONResponse({"error": f"the data folder cannot be written: {error.strerror}"}, status_code=503)


async def get(request: Request) -> Response:
    """The content of a run's file."""
    path = request.path_params
    database = request.app.state.database

    def find() -> Mapping[str, str] | None:
        run = runs.by_path(database.read(), path["entity"], path["project"], path["run"])
        return files.find(database.read(), run["id"], path["name"]) if run else None  # type: ignore[return-value]

    row = await run_in_threadpool(find)
    if row is None:
        return JSONResponse({"error": "there is no such file"}, status_code=404)
    return blob_response(request.app.state.blobs, row["digest"], row["name"])


def blob_response(blobs: Blobs, digest: str, name: str) -> Response:
    """A blob as a download under ``name`` (ranges are answered too); pictures may be shown in place."""
    if not blobs.path(digest).exists():  # it was deleted, and collected, since its row was read
        return JSONResponse({"error": "the content of this file is gone"}, status_code=404)
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    shown = kind.startswith(("image/", "video/", "audio/")) and kind != "image/svg+xml"
    last = name.rsplit("/", 1)[-1]
    headers = {
        "content-security-policy": FILE_POLICY,
        "content-disposition": f"{'inline' if shown else 'attachment'}; filename*=UTF-8''{quote(last, safe='')}",
        "etag": f'"{digest}"',
        "cache-control": "private, no-cache",
    }
    return FileResponse(blobs.path(digest), headers=headers, media_type=kind)


routes = [
    Route("/files/{entity}/{project}/{run}/{name:path}", put, methods=["PUT"]),
    Route("/files/{entity}/{project}/{run}/{name:path}", get, methods=["GET"]),
]
