"""A backend of the fuzzers' own, and the one way in which they ask it: every answer is timed and looked at.

``SWEEPKIT_FUZZ`` is how many inputs each of the three kinds is tried with: the figures in docs/threat-model.md are of
10,000, CI sends fewer.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import sqlite3
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
from hypothesis import HealthCheck, settings
from sweepkit.backend import daemon
from sweepkit.home import Server

INPUTS = int(os.environ.get("SWEEPKIT_FUZZ", "400"))
IDLE_SECONDS = 30.0  # after that the backend may have closed the connection
SLOWEST = 2.0  # seconds for one answer
MOST_MEMORY = 1 << 30  # bytes of the process after everything

for _tests in (2, 4, 7):  # in one file: they share its inputs
    settings.register_profile(
        f"fuzz-{_tests}",
        max_examples=max(10, INPUTS // _tests),
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )


class Refused(Exception):
    """A mutation was answered with an error."""


class Target:
    """The backend under attack. What it says is checked here, so that no fuzzer can forget to."""

    def __init__(self, note: Server, home: Path) -> None:
        self.entity, self.pid, self.home = note.entity, note.pid, home
        self.slowest = 0.0
        self._documents = 0
        self._connection = http.client.HTTPConnection(urlsplit(note.url).netloc, timeout=20)
        self._used = time.monotonic()
        self._key = "Basic " + b64encode(f"api:{note.key}".encode()).decode()

    def send(self, method: str, path: str, body: bytes | None, **headers: str) -> tuple[int, str]:
        """One request with the key. Fails on a 5xx, on an internal error in an answer, and on a slow answer."""
        started = time.monotonic()
        if started - self._used > IDLE_SECONDS:
            self._connection.close()  # the next request opens it anew
        self._connection.request(method, path, body, {"Authorization": self._key, **headers})
        answer = self._connection.getresponse()
        text = answer.read().decode("utf-8")
        self._used = time.monotonic()
        took = self._used - started
        self.slowest = max(self.slowest, took)
        assert answer.status < 500, (answer.status, text)
        assert "internal error" not in text, text
        assert took < SLOWEST, f"{took:.1f} s"
        return answer.status, text

    def graphql(self, query: str, variables: Any) -> tuple[int, Any]:
        body = json.dumps({"query": query, "variables": variables, "operationName": ""})
        status, text = self.send("POST", "/graphql", body.encode(), **{"Content-Type": "application/json"})
        return status, json.loads(text)

    def keep_filled(self) -> None:
        """Mutations delete what they find: put it there again now and then, so that the next ones find something."""
        self._documents += 1
        if self._documents % 100 == 0:
            with contextlib.suppress(Refused):
                _fill(self)

    def mutate(self, name: str, kind: str, selection: str, /, **given: Any) -> Any:
        """A mutation that must succeed: what is there to be attacked."""
        status, answer = self.graphql(
            f"mutation ($input: {kind}!) {{ {name}(input: $input) {{ {selection} }} }}", {"input": given}
        )
        if status != 200 or answer.get("errors"):
            raise Refused(answer)
        return answer["data"][name]


@pytest.fixture(scope="package")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A backend with something in it; afterwards its store is whole, its log without failures, its memory bounded."""
    home = tmp_path_factory.mktemp("fuzz") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SWEEPKIT_HOME", str(home))
        attacked = Target(daemon.start(port=0), home)
        try:
            _fill(attacked)
            yield attacked
            status, _ = attacked.send("GET", "/healthz", None)
            memory = psutil.Process(attacked.pid).memory_info().rss
        finally:
            daemon.stop()
    print(f"slowest answer {attacked.slowest:.3f} s, memory {memory >> 20} MiB")
    assert status == 200
    assert memory < MOST_MEMORY
    with sqlite3.connect(home / "store.sqlite3") as store:
        assert store.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert "Traceback" not in (home / "server.log").read_text()


def _fill(target: Target) -> None:
    """A run with history, a sweep with an agent, a committed artifact without files."""
    where = {"entityName": target.entity, "projectName": "fuzz"}
    config = '{"lr": {"value": 0.1}}'
    target.mutate("upsertBucket", "UpsertBucketInput", "inserted", modelName="fuzz", name="r1", config=config)
    target.mutate("upsertBucket", "UpsertBucketInput", "inserted", modelName="fuzz", name="r2", tags=["a", "b"])
    lines = [json.dumps({"_step": n, "loss": 1 / (n + 1), "nested": {"x": n}}) for n in range(50)]
    stream = {"files": {"wandb-history.jsonl": {"offset": 0, "content": lines}}}
    target.send("POST", f"/files/{target.entity}/fuzz/r1/file_stream", json.dumps(stream).encode())
    space = "{method: random, metric: {name: loss}, parameters: {lr: {min: 0.0, max: 1.0}}}"
    sweep = target.mutate("upsertSweep", "UpsertSweepInput", "sweep { name }", config=space, **where)["sweep"]
    target.mutate("createAgent", "CreateAgentInput", "agent { id }", sweep=sweep["name"], host="h", **where)
    made = target.mutate(
        "createArtifact",
        "CreateArtifactInput",
        "artifact { id }",
        artifactTypeName="model",
        artifactCollectionName="model-1",
        digest="d",
        enableDigestDeduplication=False,
        runName="r1",
        **where,
    )["artifact"]
    manifest = target.mutate(
        "createArtifactManifest",
        "CreateArtifactManifestInput",
        "artifactManifest { file { uploadUrl } }",
        artifactID=made["id"],
        name="m",
        digest="",
        runName="r1",
        **where,
    )
    address = urlsplit(manifest["artifactManifest"]["file"]["uploadUrl"])
    target.send("PUT", f"{address.path}?{address.query}", b'{"version": 1, "contents": {}}')
    target.mutate("commitArtifact", "CommitArtifactInput", "artifact { id }", artifactID=made["id"])
