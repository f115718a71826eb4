"""A backup is one whole moment of a working backend; a restore checks it first, and loses nothing when it is killed."""

from __future__ import annotations

import io
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests
from sweepkit.backend import daemon
from sweepkit.backend.backup import archive, client, swap
from sweepkit.backend.storage import files, projects, runs
from sweepkit.backend.storage.blobs import Blobs
from sweepkit.backend.storage.database import Database
from sweepkit.errors import SweepkitError, UsageError

from ..test_cli import sweepkit

Make = Callable[..., Any]
UPSERT = "mutation ($input: UpsertBucketInput!) { upsertBucket(input: $input) { bucket { id } } }"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A data folder of this test's own; no backend is left behind."""
    monkeypatch.setenv("SWEEPKIT_HOME", str(tmp_path / "home"))
    yield tmp_path / "home"
    daemon.stop()


def _post(path: str, body: Any) -> requests.Response:
    server = daemon.find()
    assert server is not None
    return requests.post(server.url + path.format(server.entity), json=body, auth=("api", server.key), timeout=30)


def _run(name: str, rows: int = 3) -> None:
    given = {"modelName": "p", "name": name}
    assert _post("/graphql", {"query": UPSERT, "variables": {"input": given}}).status_code == 200
    lines = [json.dumps({"_step": step}) for step in range(rows)]
    body = {"files": {"wandb-history.jsonl": {"offset": 0, "content": lines}}}
    assert _post(f"/files/{{}}/p/{name}/file_stream", body).status_code == 200
    server = daemon.find()
    assert server is not None
    address = f"{server.url}/files/{server.entity}/p/{name}/f.bin"
    assert requests.put(address, data=name * 1000, auth=("api", server.key), timeout=30).status_code == 204


def _names(store: Path) -> list[str]:
    with closing(sqlite3.connect(store)) as conn:
        assert conn.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        return [row[0] for row in conn.execute("SELECT name FROM runs ORDER BY name")]


def _served(name: str) -> bytes:
    server = daemon.find()
    assert server is not None
    return requests.get(
        f"{server.url}/files/{server.entity}/p/{name}/f.bin", auth=("api", server.key), timeout=30
    ).content


def test_there_and_back_by_command(folder: Path, tmp_path: Path) -> None:
    server = daemon.start()
    _run("before")
    file = tmp_path / "b.tar"
    made = json.loads(sweepkit("backup", str(file), "--format", "json").stdout)
    assert (made["blobs"], made["missing"], made["bytes"]) == (1, [], file.stat().st_size)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    refused = sweepkit("backup", str(file), code=2).stderr
    assert "is there already" in refused and "--force" in refused
    _run("after")
    assert "--force" in sweepkit("restore", str(file), code=2).stderr
    done = json.loads(sweepkit("restore", str(file), "--force", "--format", "json").stdout)
    assert done["url"] == server.url  # on the port that it had: clients find it again
    assert _served("before") == b"before" * 1000
    assert _names(folder / "store.sqlite3") == ["before"]
    assert _names(Path(done["former"]) / "store.sqlite3") == ["after", "before"]
    assert not (folder / swap.NEW).exists() and not (folder / swap.NOTE).exists()
    sweepkit("backup", str(file), "--force")
    assert [path.name for path in tmp_path.glob("b.tar*")] == ["b.tar"]


def test_a_machine_without_a_store_gets_all_of_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = daemon.start().key
    _run("r")
    sweepkit("backup", str(tmp_path / "b.tar"))
    daemon.stop()
    monkeypatch.setenv("SWEEPKIT_HOME", str(tmp_path / "elsewhere"))
    try:
        done = client.restore(tmp_path / "b.tar", force=False)
        assert (done.server.key, done.former) == (key, None)
        assert _served("r") == b"r" * 1000
        assert not list((tmp_path / "elsewhere").glob("former-*"))
    finally:
        daemon.stop()


def test_a_backup_is_one_moment_while_everybody_goes_on(folder: Path, tmp_path: Path) -> None:
    """Each run's row and file come one after the other; a backup that has the file's row has its content."""
    server = daemon.start()
    over = threading.Event()

    def work(number: int) -> None:
        count = 0
        while not over.is_set():
            _run(f"r{number}-{count}")
            requests.post(f"{server.url}/admin/gc", auth=("api", server.key), timeout=30)
            count += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    [thread.start() for thread in threads]
    try:
        for number in range(4):
            file = tmp_path / f"{number}.tar"
            head = client.save(server, file, force=False)
            assert head["missing"] == []
            archive.unpack(file, tmp_path / f"out{number}")
            client._check(file, tmp_path / f"out{number}", head)
    except UsageError as error:
        assert "is at work" in error.message  # a collection was: a command that is repeated
    finally:
        over.set()
        [thread.join() for thread in threads]


