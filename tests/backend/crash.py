"""The crash harness: kill the backend at random moments under load, and hold it to all that it acknowledged.

    python tests/backend/crash.py --kills 200 --seed 7

Clients that stream rows, upload files, claim configurations, delete runs and collect garbage, and real wandb clients
go on through all of it. The backend is killed with SIGKILL, at times while it starts, and started again on the same
port. In the end every acknowledged row, configuration, file and artifact must be there, every blob must have the
content of its name, SQLite's own check must find nothing, and no draft of an upload may be left. Prints one line of
JSON; the exit code is 1 where anything is missing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from crash_clients import PROJECT, row

CLIENTS = Path(__file__).with_name("crash_clients.py")
LOAD = ("rows", "rows", "files", "files", "garbage", "sweeps", "wandb")
START_SECONDS = 60.0


class Backend:
    """The process that is killed."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.log = home.parent / "backend.log"
        self.port = 0
        self.starts = 0
        self.note: dict[str, Any] = {}

    def spawn(self) -> None:
        environment = {**os.environ, "SWEEPKIT_HOME": str(self.home)}
        command = [sys.executable, "-m", "sweepkit.backend", "--home", str(self.home), "--port", str(self.port)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        self.starts += 1

    def ready(self) -> None:
        """Wait until it listens."""
        deadline = time.monotonic() + START_SECONDS
        while self.process.poll() is None and time.monotonic() < deadline:
            with suppress(OSError, ValueError):
                self.note = json.loads((self.home / "server.json").read_text())
                if self.note["pid"] == self.process.pid:
                    self.port = int(self.note["url"].rsplit(":", 1)[1])
                    return
            time.sleep(0.02)
        raise AssertionError(f"the backend does not start: {self.log.read_text()[-3000:]}")

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=60)


def kill_again_and_again(backend: Backend, kills: int, source: random.Random) -> None:
    """Kill at a random moment after it listens; one time in eight already while it starts."""
    for _ in range(kills):
        if source.random() < 0.125:
            time.sleep(source.uniform(0, 1.5))
        else:
            backend.ready()
            time.sleep(source.uniform(0, 2.0))
        backend.kill()
        backend.spawn()
    backend.ready()


def run(folder: Path, kills: int, seed: int, load: tuple[str, ...]) -> dict[str, Any]:
    """The whole: load, kills, a calm end, and the comparison. Answers the figures, with all that was missing."""
    backend = Backend(folder / "home")
    backend.spawn()
    backend.ready()
    begun = time.monotonic()
    notes = [folder / f"{number}.json" for number in range(len(load))]
    clients = [start_client(backend, kind, number, seed, notes[number]) for number, kind in enumerate(load)]
    try:
        time.sleep(3)  # real clients take a moment until their first request
        kill_again_and_again(backend, kills, random.Random(seed))
        for client in clients:
            client.stdin.close()  # type: ignore[union-attr]
        failed = [load[number] for number, client in enumerate(clients) if client.wait(timeout=300) != 0]
    finally:
        for client in clients:
            client.kill()
    backend.stop()
    told = merged([json.loads(note.read_text()) for note in notes if note.exists()])
    missing = [f"a client of kind {kind} gave up" for kind in failed]
    missing += list(check_store(backend.home, told))
    figures = {
        "kills": kills, "seed": seed, "seconds": round(time.monotonic() - begun), "starts": backend.starts,
        "requests_repeated": told["repeated"], "runs": len(told["runs"]), "collected": told["collected"],
        "rows": sum(run["rows"] for run in told["runs"].values()), "artifacts": len(told["artifacts"]),
        "files": sum(map(len, told["files"].values())), "claims": sum(map(len, told["claims"].values())),
    }  # fmt: skip
    return {**figures, "missing": missing}


