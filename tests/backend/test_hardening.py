"""What every answer carries, what the data folder lets others see, and documents made to exhaust the server."""

from __future__ import annotations

import asyncio
import json
import os
import re
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from sweepkit.backend import pages
from sweepkit.backend.answers import PROTECTION, Answers
from sweepkit.backend.search import settings
from sweepkit.backend.storage import plain_json

from .test_access import ALL

Raw = Callable[..., tuple[int, dict[str, str], str]]
Ask = Callable[..., dict[str, Any]]


@pytest.mark.parametrize("key", [True, False], ids=["key", "no key"])
@pytest.mark.parametrize(("method", "path"), [*ALL, ("GET", "/healthz/"), ("PATCH", "/"), ("POST", "/files/a/b/c/d")])
def test_every_answer_carries_the_protective_headers(raw: Raw, method: str, path: str, key: bool) -> None:
    status, headers, text = raw(method, re.sub(r"\{[^}]*\}", "1", path), key=key)
    assert status < 500, text
    assert set(PROTECTION) <= set(headers)
    assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    scripts = re.search(r"script-src ([^;]*)", policy)
    assert scripts is None or scripts[1].split() == ["'self'"]
    assert "access-control-allow-origin" not in headers and "server" not in headers
    assert "public" not in headers["cache-control"]


def test_an_unexpected_failure_carries_them_too() -> None:
    async def broken(*_: Any) -> None:
        raise RuntimeError("a secret")

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    asyncio.run(Answers(broken)(scope, None, send))  # type: ignore[arg-type]
    assert sent[0]["status"] == 500 and b"secret" not in sent[1]["body"]
    assert set(PROTECTION) <= {name.decode() for name, _ in sent[0]["headers"]}


def _modes(folder: Path) -> dict[str, int]:
    found = [folder, *folder.rglob("*")]
    return {str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode) for path in found}


def test_a_folder_that_was_open_to_others_is_closed(tmp_path: Path) -> None:
    """It existed with other modes, and the umask lets everybody in: what the backend makes is its owner's only."""
    home = tmp_path / "home"
    home.mkdir(mode=0o777)
    home.chmod(0o777)
    code = """
import os, sys
os.umask(0)
from sweepkit.backend import daemon
server = daemon.start(port=0)
import requests
answer = requests.put(server.url + f"/files/{server.entity}/p/r/f", data=b"x", auth=("api", server.key), timeout=30)
body = {"query": 'mutation { upsertBucket(input: {modelName: "p", name: "r"}) { inserted } }'}
requests.post(server.url + "/graphql", json=body, auth=("api", server.key), timeout=30).raise_for_status()
answer = requests.put(server.url + f"/files/{server.entity}/p/r/f", data=b"x", auth=("api", server.key), timeout=30)
assert answer.status_code == 204
input()
daemon.stop()
"""
    environment = {**os.environ, "SWEEPKIT_HOME": str(home)}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stdin=subprocess.PIPE) as process:
        deadline = time.monotonic() + 40
        blobs = home / "blobs"
        while not any(path.is_file() for path in blobs.rglob("*")) and time.monotonic() < deadline:
            time.sleep(0.1)
        modes = _modes(home)
        process.communicate(b"\n", timeout=60)
    assert process.returncode == 0
    assert {"server.json", "account.json", "secret", "store.sqlite3", "server.log", "blobs"} <= modes.keys()
    open_to_others = {name: oct(mode) for name, mode in modes.items() if mode & 0o077}
    assert open_to_others == {}


def test_no_key_is_in_the_log_or_in_an_answer(server: Any, raw: Raw) -> None:
    for path in ("/healthz", f"/login?token={server.key}&next=/x", f"/a/b?key={server.key}", "/graphql"):
        for method in ("GET", "POST"):
            _, headers, text = raw(method, path)
            assert server.key not in json.dumps(headers)
            assert server.key not in text.replace(path, "")
    log = server.home.parent / f"{server.home.name}.log"
    assert server.key not in log.read_text()