def test_a_real_client_goes_on_through_a_backup_and_a_restore(folder: Path, tmp_path: Path) -> None:
    server = daemon.start()
    code = """if True:
        import sys, time, wandb
        run = wandb.init(project="live", id="live")
        run.log({"x": 0}); print("begun", flush=True)
        sys.stdin.readline()
        for n in range(1, 60):
            run.log({"x": n}); time.sleep(0.05)
        run.finish()
    """
    points = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": server.key, "WANDB_SILENT": "true"}
    script = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, **points}, stdin=-1, stdout=-1, text=True
    )
    assert script.stdin and script.stdout
    assert script.stdout.readline() == "begun\n"
    client.save(server, tmp_path / "b.tar", force=False)
    script.stdin.write("go on\n"), script.stdin.flush()
    client.restore(tmp_path / "b.tar", force=True)
    assert script.wait(timeout=100) == 0
    with closing(sqlite3.connect(folder / "store.sqlite3")) as conn:
        state, lines = conn.execute("SELECT state, history_lines FROM runs WHERE name = 'live'").fetchone()
        last = conn.execute("SELECT max(step) FROM history").fetchone()[0]
    assert (state, last) == ("finished", 59)
    assert lines == 60


# --- what is refused


@pytest.fixture
def backup(folder: Path, tmp_path: Path) -> Path:
    """A backup of a store with one run and one file; no backend runs."""
    server = daemon.start()
    _run("r")
    client.save(server, tmp_path / "good.tar", force=False)
    daemon.stop()
    return tmp_path / "good.tar"


