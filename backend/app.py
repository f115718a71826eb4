"""The ASGI app: routes and middleware, nothing else."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio.to_thread
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, Router
from starlette.types import Receive, Scope, Send

from . import access, answers, artifact_files, filestream, limits, login, serve_graphql, silence, transfer
from .admin import routes as admin
from .graphql import schema
from .permissions import Denied
from .storage import agents, runs, trials
from .storage.blobs import Blobs
from .storage.database import Database
from .storage.opening import StoreError, is_damage, told
from .tokens import Signer, secret_at

CRASH_VARIABLE = "SWEEPKIT_CRASH_AFTER"
CRASH_SECONDS = 300.0  # as W&B: five minutes without a sign of life
THREADS = 8
_log = logging.getLogger(__name__)


def create(folder: Path) -> Starlette:
    """The app on the data folder, which must be there. Raises StoreError when the store cannot be opened."""
    schema()  # a resolver that does not fit its types stops the start, not a request
    database = Database(folder / "store.sqlite3")
    signer = Signer(secret_at(folder / "secret"))
    guard = Middleware(access.Access, database=database, signer=signer, hosts=access.allowed_hosts())
    app = Starlette(
        routes=_routes(),
        middleware=[Middleware(answers.Answers), guard],
        exception_handlers=_HANDLERS,
        lifespan=_lifespan,
    )
    app.state.database = database
    app.state.blobs = Blobs(folder / "blobs")
    app.state.signer = signer
    app.state.ending = False  # set when the server was told to stop
    app.state.keeping = threading.Lock()  # held by what may not work beside another: a backup, a collection
    return app


def _routes() -> list[Route | Mount]:
    return [
        Route("/healthz", _healthz, methods=["GET"]),
        Route("/graphql", serve_graphql.post, methods=["POST"]),
        Route("/files/{entity}/{project}/{run}/file_stream", filestream.post, methods=["POST"]),
        *transfer.routes,
        *artifact_files.routes,
        *login.routes,
        *admin.routes,
        Mount("/", app=_Pages()),
    ]


async def _healthz(request: Request) -> JSONResponse:
    """Alive, not about to end, and able to read its store."""
    if request.app.state.ending:
        return JSONResponse({"status": "ending", "pid": os.getpid()}, status_code=503)
    await run_in_threadpool(lambda: request.app.state.database.read().execute("SELECT 1 FROM users").fetchone())
    return JSONResponse({"status": "ok", "pid": os.getpid()})


class _Pages:
    """The web pages, imported when the first is asked for: a server that only serves trials never pays for them."""

    def __init__(self) -> None:
        self._router: Router | None = None
        self._lock = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._lock:
            if self._router is None:
                self._router = await run_in_threadpool(self._load)
        await self._router(scope, receive, send)

    @staticmethod
    def _load() -> Router:
        from . import pages

        return Router(pages.routes)


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
    database = app.state.database
    watches = (
        asyncio.create_task(silence.listening.watch(lambda: database.submit(agents.forget_future))),
        asyncio.create_task(_watch_silence(database)),
    )
    yield
    for watch in watches:
        watch.cancel()
    await run_in_threadpool(app.state.database.close)


async def _watch_silence(database: Database) -> None:
    """Mark runs as crashed that stopped reporting; those whose agents saw them end, as soon as an agent would be lost.

    And give up the trials of lost agents that were tried often enough.
    """
    patience = float(os.environ.get(CRASH_VARIABLE) or CRASH_SECONDS)
    before, lost = silence.listening.before, silence.lost_after()

    def look(conn: sqlite3.Connection) -> None:
        runs.mark_silent(conn, before(patience), before(min(patience, lost)))
        trials.give_up(conn, before(lost))

    while True:
        try:
            await asyncio.wrap_future(database.submit(look))
        except StoreError as error:
            _log.warning("silent runs could not be marked: %s", error)
        await asyncio.sleep(min(patience / 4, 15))


def _too_much(request: Request, error: Exception) -> Response:
    status = error.status if isinstance(error, limits.TooMuch) else 413
    return JSONResponse({"error": str(error), "errors": [{"message": str(error)}]}, status_code=status)


def _store_failed(request: Request, error: Exception) -> Response:
    """The client tries again after a 5xx: what it wanted to say is not lost when there is room again."""
    said = {"error": str(error), "hint": getattr(error, "hint", None), "errors": [{"message": str(error)}]}
    return JSONResponse(said, status_code=503)


def _denied(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error), "errors": [{"message": str(error)}]}, status_code=403)


def _database_failed(request: Request, error: Exception) -> Response:
    """A damaged file, or a disk that cannot be read: told, logged, and asked to be tried again."""
    failure = told(error, request.app.state.database.path)  # type: ignore[arg-type]
    _log.error("%s; %s", failure, failure.hint)
    return _store_failed(request, failure)


def _http(request: Request, error: Exception) -> Response:
    status, detail = (error.status_code, error.detail) if isinstance(error, HTTPException) else (500, "internal error")
    return JSONResponse({"error": detail}, status_code=status)


def _unexpected(request: Request, error: Exception) -> Response:
    if isinstance(error, sqlite3.OperationalError) or is_damage(error):
        return _database_failed(request, error)
    raise error


_HANDLERS = {
    limits.TooMuch: _too_much,
    StoreError: _store_failed,
    Denied: _denied,
    sqlite3.DatabaseError: _unexpected,
    HTTPException: _http,
}