def start_client(backend: Backend, kind: str, number: int, seed: int, notes: Path) -> subprocess.Popen[bytes]:
    note = backend.note
    given = [kind, str(number), str(seed), note["url"], note["key"], note["entity"], str(notes)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    environment = {
        **kept, "WANDB_BASE_URL": note["url"], "WANDB_API_KEY": note["key"], "WANDB_ENTITY": note["entity"],
        "WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false", "WANDB_CONSOLE": "off",
    }  # fmt: skip
    folder = notes.with_suffix("")
    folder.mkdir()
    command = [sys.executable, str(CLIENTS), *given]
    return subprocess.Popen(command, stdin=subprocess.PIPE, env=environment, cwd=folder)


def merged(notes: list[dict[str, Any]]) -> dict[str, Any]:
    """What all clients together were told."""
    told: dict[str, Any] = {"runs": {}, "files": {}, "claims": {}, "artifacts": {}, "deleted": []}
    for note in notes:
        for kind in ("runs", "files", "claims", "artifacts"):
            told[kind] |= note.get(kind, {})
        told["deleted"] += note.get("deleted", [])
    told["repeated"] = sum(note["repeated"] for note in notes)
    told["collected"] = sum(note.get("collected", 0) for note in notes)
    return told


def check_store(home: Path, told: dict[str, Any]) -> Iterator[str]:
    """All that was acknowledged and is not there, or is not what it was; and all that should not be there."""
    with closing(sqlite3.connect(f"file:{home / 'store.sqlite3'}?mode=ro", uri=True)) as conn:
        conn.row_factory = sqlite3.Row
        for check in ("integrity_check", "foreign_key_check"):
            found = [tuple(line) for line in conn.execute(f"PRAGMA {check}")]
            if found not in ([], [("ok",)]):
                yield f"{check}: {found[:5]}"
        yield from check_runs(conn, told)
        yield from check_files(conn, told)
        yield from check_claims(conn, told)
        yield from check_blobs(conn, home / "blobs")


def run_row(conn: sqlite3.Connection, name: str) -> sqlite3.Row | None:
    query = "SELECT r.* FROM runs r JOIN projects p ON p.id = r.project_id WHERE p.name = ? AND r.name = ?"
    found: sqlite3.Row | None = conn.execute(query, (PROJECT, name)).fetchone()
    return found


def check_runs(conn: sqlite3.Connection, told: dict[str, Any]) -> Iterator[str]:
    for name, expected in told["runs"].items():
        found = run_row(conn, name)
        if found is None:
            yield f"run {name}"
            continue
        config = json.loads(found["config"])
        if any(config.get(key) != value for key, value in expected["config"].items()):
            yield f"the configuration of {name}: {config}"
        if expected["ended"] and found["state"] != "finished":
            yield f"the end of {name}: it is {found['state']}"
        lines = conn.execute("SELECT row FROM history WHERE run_id = ? ORDER BY line", (found["id"],)).fetchall()
        texts = [json.loads(line["row"]) for line in lines]
        for step in range(expected["rows"]):
            want = json.loads(row(name, step))
            if step >= len(texts) or {key: texts[step].get(key) for key in want} != want:
                yield f"row {step} of {name}"
    for name in told["deleted"]:
        if run_row(conn, name) is not None:
            yield f"run {name} is there, and its deletion was acknowledged"


def check_files(conn: sqlite3.Connection, told: dict[str, Any]) -> Iterator[str]:
    for name, kept in told["files"].items():
        found = run_row(conn, name)
        there = conn.execute("SELECT name, digest FROM files WHERE run_id = ?", (found["id"] if found else -1,))
        digests = {file["name"]: file["digest"] for file in there}
        yield from (f"file {file} of {name}" for file, digest in kept.items() if digests.get(file) != digest)
    for version, digest in told["artifacts"].items():
        name, _, number = version.partition(":v")
        query = """SELECT e.digest FROM artifact_entries e JOIN artifact_memberships m ON m.artifact_id = e.artifact_id
            JOIN artifact_collections c ON c.id = m.collection_id WHERE c.name = ? AND m.version_index = ?"""
        if [line["digest"] for line in conn.execute(query, (name, int(number)))] != [digest]:
            yield f"artifact {version}"


def check_claims(conn: sqlite3.Connection, told: dict[str, Any]) -> Iterator[str]:
    for sweep, claims in told["claims"].items():
        query = """SELECT r.name, r.state, t.configuration FROM trials t JOIN runs r ON r.id = t.run_id
            JOIN sweeps s ON s.id = t.sweep_id WHERE s.name = ?"""
        trials = conn.execute(query, (sweep,)).fetchall()
        twice = [text for text, times in Counter(trial["configuration"] for trial in trials).items() if times > 1]
        yield from (f"sweep {sweep} tries {text} twice" for text in twice)
        states = {trial["name"]: trial["state"] for trial in trials}
        for run, x in claims.items():
            if states.get(run) != "finished":
                yield f"the trial {run} of sweep {sweep}: {states.get(run)}"
            found = run_row(conn, run)
            if found is None or json.loads(found["config"]).get("x", {}).get("value") != x:
                yield f"the configuration of the trial {run}"


def check_blobs(conn: sqlite3.Connection, blobs: Path) -> Iterator[str]:
    tables = ("files", "artifact_contents", "artifact_entries", "artifact_manifests")
    query = " UNION ".join(f"SELECT digest FROM {table} WHERE digest IS NOT NULL" for table in tables)
    for (digest,) in conn.execute(query):
        file = blobs / digest[:2] / digest
        if not file.exists() or hashlib.sha256(file.read_bytes()).hexdigest() != digest:
            yield f"the content {digest}"
    yield from (f"the draft {draft.name}" for draft in (blobs / "incoming").iterdir())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--folder", type=Path, help="where the store and the log are kept; else a temporary folder")
    parser.add_argument("--load", default=",".join(LOAD), help="kinds of clients, one for each")
    options = parser.parse_args()
    print(f"seed {options.seed}", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        found = run(folder, options.kills, options.seed, tuple(options.load.split(",")))
    print(json.dumps(found))
    return 1 if found["missing"] else 0


if __name__ == "__main__":
    sys.exit(main())
