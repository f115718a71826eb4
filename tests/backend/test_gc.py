"""Garbage: what nothing needs goes, what anything needs stays, whoever uploads or commits at the same moment."""

from __future__ import annotations

import hashlib
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from sweepkit.backend import clock
from sweepkit.backend.admin import gc
from sweepkit.backend.storage import artifact_contents, artifacts, files, garbage, opening, projects, runs
from sweepkit.backend.storage.artifact_manifests import Entry, Whole
from sweepkit.backend.storage.artifact_writing import Draft, begin, commit
from sweepkit.backend.storage.blobs import Blob, Blobs
from sweepkit.backend.storage.database import Database

from ..conftest import RunningServer, start_server, stop_server

Make = Callable[..., Any]


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "blobs")


@pytest.fixture
def own(tmp_path: Path) -> Iterator[RunningServer]:
    """A backend of this test's own, which garbage of others does not disturb."""
    process, running = start_server(tmp_path / "own")
    yield running
    stop_server(process)


def _kept(blobs: Blobs, content: bytes) -> Blob:
    blob = blobs.add(content)
    with blobs.until_noted(blob):
        return blob


def _run(store: Database, name: str = "r") -> int:
    def make(conn: sqlite3.Connection) -> int:
        project = projects.ensure(conn, "e", "p")
        return int(runs.create(conn, project["id"], name, user="e")["id"])

    return store.write(make)


def _version(store: Database, blobs: Blobs, content: bytes, committed: bool = True, **given: Any) -> int:
    """A version with one file and a manifest, as uploads and a commit leave it."""
    body, manifest = _kept(blobs, content), _kept(blobs, b"manifest of " + content)

    def make(conn: sqlite3.Connection) -> int:
        project = projects.ensure(conn, "e", "p")["id"]
        row = begin(conn, Draft(project, "model", "m", hashlib.md5(content).hexdigest(), "e", **given))
        artifact_contents.put(conn, project, body)
        entry = Entry("f", body.md5, body.size, None, body.digest, None)
        if committed:
            commit(conn, row["id"], Whole((), (entry,), None, manifest))
        return int(row["id"])

    return store.write(make)


def _there(blobs: Blobs) -> set[str]:
    return {digest for prefix in garbage.PREFIXES for digest in blobs.digests(prefix)}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_every_column_with_a_digest_is_known() -> None:
    """A new column that points to blobs must be added to ``garbage``, or its blobs would be deleted."""
    schema = "\n".join(file.read_text() for file in sorted(opening.SCHEMA.glob("*.sql")))
    tables = re.findall(r"CREATE TABLE (\w+) \((.*?)\n\)", schema, flags=re.DOTALL)
    columns = {f"{table}.{name}" for table, body in tables for name in re.findall(r"^\s+(\w*digest\w*) ", body, re.M)}
    no_blobs = {"users.key_digest", "artifacts.digest"}
    assert columns - no_blobs == {f"{table}.digest" for table in (*garbage.CONTENTS, *garbage.PARTS)}


def test_what_only_a_deleted_run_needs_goes(store: Database, blobs: Blobs) -> None:
    one, two = _run(store, "one"), _run(store, "two")
    shared, alone = _kept(blobs, b"shared"), _kept(blobs, b"alone")
    store.write(lambda conn: [files.put_blob(conn, run, "f", shared) for run in (one, two)])
    store.write(lambda conn: files.put_blob(conn, one, "g", alone))
    assert gc.collect(store, blobs)["blobs"] == 0
    store.write(lambda conn: runs.delete(conn, one))
    assert gc.preview(store, blobs) == {"blobs": 1, "bytes": 5, "store_bytes": 0, "dry_run": True}
    assert _there(blobs) == {shared.digest, alone.digest}
    found = gc.collect(store, blobs)
    assert (found["blobs"], found["bytes"]) == (1, 5)
    assert _there(blobs) == {shared.digest}
    assert not list((blobs.path("x").parent.parent / "incoming").iterdir())


