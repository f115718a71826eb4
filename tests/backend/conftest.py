"""What the backend's tests share: a GraphQL client, plain HTTP, scripts with the real wandb client, a bare store."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import sqlite3
import subprocess
import sys
import textwrap
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from sweepkit.backend import clock
from sweepkit.backend.storage import projects, runs, sweeps
from sweepkit.backend.storage.database import Database

Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def ask(server: Any) -> Ask:
    """``ask(document, status=200, **variables)``: the whole JSON answer of a GraphQL request with the key."""

    def post(query: str, status: int = 200, **variables: Any) -> dict[str, Any]:
        answer = requests.post(
            f"{server.url}/graphql",
            json={"query": query, "variables": variables, "operationName": ""},
            auth=("api", server.key),
            timeout=30,
        )
        assert answer.status_code == status, answer.text
        body: dict[str, Any] = answer.json()
        return body

    return post


@pytest.fixture
def upsert(ask: Ask) -> Callable[..., dict[str, Any]]:
    """``upsert(modelName=..., name=..., ...)``: the run after UpsertBucket."""
    document = """mutation ($input: UpsertBucketInput!) { upsertBucket(input: $input) { inserted bucket {
        id name displayName state config tags sweepName historyLineCount project { name entity { name } } } } }"""

    def make(**given: Any) -> dict[str, Any]:
        answer: dict[str, Any] = ask(document, input=given)["data"]["upsertBucket"]
        return {**answer["bucket"], "inserted": answer["inserted"]}

    return make


@pytest.fixture
def stream(server: Any) -> Callable[..., requests.Response]:
    """``stream(project, run, body)``: one request of the file stream."""

    def post(project: str, run: str, body: Any, **headers: str) -> requests.Response:
        url = f"{server.url}/files/{server.entity}/{project}/{run}/file_stream"
        data = body if isinstance(body, bytes) else json.dumps(body)
        return requests.post(url, data=data, auth=("api", server.key), headers=headers, timeout=30)

    return post


def own_environment(**variables: str) -> dict[str, str]:
    """That of a process with a wandb-core of its own, not one that works in this process and its folder."""
    return {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"} | variables


@pytest.fixture
def script(wandb_env: dict[str, str]) -> Callable[..., Any]:
    """``script(code)``: run it with the real client in a process of its own; its last printed line, read as JSON."""

    def run(code: str, *arguments: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-c", "import json, sys, wandb\n" + textwrap.dedent(code), *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            env=own_environment(),
        )
        assert done.returncode == 0, done.stdout + done.stderr
        lines = done.stdout.strip().splitlines()
        return json.loads(lines[-1]) if lines else None

    return run


@pytest.fixture
def wandb_command(wandb_env: dict[str, str], tmp_path: Path) -> Callable[..., str]:
    """``wandb_command("sync", ...)``: what the command line of the real client prints; it must exit with ``code``.

    Its own folders for settings and caches: a command may write there, and no developer's may be read. `python` is
    the one that runs the tests: W&B's agent looks for it on the PATH.
    """
    folders = {name: str(tmp_path / name.lower()) for name in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR")}

    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def run(*arguments: str, code: int = 0, cwd: Path = tmp_path, **variables: str) -> str:
        environment = own_environment(**folders, PATH=path, **{"WANDB_SILENT": "false", **variables})
        command = [sys.executable, "-m", "wandb", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=150, cwd=cwd, env=environment)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


@pytest.fixture
def raw(server: Any) -> Callable[..., tuple[int, dict[str, str], str]]:
    """``raw(method, path, headers, body, key=True)``: one request exactly as written, the answer's status and text."""

    def send(
        method: str, path: str, headers: dict[str, str] | None = None, body: str | None = None, key: bool = True
    ) -> tuple[int, dict[str, str], str]:
        connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=30)
        given = dict(headers or {})
        if key:
            given["Authorization"] = "Basic " + b64encode(f"api:{server.key}".encode()).decode()
        connection.request(method, path, body=body, headers=given)
        answer = connection.getresponse()
        text = answer.read().decode("utf-8", "replace")
        connection.close()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, text

    return send


