"""``/admin/backup``: the whole store as one archive, as it is at one moment, while everybody goes on working."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from ... import __version__
from .. import clock
from ..backup import archive
from ..backup.archive import Member
from ..storage import garbage
from ..storage.blobs import Blobs
from ..transfer import not_kept
from .gc import BUSY


async def post(request: Request) -> Response:
    """The archive. 409 while a collection or another backup is at work: contents must not go meanwhile."""
    state = request.app.state
    if not state.keeping.acquire(blocking=False):
        return JSONResponse({"error": BUSY}, status_code=409)
    try:
        members = await run_in_threadpool(snapshot, state.database.path, state.blobs)
    except OSError as error:
        state.keeping.release()
        return not_kept(error)
    except BaseException:
        state.keeping.release()
        raise
    return _Archive(members, state.keeping.release)


class _Archive(Response):
    """Streams the archive; whatever ends it, collections are let in again."""

    def __init__(self, members: list[Member], done: Callable[[], None]) -> None:
        headers = {"content-length": str(archive.size_of(members))}
        self._stream = StreamingResponse(archive.pieces(members), headers=headers, media_type="application/x-tar")
        self._done = done

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._stream(scope, receive, send)
        finally:
            self._done()


def snapshot(store: Path, blobs: Blobs) -> list[Member]:
    """The files of a backup, the head first. The copy of the database has no name any more: it goes with its reader."""
    draft = blobs.draft()
    try:
        digests = _copy(store, draft)
        copy = draft.open("rb")
    finally:
        draft.unlink(missing_ok=True)
    size = copy.seek(0, os.SEEK_END)
    files = [Member(archive.STORE, size, partial(_from_start, copy))]
    files += [archive.in_memory(name, (store.parent / name).read_bytes()) for name in archive.KEPT]
    contents = {digest: archive.from_disk(f"blobs/{digest}", blobs.path(digest)) for digest in digests}
    there = [member for member in contents.values() if member]
    head = {
        "format": archive.FORMAT,
        "sweepkit": __version__,
        "created_at": clock.now(),
        "files": {file.name: archive.digest_of(file.open()) for file in files},
        "blobs": len(there),
        "missing": [digest for digest, member in contents.items() if member is None],
    }
    return [archive.in_memory(archive.HEAD, json.dumps(head).encode()), *files, *there]


def _copy(store: Path, draft: Path) -> list[str]:
    """Copy the database as it is now, without parts of uploads that are on their way; the contents that it needs.

    Writers go on: SQLite's backup reads one snapshot from the log.
    """
    with (
        contextlib.closing(sqlite3.connect(f"file:{quote(str(store))}?mode=ro", uri=True)) as source,
        contextlib.closing(sqlite3.connect(draft, isolation_level=None)) as copy,
    ):
        source.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")  # all is in the one file
        copy.execute("DELETE FROM artifact_parts")
        return [digest for prefix in garbage.PREFIXES for digest in sorted(garbage.pointed_to(copy, prefix))]


def _from_start(file: IO[bytes]) -> IO[bytes]:
    """The copy, read from its beginning once more; whoever reads it must not close it."""
    file.seek(0)
    return open(os.dup(file.fileno()), "rb")  # noqa: SIM115 - the caller closes it


routes = [Route("/backup", post, methods=["POST"])]
