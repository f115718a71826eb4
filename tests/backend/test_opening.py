"""Stores of every released version open; what is damaged, newer or another program's is told, and left alone."""

from __future__ import annotations

import base64
import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests
from sweepkit.backend.storage import opening, projects, runs
from sweepkit.backend.storage.database import Database, StoreError

STORES = sorted((Path(__file__).parent / "stores").glob("v*.json"))
Make = Callable[..., Any]


def _filled(path: Path, lines: int = 3000) -> None:
    store = Database(path)

    def fill(conn: sqlite3.Connection) -> None:
        project = projects.ensure(conn, "e", "p")["id"]
        run = runs.create(conn, project, "r", user="e")["id"]
        text = "INSERT INTO console (run_id, line, text) VALUES (?, ?, ?)"
        conn.executemany(text, [(run, line, "x" * 100) for line in range(lines)])

    store.write(fill)
    store.close()


# --- versions


def test_every_released_version_has_a_store_here() -> None:
    assert [file.stem for file in STORES] == [f"v{version}" for version in range(1, opening.newest() + 1)]


def test_a_change_of_the_tables_is_a_version_of_its_own(tmp_path: Path) -> None:
    """Tables that differ from those of the newest store here need a migration (before a release: write it anew)."""
    Database(tmp_path / "new.sqlite3").close()
    made = "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name"
    with closing(sqlite3.connect(tmp_path / "new.sqlite3")) as new, closing(sqlite3.connect(":memory:")) as kept:
        kept.executescript("\n".join(json.loads(STORES[-1].read_text())["dump"]))
        assert new.execute(made).fetchall() == kept.execute(made).fetchall()


@pytest.mark.parametrize("kept", STORES, ids=lambda file: file.stem)
def test_a_store_of_a_released_version_opens_and_answers(kept: Path, tmp_path: Path, launch: Make) -> None:
    store, home = json.loads(kept.read_text()), tmp_path / "home"
    for digest, content in store["blobs"].items():
        blob = home / "blobs" / digest[:2] / digest
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(base64.b64decode(content))
    (home / "account.json").write_text(json.dumps(store["account"]))
    with closing(sqlite3.connect(home / "store.sqlite3")) as conn:
        conn.executescript("\n".join(store["dump"]) + f"\nPRAGMA user_version = {store['version']};")
    server = launch()
    code = """if True:
        import json, wandb
        api = wandb.Api()
        run, user = api.run("old/kept"), api.run("old/user")
        rows = list(run.scan_history())
        sweep = api.project("old").sweeps()[0]
        artifact = api.artifact("old/model:best")
        file = artifact.get_entry("model.bin").download("down")
        with wandb.init(project="old", id="kept", resume="must") as going:
            going.log({"loss": 0.0})
        print(json.dumps([run.state, run.name, run.tags, run.config["lr"], len(rows), rows[29]["loss"],
            run.file("notes.txt").download("down").read(), artifact.version, artifact.metadata, open(file).read(),
            [used.name for used in user.used_artifacts()],
            api.artifact("old/portfolio:latest").digest == artifact.digest,
            [trial.config["lr"] for trial in sweep.runs], sweep.state, len(list(api.run("old/kept").scan_history()))]))
    """
    variables = {
        "WANDB_BASE_URL": server.url,
        "WANDB_API_KEY": server.key,
        "WANDB_SILENT": "true",
        "HOME": str(tmp_path),
    }
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, **variables}, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [
        "finished", "a run", ["t"], 0.5, 30, 1 / 30, "noted", "v0", {"k": 1}, "weights", ["model:v0"], True, [0.1],
        "RUNNING", 31,
    ]  # fmt: skip


