"""``/admin/gc``: give the space back that deleted runs, files and versions took."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ..storage import artifact_contents, garbage
from ..storage.blobs import Blobs
from ..storage.database import Database, StoreError

_CONTENTS = 100  # looked at and moved away in one change
_PAGES = 200  # given back in one change
BUSY = "a backup or a collection is at work; try again when it is done"


async def post(request: Request) -> Response:
    """Collect, or with ``dry_run=1`` only say what would be. 409 while a backup or another collection is at work."""
    state = request.app.state
    if not state.keeping.acquire(blocking=False):
        return JSONResponse({"error": BUSY}, status_code=409)
    try:
        work = preview if request.query_params.get("dry_run") == "1" else collect
        return JSONResponse(await run_in_threadpool(work, state.database, state.blobs))
    finally:
        state.keeping.release()


def preview(database: Database, blobs: Blobs) -> dict[str, Any]:
    """What ``collect`` would find now; nothing is changed."""
    parts = artifact_contents.parts_store(blobs)
    found = garbage.Found()
    for prefix in garbage.PREFIXES:
        conn = database.read()
        found += _sizes(blobs, set(blobs.digests(prefix)) - garbage.needed(conn, prefix))
        found += _sizes(parts, set(parts.digests(prefix)) - garbage.needed_parts(conn, prefix))
    return {**asdict(found), "store_bytes": 0, "dry_run": True}


def collect(database: Database, blobs: Blobs) -> dict[str, Any]:
    """Delete what nothing needs: ``blobs`` and their ``bytes``, and the ``store_bytes`` that the database gave back."""
    found = garbage.Found()
    try:
        garbage.forget(database)
    except StoreError:  # a full disk takes no more rows: what is loose already makes room for them
        found = _sweep_all(database, blobs)
        garbage.forget(database)
    found += _sweep_all(database, blobs)
    return {**asdict(found), "store_bytes": shrink(database), "dry_run": False}


def _sweep_all(database: Database, blobs: Blobs) -> garbage.Found:
    parts = artifact_contents.parts_store(blobs)
    return _sweep(database, blobs, garbage.CONTENTS) + _sweep(database, parts, garbage.PARTS)


def _sweep(database: Database, blobs: Blobs, tables: tuple[str, ...]) -> garbage.Found:
    found = garbage.Found()
    for prefix in garbage.PREFIXES:
        here = blobs.digests(prefix)
        loose = sorted(set(here) - garbage.pointed_to(database.read(), prefix, tables)) if here else []
        for first in range(0, len(loose), _CONTENTS):
            found += garbage.drop(database, blobs, loose[first : first + _CONTENTS], tables)
    return found


def _sizes(blobs: Blobs, digests: Iterable[str]) -> garbage.Found:
    files = [blobs.path(digest) for digest in digests]
    sizes = [file.stat().st_size for file in files if file.exists()]
    return garbage.Found(len(sizes), sum(sizes))


def shrink(database: Database) -> int:
    """Give the database file's free pages back to the disk, in steps; how many bytes."""

    def step(conn: sqlite3.Connection) -> int:
        for _ in range(_PAGES):  # each execution frees one page
            conn.execute("PRAGMA incremental_vacuum")
        return int(conn.execute("PRAGMA freelist_count").fetchone()[0])

    size = int(database.read().execute("PRAGMA page_size").fetchone()[0])
    free = before = _free_pages(database.read())
    while free and (left := database.write(step)) < free:
        free = left
    if free < before:
        _checkpoint(database.path)
    return (before - free) * size


def _free_pages(conn: sqlite3.Connection) -> int:
    return int(conn.execute("PRAGMA freelist_count").fetchone()[0])


def _checkpoint(store: Path) -> None:
    """The file itself becomes shorter when the log is written back; where readers are in the way, later."""
    with closing(sqlite3.connect(store, timeout=2)) as conn:
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


routes = [Route("/gc", post, methods=["POST"])]