def test_versions_that_are_gone_take_their_contents_along(store: Database, blobs: Blobs) -> None:
    stays = _version(store, blobs, b"stays")
    deleted, expired = _version(store, blobs, b"deleted"), _version(store, blobs, b"expired")
    store.write(lambda conn: artifacts.delete(conn, deleted, with_aliases=True))
    store.write(lambda conn: conn.execute("UPDATE artifacts SET expires_at = ? WHERE id = ?", (clock.now(), expired)))
    preview, found = gc.preview(store, blobs), gc.collect(store, blobs)
    assert (preview["blobs"], preview["bytes"]) == (found["blobs"], found["bytes"])
    assert found["blobs"] == 4
    assert _there(blobs) == {_digest(b"stays"), _digest(b"manifest of stays")}
    assert artifacts.by_id(store.read(), stays)["state"] == "COMMITTED"
    again = _version(store, blobs, b"deleted")  # its content is not taken for known
    assert artifacts.by_id(store.read(), again)["state"] == "COMMITTED"
    assert gc.collect(store, blobs)["blobs"] == 0


def test_a_version_that_is_being_written_keeps_what_it_may_rely_on(store: Database, blobs: Blobs) -> None:
    old = _version(store, blobs, b"known content")
    store.write(lambda conn: artifacts.delete(conn, old, with_aliases=True))
    pending = _version(store, blobs, b"pending", committed=False)
    assert gc.collect(store, blobs)["blobs"] == 2  # the two manifests; a content may have been told to be known
    assert {_digest(b"known content"), _digest(b"pending")} <= _there(blobs)
    later = clock.ago(garbage.ABANDONED_SECONDS + 60)
    store.write(lambda conn: conn.execute("UPDATE artifacts SET created_at = ? WHERE id = ?", (later, pending)))
    run = _run(store)
    store.write(lambda conn: conn.execute("UPDATE runs SET state = 'running' WHERE id = ?", (run,)))
    output = "INSERT INTO artifact_outputs (run_id, artifact_id, created_at) VALUES (?, ?, '')"
    store.write(lambda conn: conn.execute(output, (run, pending)))
    assert gc.collect(store, blobs)["blobs"] == 0  # a run that lives may take its days over a version
    store.write(lambda conn: conn.execute("UPDATE runs SET state = 'crashed' WHERE id = ?", (run,)))
    assert gc.preview(store, blobs)["blobs"] == 2
    assert gc.collect(store, blobs)["blobs"] == 2
    assert artifacts.by_id(store.read(), pending)["state"] == "DELETED"
    assert _there(blobs) == set()


def test_parts_of_uploads_that_nobody_completes_go(store: Database, blobs: Blobs) -> None:
    pending = _version(store, blobs, b"large", committed=False)
    parts = artifact_contents.parts_store(blobs)
    part = _kept(parts, b"part")
    store.write(lambda conn: artifact_contents.put_part(conn, pending, "md5", 1, part))
    gc.collect(store, blobs)
    assert parts.path(part.digest).exists()
    store.write(lambda conn: artifacts.delete(conn, pending, with_aliases=True))
    assert gc.preview(store, blobs)["blobs"] == gc.collect(store, blobs)["blobs"] == 2
    assert not parts.path(part.digest).exists()


def test_an_upload_between_its_content_and_its_row_is_held(store: Database, blobs: Blobs) -> None:
    _kept(blobs, b"there since long")
    run = _run(store)
    blob = blobs.add(b"there since long")  # found to be there, nothing points to it yet
    with blobs.until_noted(blob):
        assert gc.collect(store, blobs)["blobs"] == 0
        store.write(lambda conn: files.put_blob(conn, run, "f", blob))
    assert gc.collect(store, blobs)["blobs"] == 0
    store.write(lambda conn: files.delete(conn, run, "f"))
    assert gc.collect(store, blobs)["blobs"] == 1


