"""What the backend's tests share: a GraphQL client, plain HTTP, scripts with the real wandb client, a bare store."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import sys
import textwrap
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
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


@pytest.fixture
def script(wandb_env: dict[str, str]) -> Callable[..., Any]:
    """``script(code)``: run it with the real client in a process of its own; its last printed line, read as JSON."""

    def run(code: str, *arguments: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-c", "import json, sys, wandb\n" + textwrap.dedent(code), *arguments],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        lines = done.stdout.strip().splitlines()
        return json.loads(lines[-1]) if lines else None

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