class Launched:
    """A backend process of one test's own, to be killed and started again."""

    def __init__(self, home: Path, **variables: str) -> None:
        self.home = home
        self._log = home.parent / f"{home.name}.log"
        environment = {**os.environ, "SWEEPKIT_HOME": str(home), **variables}
        command = [sys.executable, "-m", "sweepkit.backend", "--home", str(home), "--port", "0"]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        note = self._note()
        self.url, self.key, self.entity = note["url"], note["key"], note["entity"]

    def _note(self) -> dict[str, Any]:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(OSError, ValueError):
                note: dict[str, Any] = json.loads((self.home / "server.json").read_text())
                if note["pid"] == self.process.pid:
                    return note
            time.sleep(0.02)
        raise AssertionError(self._log.read_text())

    def post(self, path: str, body: Any) -> requests.Response:
        return requests.post(self.url + path, json=body, auth=("api", self.key), timeout=30)

    def ask(self, query: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.post("/graphql", {"query": query}).json()["data"]
        return answer


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., Launched]]:
    """``launch(**environment)``: a backend process on this test's own data folder; all are ended afterwards."""
    launched: list[Launched] = []

    def start(**variables: str) -> Launched:
        launched.append(Launched(tmp_path / "home", **variables))
        return launched[-1]

    yield start
    for server in launched:
        server.process.kill()
        server.process.wait()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Database]:
    """An empty store of this test's own."""
    database = Database(tmp_path / "store.sqlite3")
    yield database
    database.close()


@dataclass(frozen=True)
class ManyRuns:
    """A backend with a project of 10,000 runs, and the runs as plain Python has them."""

    server: Launched
    project: str
    rows: list[dict[str, Any]]


@pytest.fixture(scope="session")
def many_runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ManyRuns]:
    """10,000 runs of 20 sweeps, made through the store's own functions before its server starts (2 seconds)."""
    home = tmp_path_factory.mktemp("many") / "home"
    home.mkdir(mode=0o700)
    database = Database(home / "store.sqlite3")
    rows = database.write(lambda conn: _fill(conn, "many", 10_000))
    database.close()
    server = Launched(home)
    yield ManyRuns(server, "lab/many", rows)
    server.process.kill()
    server.process.wait()


def _fill(conn: sqlite3.Connection, project: str, number: int) -> list[dict[str, Any]]:
    place = projects.ensure(conn, "lab", project)["id"]
    made = [sweeps.create(conn, place, user="lab", method="random", config=SWEEP) for _ in range(20)]
    rows = [_plain_run(n, random.Random(n)) for n in range(number)]
    for n, row in enumerate(rows):
        row["sweep"] = made[n % 20]["name"] if n % 3 else None
        row["duration"] = float(n % 4000)
        columns = {key: row[key] for key in ("display_name", "state", "job_type", "created_at", "heartbeat_at", "user")}
        runs.create(
            conn,
            place,
            row["name"],
            config=json.dumps({key: {"value": value} for key, value in row["config"].items()}),
            summary=json.dumps(row["summary"]),
            tags=json.dumps(row["tags"]),
            group_name=row["group"],
            sweep_id=made[n % 20]["id"] if n % 3 else None,
            **columns,
        )
    return rows


SWEEP = "method: random\nmetric: {name: loss}\nparameters: {lr: {min: 0.0, max: 1.0}}\n"


def _plain_run(n: int, chance: random.Random) -> dict[str, Any]:
    """A run with a configuration of 8 keys and a summary of 12, some missing, null or of another type."""
    config = {"lr": chance.random(), "batch": chance.choice([16, 32, 64, "64", None]), "seed": n, "flag": n % 2 == 0}
    config |= {"model": {"name": chance.choice(["mlp", "cnn"]), "width": n % 5}, "epochs": 10, "layers": [64] * (n % 3)}
    config |= {"opt.name": chance.choice(["sgd", "adam"])}
    summary = {f"metric_{k}": chance.random() for k in range(8)}
    summary |= {"loss": chance.choice([chance.random(), "NaN"]), "val": {"acc": n % 100 / 100}, "_step": n % 7}
    summary |= {"note": "é"}
    for values in (config, summary):
        if chance.random() < 0.2:
            del values[chance.choice(list(values))]
    created = clock.text(clock.parse("2026-01-01") + timedelta(seconds=7 * (n // 2)))  # each time twice
    return {
        "name": f"r{n:05d}",
        "display_name": f"{chance.choice(['Apple', 'berry', 'cherry'])}-{n % 1000}",
        "state": chance.choice(["finished", "finished", "failed", "crashed", "killed"]),
        "group": chance.choice([None, "g1", "g2", "10"]),
        "job_type": chance.choice([None, "train"]),
        "user": chance.choice(["ann", "ben"]),
        "tags": chance.sample(["base", "odd", "best"], chance.randint(0, 3)),
        "created_at": created,
        "heartbeat_at": clock.text(clock.parse(created) + timedelta(seconds=n % 4000)),
        "config": config,
        "summary": summary,
    }