def test_nothing_goes_for_a_deletion_that_is_not_on_disk_yet(store: Database, blobs: Blobs) -> None:
    """The deletion and the look for garbage share a commit, which may still fail: the content stays until the next."""
    run = _run(store)
    blob = _kept(blobs, b"needed")
    store.write(lambda conn: files.put_blob(conn, run, "f", blob))
    begun, gate = threading.Event(), threading.Event()
    first = store.submit(lambda conn: begun.set() or gate.wait(5))
    begun.wait(5)  # what is submitted now shares the next commit
    deletion = store.submit(lambda conn: files.delete(conn, run, "f"))
    collector = threading.Thread(target=lambda: garbage.drop(store, blobs, [blob.digest]))
    collector.start()
    while store._queue.qsize() < 2 and collector.is_alive():
        time.sleep(0.001)
    gate.set()
    first.result(5), deletion.result(5), collector.join(5)
    assert blobs.path(blob.digest).exists()
    assert gc.collect(store, blobs)["blobs"] == 1


def test_uploads_and_deletions_race_with_collections(store: Database, blobs: Blobs) -> None:
    """The same few contents come and go in several runs at once; whatever has a row has its content."""
    names = [_run(store, f"r{n}") for n in range(3)]
    over = threading.Event()
    wrong: list[str] = []

    def work(run: int) -> None:
        for n in range(150):
            content = b"content %d" % (n % 4)
            blob = blobs.add(content)
            with blobs.until_noted(blob):
                store.write(lambda conn, blob=blob: files.put_blob(conn, run, "f", blob))
            if not blobs.path(blob.digest).exists():
                wrong.append(blob.digest)
            store.write(lambda conn: files.delete(conn, run, "f"))

    def collect() -> None:
        while not over.is_set():
            for prefix in {_digest(b"content %d" % n)[:2] for n in range(4)}:
                garbage.drop(store, blobs, blobs.digests(prefix))

    collector = threading.Thread(target=collect)
    collector.start()
    workers = [threading.Thread(target=work, args=(run,)) for run in names]
    [worker.start() for worker in workers]
    [worker.join() for worker in workers]
    over.set(), collector.join()
    assert wrong == []


def test_the_database_gives_its_space_back(store: Database, blobs: Blobs, tmp_path: Path) -> None:
    run = _run(store)
    insert = "INSERT INTO console (run_id, line, text) VALUES (?, ?, ?)"
    store.write(lambda conn: conn.executemany(insert, [(run, n, "x" * 1000) for n in range(5000)]))
    gc.shrink(store)
    store.write(lambda conn: runs.delete(conn, run))
    freed = gc.collect(store, blobs)["store_bytes"]
    assert freed > 4_000_000
    assert (tmp_path / "store.sqlite3").stat().st_size < 1_000_000
    assert store.read().execute("PRAGMA integrity_check").fetchone()[0] == "ok"


def test_deleting_with_the_client_and_collecting_by_command(
    own: RunningServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: Make
) -> None:
    for name, value in own.environment().items():
        monkeypatch.setenv(name, value)
    script("""
        import pathlib
        for name, text in (("goes", "g" * 99999), ("stays", "s" * 9999)):
            pathlib.Path(f"{name}.bin").write_text(text); pathlib.Path(f"{name}.txt").write_text(text + "!")
            with wandb.init(project="gc", id=name) as run:
                artifact = wandb.Artifact(name, "model"); artifact.add_file(f"{name}.bin")
                run.log_artifact(artifact).wait(); run.save(f"{name}.txt")
        wandb.Api().run("gc/goes").delete(delete_artifacts=True)
    """)
    from ..test_cli import sweepkit

    answer = sweepkit("gc", "--dry-run", "--format", "value").stdout
    assert int(answer) > 2 * 99999
    assert sweepkit("gc", "--format", "value").stdout == answer
    assert sweepkit("gc", "--format", "value").stdout == "0\n"
    assert "freed" in sweepkit("gc").stdout
    read = script("""
        run = wandb.Api().run("gc/stays")
        folder = wandb.Api().artifact("gc/stays:v0").download()
        print(json.dumps([open(f"{folder}/stays.bin").read(), run.file("stays.txt").download("d").read()]))
    """)
    assert read == ["s" * 9999, "s" * 9999 + "!"]


def test_one_collection_at_a_time(own: RunningServer) -> None:
    answers: list[int] = []

    def ask() -> None:
        answers.append(requests.post(f"{own.url}/admin/gc", auth=("api", own.key), timeout=30).status_code)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert set(answers) <= {200, 409} and 200 in answers