BOMBS = [
    "a: &a [x, x, x, x, x, x, x, x, x]\n"
    + "\n".join(f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 9)}]" for n in range(12))
    + "\nmethod: grid\nparameters: {p: {values: *m}}",
    "a: &a {k1: 1, k2: 2}\n"
    + "\n".join(f"{chr(98 + n)}: &{chr(98 + n)} {{<<: [{', '.join(['*' + chr(97 + n)] * 9)}]}}" for n in range(12)),
    "method: grid\nparameters: &p {a: {values: [*p]}}",
    "{" * 50_000,
    "[" * 50_000,
    "a: " + "9" * 100_000,
    "method: grid\nparameters: {a: {min: 0, max: " + "9" * 4000 + "}}",
    "? " * 5000,
    "!!python/object/apply:os.system ['id']",
]


@pytest.mark.parametrize("text", BOMBS, ids=range(len(BOMBS)))
def test_configurations_that_explode_are_refused_at_once(ask: Ask, text: str) -> None:
    started = time.monotonic()
    query = 'mutation ($c: String!) { upsertSweep(input: {projectName: "bombs", config: $c}) { sweep { name } } }'
    assert ask(query, status=400, c=text)["errors"]
    assert time.monotonic() - started < 2


def test_shared_values_of_ordinary_size_are_taken() -> None:
    text = "x: &x [1, 2]\nmethod: grid\nparameters: {a: {values: *x}, b: {values: *x}}\n"
    assert settings.read(settings.load(text)).expected_runs == 4
    merged = "base: &b {min: 0.0, max: 1.0}\nmethod: random\nparameters: {a: {<<: *b}, c: {<<: *b, max: 2.0}}\n"
    assert settings.load(merged)["parameters"]["c"] == {"min": 0.0, "max": 2.0}


HOSTILE = [
    ('{"query": "{viewer{id}}", "query": "{serverInfo{features{name}}}"}', 200),  # the last one counts, as in Go
    ('{"query": "{viewer{id}}", "operationName": "none"}', 400),
    ('{"query": "query a {viewer{id}} query b {viewer{id}}"}', 400),
    ('{"query": "query a {viewer{id}} query b {viewer{id}}", "operationName": "b"}', 200),
    ('[{"query": "{viewer{id}}"}]', 400),
    ('{"query": "{viewer{id}}", "variables": {"x": 1e999}}', 200),
    ('{"query": "{viewer{id}}", "variables": {"x": ' + "9" * 5000 + "}}", 400),
    ('{"query": "{viewer{id}}", "variables": ' + '{"a":' * 300 + "1" + "}" * 300 + "}", 400),
    ('{"query": "{viewer{' + "id " * 100_000 + '}}"}', 400),
    ('{"query": "{viewer{id' + " @skip(if: false)" * 5000 + '}}"}', 400),
    ('{"query": "{viewer{id' + " @include(if: true)" * 300 + '}}"}', 400),
    ('{"query": "{viewer{id}}", "variables": {"a": [' + "1," * 200_000 + "1]}}", 200),
    ('{"query": "{' + "viewer{id} " * 1500 + '}"}', 400),
    ('{"query": "{viewer{' + "...on User{id}" * 1500 + '}}"}', 400),
    ('{"query": "{viewer{id}} #' + "x" * 300_000 + '"}', 400),
    ('{"query": "query ' + "(" * 1000 + '{viewer{id}}"}', 400),
    ('{"query": "{viewer{id}}\\u0000"}', 400),
    ('{"query": "subscription {viewer{id}}"}', 400),
    ('{"query": "mutation { stopRun(input: {id: \\"x\\"}) { ' + "success " * 3001 + '} }"}', 400),
    ('{"query": "fragment A on User { id ...B } fragment B on User { ...A } {viewer{...A}}"}', 400),
]