def _members(file: Path) -> list[tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(file) as tar:
        return [(info, tar.extractfile(info).read()) for info in tar]  # type: ignore[union-attr]


def _written(file: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    with tarfile.open(file, "w") as tar:
        for info, content in members:
            if info.isreg():
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return file


def _named(name: str, kind: bytes = tarfile.REGTYPE, to: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return info


def _flipped(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def _spoilt_blob(members: Any) -> Any:
    return [*members[:-1], (members[-1][0], _flipped(members[-1][1]))]


def _spoilt_store(members: Any) -> Any:
    return [(info, _flipped(content) if info.name == archive.STORE else content) for info, content in members]


def _other_head(**changes: Any) -> Make:
    def change(members: Any) -> Any:
        head = {**json.loads(members[0][1]), **changes}
        return [(members[0][0], json.dumps(head).encode()), *members[1:]]

    return change


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_spoilt_blob, "SHA-256"),
        (_spoilt_store, "SHA-256"),
        (lambda members: members[:-1], "it ends early"),
        (lambda members: [*members, members[-1]], "twice"),
        (lambda members: members[1:], "no backup of sweepkit"),
        (lambda members: [*members, (_named("../escaped"), b"x")], "does not belong"),
        (lambda members: [*members, (_named("/tmp/escaped"), b"x")], "does not belong"),
        (lambda members: [*members, (_named("blobs/../../escaped"), b"x")], "does not belong"),
        (lambda members: [*members, (_named("server.json"), b"x")], "does not belong"),
        (lambda members: [*members, (_named("blobs/" + "a" * 64, tarfile.SYMTYPE, "/etc/passwd"), b"")], "belong"),
        (lambda members: [(_named("secret", tarfile.SYMTYPE, "/etc/passwd"), b""), *members], "no backup"),
        (_other_head(format=2), "format 2"),
        (_other_head(files={}), "backup.json cannot be read"),
        (_other_head(blobs=7), "ends early"),
    ],
)
def test_what_is_no_whole_backup_is_refused_and_nothing_changes(backup: Path, spoil: Make, said: str) -> None:
    bad = _written(backup.with_name("bad.tar"), spoil(_members(backup)))
    home = backup.parent / "home"
    before = sorted(path.name for path in home.iterdir())
    with pytest.raises(UsageError, match=said):
        client.restore(bad, force=True)
    assert sorted({*(path.name for path in home.iterdir())} - {"restore.lock"}) == before
    assert _names(home / "store.sqlite3") == ["r"]
    assert not list(backup.parent.rglob("escaped")) and not Path("/tmp/escaped").exists()


@pytest.mark.parametrize("content", [b"", b"nonsense" * 1000])
def test_a_file_that_is_none_is_refused(folder: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "b.tar").write_bytes(content)
    with pytest.raises(UsageError, match="no backup"):
        client.restore(tmp_path / "b.tar", force=False)
    with pytest.raises(UsageError, match="there is no file"):
        client.restore(tmp_path / "none.tar", force=False)


def test_a_cut_off_backup_is_refused(backup: Path) -> None:
    content = backup.read_bytes()
    backup.write_bytes(content[: len(content) // 2])
    with pytest.raises(UsageError, match="damaged"):
        client.restore(backup, force=True)


def test_a_backup_of_a_store_that_does_not_hold_what_it_names(backup: Path) -> None:
    """The hashes are right, and the database is not: it is looked into as well."""
    members = _members(backup)
    name = members[-1][0].name
    head = {**json.loads(members[0][1]), "blobs": 0}
    bad = _written(backup.with_name("bad.tar"), [(members[0][0], json.dumps(head).encode()), *members[1:-1]])
    with pytest.raises(UsageError, match="contents that the store needs"):
        client.restore(bad, force=True)
    head["missing"] = [name.removeprefix("blobs/")]  # what was lost before the backup was made hinders no restore
    _written(bad, [(members[0][0], json.dumps(head).encode()), *members[1:-1]])
    assert client.restore(bad, force=True).former is not None


def test_a_backup_that_breaks_off_leaves_the_file_that_was_there(folder: Path, tmp_path: Path) -> None:
    server = daemon.start()
    _run("r")
    blob = next(file for file in (folder / "blobs").rglob("*") if len(file.name) == 64)
    os.truncate(blob, 2**32)  # a large content (of holes), so that there is a middle to break off in
    target, draft = tmp_path / "b.tar", tmp_path / "b.tar.part"
    target.write_text("the old one")

    def end() -> None:
        while not draft.exists() or draft.stat().st_size < 2**20:
            time.sleep(0.001)
        os.kill(server.pid, signal.SIGKILL)

    killer = threading.Thread(target=end)
    killer.start()
    with pytest.raises(SweepkitError, match="broke off"):
        client.save(server, target, force=True)
    killer.join()
    assert target.read_text() == "the old one"
    assert not draft.exists()


def test_a_content_that_is_shorter_than_it_was_ends_the_backup() -> None:
    with pytest.raises(OSError, match="3 bytes shorter"):
        list(archive.pieces([archive.Member("secret", 5, lambda: io.BytesIO(b"ab"))]))


def test_places_that_cannot_be_written_are_told(folder: Path, tmp_path: Path) -> None:
    server = daemon.start()
    for place in (tmp_path, tmp_path / "none" / "b.tar", Path("/proc/b.tar")):
        with pytest.raises(UsageError, match="is there already|cannot write"):
            client.save(server, place, force=True)


# --- killed


KILLED = """
import os, signal, sys
from pathlib import Path
from sweepkit.backend.backup import swap
folder, left = Path(sys.argv[1]), int(sys.argv[2])
def counted(move):
    def go(*given, **named):
        global left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return move(*given, **named)
    return go
for name in ("rename", "replace", "mkdir", "unlink"):
    setattr(Path, name, counted(getattr(Path, name)))
swap.decide(folder, "former")
swap.finish(folder)
print("done")
"""


def _store(folder: Path, name: str) -> None:
    folder.mkdir(parents=True)
    database, blobs = Database(folder / archive.STORE), Blobs(folder / "blobs")
    blob = blobs.add(name.encode())

    def fill(conn: sqlite3.Connection) -> None:
        run = runs.create(conn, projects.ensure(conn, "e", "p")["id"], name, user="e")
        files.put_blob(conn, run["id"], "f", blob)

    database.write(fill)
    database.close()
    for file in archive.KEPT:
        (folder / file).write_text(name)


def _is_whole(folder: Path) -> str:
    """The name of the store that is there with all that belongs to it."""
    (name,) = _names(folder / archive.STORE)
    with closing(sqlite3.connect(folder / archive.STORE)) as conn:
        (digest,) = conn.execute("SELECT digest FROM files").fetchone()
    assert Blobs(folder / "blobs").path(digest).read_bytes() == name.encode()
    assert {(folder / file).read_text() for file in archive.KEPT} == {name}
    return name


def test_a_swap_killed_at_any_step_leaves_one_store_whole(tmp_path: Path) -> None:
    outcomes = []
    for step in range(100):
        folder = tmp_path / str(step)
        _store(folder, "old"), _store(folder / swap.NEW, "new")
        (folder / "store.sqlite3-wal").write_bytes(b"")  # as a backend leaves it that was killed
        done = subprocess.run([sys.executable, "-c", KILLED, str(folder), str(step)], capture_output=True, text=True)
        swap.finish(folder)  # what the next start does first
        outcomes.append(_is_whole(folder))
        if outcomes[-1] == "new":
            assert _is_whole(folder / "former") == "old"
        if done.stdout:
            break
        assert done.returncode == -signal.SIGKILL
    assert "done" in done.stdout
    assert outcomes == sorted(outcomes, reverse=True) and set(outcomes) == {"old", "new"}
    assert len(outcomes) > 10


def test_a_restore_killed_at_any_moment_leaves_one_store_that_works(backup: Path) -> None:
    home = backup.parent / "home"
    daemon.start()
    _run("later")
    daemon.stop()
    seen = set()
    for delay in (0.05, 0.25, 0.3, 0.35, 0.4, 0.5, 0.8, 1.2):
        command = [sys.executable, "-m", "sweepkit", "restore", str(backup), "--force"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(timeout=delay)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        daemon.start()
        assert _served("r") == b"r" * 1000
        names = tuple(_names(home / "store.sqlite3"))
        assert names in (("r",), ("later", "r"))
        seen.add(names)
    done = client.restore(backup, force=True)
    assert _names(home / "store.sqlite3") == ["r"] and done.former is not None
    assert not (home / swap.NEW).exists()
