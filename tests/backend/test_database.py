"""Acknowledged is durable; one bad change harms no other; a full disk and a broken file are told in one message."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import wait
from pathlib import Path

import pytest
from sweepkit.backend.storage import projects
from sweepkit.backend.storage.database import Database, StoreError

WRITER = """
import os, sys, threading
from pathlib import Path
from sweepkit.backend.storage import projects
from sweepkit.backend.storage.database import Database
store, begin = Database(Path(sys.argv[1])), int(sys.argv[2])
def work(thread):
    for n in range(100000):
        name = f"{begin}-{thread}-{n}"
        store.write(lambda conn: projects.ensure(conn, "e", name))
        os.write(1, (name + "\\n").encode())
for thread in range(4):
    threading.Thread(target=work, args=(thread,)).start()
"""


def test_what_was_acknowledged_survives_sigkill(tmp_path: Path) -> None:
    path, random_source = tmp_path / "store.sqlite3", random.Random(7)
    acknowledged: set[str] = set()
    for attempt in range(6):
        command = [sys.executable, "-c", WRITER, str(path), str(attempt)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(random_source.uniform(0, 0.2))
        os.kill(process.pid, signal.SIGKILL)
        rest = process.stdout.read()
        process.wait()
        acknowledged |= {line for line in (first + rest).split("\n")[:-1] if line}
    store = Database(path)
    there = {row["name"] for row in store.read().execute("SELECT name FROM projects")}
    assert store.read().execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    store.close()
    assert len(acknowledged) > 6
    assert acknowledged <= there


def test_many_changes_share_commits(store: Database) -> None:
    futures = [store.submit(lambda conn, n=n: projects.ensure(conn, "e", f"p{n}")["name"]) for n in range(1000)]
    wait(futures, timeout=30)
    assert [future.result() for future in futures] == [f"p{n}" for n in range(1000)]


def test_a_failing_change_leaves_the_others_of_its_commit_alone(store: Database) -> None:
    gate = threading.Event()
    first = store.submit(lambda conn: gate.wait(5))  # so that the next three share a commit

    def broken(conn: sqlite3.Connection) -> None:
        projects.ensure(conn, "e", "half-done")
        raise ValueError("no")

    good, bad, also_good = (
        store.submit(lambda conn: projects.ensure(conn, "e", "one")),
        store.submit(broken),
        store.submit(lambda conn: projects.ensure(conn, "e", "two")),
    )
    gate.set()
    first.result(5), good.result(5), also_good.result(5)
    with pytest.raises(ValueError, match="no"):
        bad.result(5)
    names = [row["name"] for row in store.read().execute("SELECT name FROM projects ORDER BY name")]
    assert names == ["one", "two"]


def test_a_change_whose_asker_has_gone_holds_up_nobody(store: Database) -> None:
    begun, gate = threading.Event(), threading.Event()
    first = store.submit(lambda conn: begun.set() or gate.wait(5))
    begun.wait(5)
    given_up = store.submit(lambda conn: projects.ensure(conn, "e", "given up"))
    assert given_up.cancel()
    last = store.submit(lambda conn: projects.ensure(conn, "e", "last"))
    gate.set()
    assert first.result(5) and last.result(5)["name"] == "last"
    assert projects.find(store.read(), "e", "given up") is None


def test_readers_cannot_write(store: Database) -> None:
    with pytest.raises(sqlite3.OperationalError):
        store.read().execute("DELETE FROM projects")


def test_a_full_disk_fails_what_did_not_fit_and_keeps_what_did(store: Database) -> None:
    store.write(lambda conn: projects.ensure(conn, "e", "before"))
    # SQLite's own limit raises the very error of a full disk, in the middle of a change.
    store._connection.execute(f"PRAGMA max_page_count = {_pages(store) + 2}")
    with pytest.raises(StoreError, match="full"):
        for n in range(1000):
            store.write(
                lambda conn, n=n: projects.describe(conn, projects.ensure(conn, "e", f"p{n}")["id"], "x" * 9999)
            )
    store._connection.execute("PRAGMA max_page_count = 1000000")
    store.write(lambda conn: projects.ensure(conn, "e", "after"))
    assert projects.find(store.read(), "e", "before") and projects.find(store.read(), "e", "after")


def _pages(store: Database) -> int:
    return int(store._connection.execute("PRAGMA page_count").fetchone()[0])


def test_connections_of_ended_threads_are_closed(store: Database) -> None:
    for _ in range(20):
        thread = threading.Thread(target=store.read)
        thread.start()
        thread.join()
    store.read()
    assert len(store._readers) <= 2


def test_close_commits_what_is_queued_and_refuses_more(tmp_path: Path) -> None:
    store = Database(tmp_path / "s.sqlite3")
    futures = [store.submit(lambda conn, n=n: projects.ensure(conn, "e", f"p{n}")) for n in range(50)]
    store.close()
    assert all(future.done() and future.exception() is None for future in futures)
    with pytest.raises(StoreError, match="closed"):
        store.write(lambda conn: None)