@pytest.fixture
def next_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A version after the newest, as one more file among the migrations."""
    folder = tmp_path / "migrations"
    folder.mkdir()
    for file in opening.MIGRATIONS.glob("*.sql"):
        (folder / file.name).write_text(file.read_text())
    monkeypatch.setattr(opening, "MIGRATIONS", folder)
    return folder / f"{opening.newest() + 1:02d}_next.sql"


def test_an_old_store_is_brought_up_and_a_copy_is_kept(tmp_path: Path, next_version: Path) -> None:
    path, old = tmp_path / "store.sqlite3", opening.newest()
    _filled(path)
    # A table is made anew, as SQLite wants it for most changes, while rows of others point to it.
    next_version.write_text("""
        CREATE TABLE new_projects (id INTEGER PRIMARY KEY, entity TEXT NOT NULL, name TEXT NOT NULL,
            description TEXT NOT NULL DEFAULT '', created_at TEXT NOT NULL, starred INTEGER NOT NULL DEFAULT 7,
            UNIQUE (entity, name));
        INSERT INTO new_projects (id, entity, name, description, created_at) SELECT * FROM projects;
        DROP TABLE projects;
        ALTER TABLE new_projects RENAME TO projects;
    """)
    store = Database(path)
    project = projects.find(store.read(), "e", "p")
    assert project is not None and project["starred"] == 7
    assert runs.by_path(store.read(), "e", "p", "r") is not None
    assert store.read().execute("PRAGMA user_version").fetchone()[0] == old + 1
    store.close()
    with closing(sqlite3.connect(tmp_path / f"store.sqlite3.v{old}")) as copy:
        assert copy.execute("PRAGMA user_version").fetchone()[0] == old
        assert copy.execute("SELECT count(*) FROM console").fetchone()[0] == 3000
    Database(tmp_path / "new.sqlite3").close()  # a new one takes the same way
    with closing(sqlite3.connect(tmp_path / "new.sqlite3")) as new, closing(sqlite3.connect(path)) as brought:
        made = "SELECT name FROM sqlite_schema ORDER BY name"
        assert new.execute(made).fetchall() == brought.execute(made).fetchall()


@pytest.mark.parametrize("script", ["CREATE TABLE half (x); SELECT nonsense;", "DELETE FROM projects;"])
def test_a_step_that_fails_changes_nothing(tmp_path: Path, next_version: Path, script: str) -> None:
    path, old = tmp_path / "store.sqlite3", opening.newest()
    _filled(path)
    next_version.write_text(script)
    with pytest.raises(StoreError):
        Database(path)
    next_version.unlink()
    store = Database(path)
    assert store.read().execute("PRAGMA user_version").fetchone()[0] == old
    assert projects.find(store.read(), "e", "p") is not None
    assert store.read().execute("SELECT count(*) FROM sqlite_schema WHERE name = 'half'").fetchone()[0] == 0
    store.close()


def test_a_store_of_a_newer_sweepkit_is_left_alone(tmp_path: Path, next_version: Path) -> None:
    path = tmp_path / "store.sqlite3"
    next_version.write_text("CREATE TABLE later (x);")
    _filled(path)
    next_version.unlink()
    with pytest.raises(StoreError, match="newer sweepkit") as caught:
        Database(path)
    assert "upgrade" in caught.value.hint


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("CREATE TABLE theirs (x)")
        conn.commit()
    with pytest.raises(StoreError, match="another program's"):
        Database(path)
    with closing(sqlite3.connect(path)) as conn:
        assert [row[0] for row in conn.execute("SELECT name FROM sqlite_schema")] == ["theirs"]


# --- damage


def _cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _zeroed(content: bytes) -> bytes:
    page = len(content) // 2 // 4096 * 4096
    return content[:page] + bytes(4096) + content[page + 4096 :]


def _scribbled(content: bytes) -> bytes:
    return content[:4096] + b"\xa5" * (len(content) - 4096)


def _garbage(content: bytes) -> bytes:
    return b"this is no database at all" * 99


def _headed(content: bytes) -> bytes:
    return content[:16] + b"\xff" * 5000


@pytest.mark.parametrize("spoil", [_cut, _zeroed, _scribbled, _garbage, _headed, lambda content: content[:50]])
def test_a_damaged_store_is_told_with_what_to_do_and_left_alone(tmp_path: Path, spoil: Make) -> None:
    path = tmp_path / "home" / "store.sqlite3"
    path.parent.mkdir()
    _filled(path)
    spoilt = spoil(path.read_bytes())
    path.write_bytes(spoilt)
    command = [sys.executable, "-m", "sweepkit.backend", "--home", str(path.parent), "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stderr
    said = done.stderr.splitlines()
    assert re.match(f"error: .*{path} is damaged: ", said[0]), said
    assert said[1].startswith("hint: put a backup in its place with `sweepkit restore FILE --force`")
    assert "Traceback" not in done.stderr
    assert path.read_bytes() == spoilt


def test_an_empty_file_and_a_lost_log_are_no_damage(tmp_path: Path) -> None:
    """What was never written back from the log is lost with it; the rest is whole."""
    path = tmp_path / "store.sqlite3"
    path.touch()
    _filled(path)
    store = Database(path)
    store.write(lambda conn: projects.ensure(conn, "e", "in the log only"))
    with closing(sqlite3.connect(tmp_path / "copy.sqlite3")) as _:
        (tmp_path / "copy.sqlite3").write_bytes(path.read_bytes())
    store.close()
    copy = Database(tmp_path / "copy.sqlite3")
    assert projects.find(copy.read(), "e", "p") is not None
    assert copy.read().execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    copy.close()


def test_damage_that_is_met_while_running_is_503_and_no_end(tmp_path: Path, launch: Make) -> None:
    home = tmp_path / "home"
    home.mkdir()
    _filled(home / "store.sqlite3", lines=20000)
    server = launch()
    content = (home / "store.sqlite3").read_bytes()
    with (home / "store.sqlite3").open("r+b") as file:  # all but the first tables' pages
        file.seek(len(content) // 10)
        file.write(b"\xa5" * (len(content) - len(content) // 10))
    query = """{ project(name: "p", entityName: "e") { run(name: "r") { logLines(first: 20000) {
        edges { node { line } } } } } }"""
    answer = server.post("/graphql", {"query": query})
    assert answer.status_code == 503, answer.text
    assert requests.get(f"{server.url}/healthz", auth=("api", server.key), timeout=10).status_code in (200, 503)
    assert server.process.poll() is None
    log = (tmp_path / "home.log").read_text()
    assert "malformed" in log or "damaged" in log
