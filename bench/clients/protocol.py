"""Rows over W&B's protocol, as wandb-core sends them: chunks of lines to the file stream. Only the standard library."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import turn


def prepare(url: str, key: str, entity: str, project: str, run: str, rows: int, chunk: int) -> Callable[[], int]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=120)
    headers = {"Authorization": "Basic " + base64.b64encode(f"api:{key}".encode()).decode()}

    def post(path: str, body: bytes) -> None:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status == 200, text

    made = {"query": _UPSERT, "variables": {"project": project, "run": run}}
    post("/graphql", json.dumps(made).encode())
    bodies = [
        _body(first, min(chunk, rows - first)) for first in range(0, rows, chunk)
    ]  # so that only sending is timed

    def work() -> int:
        for body in bodies:
            post(f"/files/{entity}/{project}/{run}/file_stream", body)
        return rows

    return work


_UPSERT = """mutation ($project: String!, $run: String!) {
    upsertBucket(input: {modelName: $project, name: $run}) { bucket { id } } }"""


def _body(first: int, count: int) -> bytes:
    lines = [json.dumps(_line(n), separators=(",", ":")) for n in range(first, first + count)]
    files: dict[str, Any] = {"wandb-history.jsonl": {"offset": first, "content": lines}}
    files["wandb-summary.json"] = {"offset": 0, "content": [lines[-1]]}
    return json.dumps({"files": files}).encode()


def _line(n: int) -> dict[str, float]:
    return {**turn.metrics(n), "_step": n, "_runtime": n * 0.01, "_timestamp": 1.7e9 + n * 0.01}


if __name__ == "__main__":
    turn.take(prepare)
