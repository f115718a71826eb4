"""The store's one SQLite file: many readers, one writer thread that commits for many requests at once.

Acknowledged means on disk. A request hands its change to the writer and is answered after the commit that holds
it (WAL, ``synchronous=FULL``); whatever else has arrived meanwhile shares that commit, so durability costs one
sync for many requests.
"""

from __future__ import annotations

import logging
import queue
import re
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from . import opening
from .opening import StoreError

__all__ = ["Change", "Database", "StoreError"]

T = TypeVar("T")
Change = Callable[[sqlite3.Connection], Any]

SEARCHED = 256  # characters of a text that a regular expression is tried on
_BATCH = 512  # changes in one commit at most, so that the first of them does not wait too long
_log = logging.getLogger(__name__)


class Database:
    """The store, opened. Close it to end the writer thread; what was queued before is still committed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._readers: dict[threading.Thread, sqlite3.Connection] = {}
        self._readers_lock = threading.Lock()
        self._queue: queue.SimpleQueue[tuple[Change, Future[Any]] | None] = queue.SimpleQueue()
        self._closed = False
        self._connection = _open(path)
        self._writer = threading.Thread(target=self._write_loop, name="store-writer", daemon=True)
        self._writer.start()

    def read(self) -> sqlite3.Connection:
        """This thread's connection for reading: rows as ``sqlite3.Row``, any attempt to write is refused."""
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = _connect(self.path)
            connection.execute("PRAGMA query_only = ON")
            connection.execute(f"PRAGMA cache_size = -{_READER_CACHE}")
            self._local.connection = connection
            self._keep_reader(connection)
        return connection

    def _keep_reader(self, connection: sqlite3.Connection) -> None:
        """Remember it for ``close``, and close those of threads that have ended: a server's workers come and go."""
        with self._readers_lock:
            for thread in [thread for thread in self._readers if not thread.is_alive()]:
                self._readers.pop(thread).close()
            self._readers[threading.current_thread()] = connection

    def submit(self, change: Callable[[sqlite3.Connection], T]) -> Future[T]:
        """Queue ``change``; the future is done when its commit is on disk, or holds what ``change`` raised."""
        future: Future[T] = Future()
        if self._closed:
            future.set_exception(StoreError("the store is closed"))
        else:
            self._queue.put((change, future))
        return future

    def write(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``change`` in the writer and return its result once it is on disk."""
        return self.submit(change).result()

    def close(self) -> None:
        """Commit what is queued, end the writer and close every connection."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        self._writer.join()
        with self._readers_lock:
            for reader in self._readers.values():
                reader.close()
        self._connection.close()

    def _write_loop(self) -> None:
        while (first := self._queue.get()) is not None:
            batch = [first]
            ended = False
            while len(batch) < _BATCH and not self._queue.empty():
                item = self._queue.get()
                if item is None:
                    ended = True
                    break
                batch.append(item)
            self._commit(batch)
            if ended:
                return

    def _commit(self, batch: list[tuple[Change, Future[Any]]]) -> None:
        connection = self._connection
        results: list[tuple[Future[Any], Any]] = []
        try:
            connection.execute("BEGIN IMMEDIATE")
            for change, future in batch:
                if not future.set_running_or_notify_cancel():
                    continue  # who asked for it has gone: a request that was cut off at the end of the server
                result = self._apply(change, future)
                if result is not _FAILED:
                    results.append((future, result))
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            _log.error("a commit failed: %s", error)
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            for _, future in batch:
                if not future.done():
                    future.set_exception(StoreError(f"the store could not be written: {error}"))
            return
        for future, result in results:
            future.set_result(result)

    def _apply(self, change: Change, future: Future[Any]) -> Any:
        """One change in a savepoint of its own, so that its failure leaves the others of the commit alone."""
        connection = self._connection
        connection.execute("SAVEPOINT change")
        try:
            result = change(connection)
        except Exception as error:
            if not connection.in_transaction:  # SQLite gave the whole transaction up (a full disk)
                raise sqlite3.OperationalError(str(error)) from error
            connection.execute("ROLLBACK TO change")
            connection.execute("RELEASE change")
            future.set_exception(error)
            return _FAILED
        connection.execute("RELEASE change")
        return result


_FAILED = object()
_CACHE = 8000  # KiB of pages that the writer keeps: of its indexes, which every commit needs again
_READER_CACHE = 1000  # KiB; each reader has its own, and what it has not, the system's page cache has


def _connect(path: Path) -> sqlite3.Connection:
    # A connection is closed by another thread than the one that used it, hence check_same_thread.
    connection = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA cache_size = -{_CACHE}")
    connection.create_function("regexp", 2, _regexp, deterministic=True)
    return connection


def _regexp(pattern: str, value: object) -> bool:
    """SQL's REGEXP. Patterns are checked before (``filters.check_pattern``); a bounded text bounds their time."""
    return isinstance(value, str) and re.search(pattern, value[:SEARCHED]) is not None


def _open(path: Path) -> sqlite3.Connection:
    new = opening.is_new(path)
    try:
        connection = _connect(path)
        if new:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # so that the file can shrink later, in steps
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        opening.prepare(connection, path)
    except sqlite3.Error as error:
        raise opening.told(error, path) from error
    return connection