@pytest.mark.parametrize(("body", "expected"), HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_requests_get_a_quick_answer_in_graphql(server: Any, body: str, expected: int) -> None:
    started = time.monotonic()
    answer = requests.post(f"{server.url}/graphql", data=body, auth=("api", server.key), timeout=30)
    assert answer.status_code == expected, answer.text[:300]
    assert ("errors" in answer.json()) == (expected != 200)
    assert "internal error" not in answer.text
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
def test_a_form_of_another_site_is_no_request(raw: Raw, kind: str) -> None:
    """What a page can send without asking first: with its cookie or not, the origin gives it away."""
    body = '{"query": "{ viewer { id } }"}'
    crossed = {"Content-Type": kind, "Origin": "http://evil.com", "Sec-Fetch-Site": "cross-site"}
    assert raw("POST", "/graphql", crossed, body)[0] == 403
    assert raw("GET", "/graphql?query={viewer{id}}")[0] in {404, 405}


def test_introspection_is_answered_to_key_holders_only(raw: Raw, ask: Ask) -> None:
    """The schema is no secret, and tools of the key's holder may ask for it; its depth is bounded like all else."""
    query = "{ __schema { types { name fields { name type { name ofType { name } } } } } }"
    assert any(kind["name"] == "Run" for kind in ask(query)["data"]["__schema"]["types"])
    assert (
        raw("POST", "/graphql", {"Content-Type": "application/json"}, json.dumps({"query": query}), key=False)[0] == 401
    )
    deep = "{ __schema { types { " + "fields { type { " * 12 + "name" + " } }" * 12 + " } } }"
    ask(deep, status=400)


def test_json_that_no_store_could_hold_is_mended_or_refused(ask: Ask, upsert: Callable[..., Any]) -> None:
    run = upsert(
        modelName="json", name="odd", displayName="a\ud800b", config='{"k\\ud800": {"value": "\\udfff"}, "k": 1}'
    )
    assert run["displayName"] == "a?b"
    assert json.loads(run["config"]) == {"k?": {"value": "?"}, "k": 1}
    query = (
        'mutation ($c: JSONString!) { upsertBucket(input: {modelName: "json", name: "odd", config: $c}) { inserted } }'
    )
    for config in ("[" * 500 + "]" * 500, '{"a":' * 300 + "1" + "}" * 300, '{"a": ' + "9" * 5000 + "}", '{"a": 1'):
        assert ask(query, status=400, c=config)["errors"]
    for config in ('{"a": 1e999}', '{"a": 1, "a": 2}', '{"a": 123456789012345678901234567890}', '{"a": "\\u0000"}'):
        ask(query, c=config)
        for field in ("config.a", "config.a.b"):
            ask('query ($f: JSONString) { project(name: "json") { runCount(filters: $f) } }', f=json.dumps({field: 1}))
    assert plain_json.DEEPEST < 1000


@pytest.mark.parametrize("first", [-1, 0, 1, 2**31 - 1, -(2**31)])
def test_pages_of_any_size_are_bounded(ask: Ask, upsert: Callable[..., Any], first: int) -> None:
    upsert(modelName="paging", name="r")
    query = """query ($n: Int) { project(name: "paging") { runs(first: $n) { edges { node { name } } }
        run(name: "r") { logLines(last: $n) { edges { node { line } } }
        history(samples: $n) events(samples: $n) } } }"""
    assert len(ask(query, n=first)["data"]["project"]["runs"]["edges"]) <= 1
    huge = 'query ($s: [JSONString!]!) { project(name: "paging") { run(name: "r") { sampledHistory(specs: $s) } } }'
    ask(huge, s=['{"samples": 1000000000, "keys": ["a"], "minStep": -1e300, "maxStep": 1e300}'] * 50)


def test_the_pages_are_routes_of_the_walk() -> None:
    assert len(ALL) > len(pages.routes)
