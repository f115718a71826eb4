"""W&B's file stream: a running run posts its history, summary, events and console as lines with offsets.

An answer means that the lines are on disk. Whatever is wrong with a request is answered with 400 (403 for another
user's run, 404 where the run is gone, 410 where another copy of the trial has its lease): W&B's client repeats requests
that get a 5xx, and would repeat a bad one for hours.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse

from . import clock, fencing, limits, permissions, scheduler, shared_stream
from .storage import history, repeats, runs, trials
from .storage.plain_json import storable, strict_json

HISTORY = "wandb-history.jsonl"
SUMMARY = "wandb-summary.json"
EVENTS = "wandb-events.jsonl"
CONSOLE = "output.log"
_INLINE = 256 * 1024  # bytes that are parsed on the event loop, in 2 ms; more would hold up other requests


class BadStream(ValueError):
    """A request that is not what W&B's client sends; the message says why."""


@dataclass(frozen=True)
class Chunk:
    """Consecutive lines of one file."""

    offset: int
    lines: list[str]


@dataclass(frozen=True)
class Update:
    """One parsed request."""

    history: history.Lines | None = None
    summary: str | None = None
    others: dict[str, Chunk] = field(default_factory=dict)  # events and console
    preempting: bool = False
    exit_code: int | None = None  # given when the run is complete


async def post(request: Request) -> JSONResponse:
    """``POST /files/{entity}/{project}/{run}/file_stream``."""
    body = await limits.body(request, limits.STREAM_BYTES)
    try:
        update = parse(body) if len(body) < _INLINE else await run_in_threadpool(parse, body)
        stopped = await asyncio.wrap_future(
            request.app.state.database.submit(lambda conn: _keep(conn, request, update))
        )
    except (BadStream, history.BadLine) as error:
        return JSONResponse({"error": str(error)}, status_code=400)
    except fencing.Fenced as error:
        return JSONResponse({"error": str(error)}, status_code=410)
    if stopped is None:
        return JSONResponse({"error": "there is no such run"}, status_code=404)
    if update.exit_code is not None:
        path = request.path_params
        scheduler.of(request.app.state.database).run_ended(path["entity"], path["project"], path["run"])
    return JSONResponse({"limits": {}, "stopped": stopped})


def _keep(conn: sqlite3.Connection, request: Request, update: Update) -> bool | None:
    path = request.path_params
    permissions.check(conn, request.state.user, path["entity"])
    writer = shared_stream.writer(request)
    lease = fencing.lease_of(request)
    return apply(conn, path["entity"], path["project"], path["run"], update, writer, lease)


def parse(body: bytes) -> Update:
    """A request's body. Raises BadStream or BadLine."""
    try:
        given = _loads(body) if body else {}
    except (ValueError, RecursionError):
        raise BadStream("the body is not JSON") from None
    if not isinstance(given, dict):
        raise BadStream("the body is not a JSON object")
    files = {} if given.get("files") is None else given["files"]
    if not isinstance(files, dict):
        raise BadStream("files is not an object")
    chunks = {name: _chunk(name, files[name]) for name in (HISTORY, SUMMARY, EVENTS, CONSOLE) if name in files}
    return Update(
        history=_history(chunks.get(HISTORY)),
        summary=_summary(chunks.get(SUMMARY)),
        others={name: chunks[name] for name in (EVENTS, CONSOLE) if name in chunks},
        preempting=bool(given.get("preempting")),
        exit_code=_exit_code(given) if given.get("complete") else None,
    )


def _loads(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:  # a lone surrogate is JSON to the client, and not to orjson
        return json.loads(body)


def apply(
    conn: sqlite3.Connection,
    entity: str,
    project: str,
    name: str,
    update: Update,
    writer: str | None = None,
    lease: int | None = None,
) -> bool | None:
    """Keep what was sent; whether the run is asked to stop, or None when there is no such run.

    ``writer`` is the one of several that sends it, where a run has several; ``lease`` the number of the trial's lease
    that the client says it works under. Raises Fenced.
    """
    run = runs.by_path(conn, entity, project, name)
    if run is None:
        return None
    fencing.check(conn, run, lease)
    if update.history and writer is None:
        update = replace(update, history=fencing.received(conn, run, update.history, lease))
    streamed = _streamed(conn, run, update) if writer is None else shared_stream.add(conn, run, writer, update)
    columns: dict[str, Any] = {"heartbeat_at": clock.now(), **streamed}
    # A run that reports is alive, also one that was taken for crashed or was to be preempted.
    if update.exit_code is None and run["state"] not in {"finished", "failed", "killed"}:
        columns["state"] = "preempting" if update.preempting else _alive(run["state"])
    run = runs.update(conn, run["id"], **columns)
    if update.exit_code is not None:
        run = runs.end(conn, run, update.exit_code)
        trials.settle(conn, run)
    return bool(run["stop_requested"])


def _streamed(conn: sqlite3.Connection, run: sqlite3.Row, update: Update) -> dict[str, Any]:
    """Keep the lines; answers the run's columns that change with them."""
    columns: dict[str, Any] = {}
    if update.history:
        columns |= repeats.add_history(conn, run, update.history)
    if update.summary is not None:
        columns["summary"] = update.summary
    for file, add in ((EVENTS, history.add_events), (CONSOLE, history.add_console)):
        if chunk := update.others.get(file):
            columns |= add(conn, run, chunk.offset, chunk.lines)
    return columns


def _alive(state: str) -> str:
    return "preempting" if state == "preempting" else "running"


def _chunk(name: str, given: Any) -> Chunk:
    if not isinstance(given, dict):
        raise BadStream(f"{name} is not an object with offset and content")
    offset, content = given.get("offset", 0), given.get("content") or []
    if isinstance(offset, bool) or not isinstance(offset, int) or not 0 <= offset < 2**40:
        raise BadStream(f"{name}: the offset is no line number")
    if isinstance(content, str):
        content = [content]
    if not isinstance(content, list) or not all(isinstance(line, str) for line in content):
        raise BadStream(f"{name}: the content is no list of lines")
    return Chunk(offset, [storable(line) for line in content])


def _history(chunk: Chunk | None) -> history.Lines | None:
    return history.parse(chunk.lines, chunk.offset) if chunk and chunk.lines else None


def _summary(chunk: Chunk | None) -> str | None:
    if chunk is None or not chunk.lines:
        return None
    try:
        return strict_json(chunk.lines[-1])
    except (ValueError, RecursionError):
        raise BadStream(f"{SUMMARY}: the last line is not a JSON object") from None


def _exit_code(given: dict[str, Any]) -> int:
    code = given.get("exitcode", 0)
    if code is None:
        return 0
    if isinstance(code, bool) or not isinstance(code, int) or abs(code) >= 2**31:
        raise BadStream("exitcode is not a whole number")
    return code
