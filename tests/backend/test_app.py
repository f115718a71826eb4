"""The GraphQL route as W&B's client speaks to it, and as an attacker would."""

from __future__ import annotations

import gzip
import json
import logging
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from sweepkit.backend import serve_graphql
from sweepkit.backend.graphql.context import Context, User
from sweepkit.backend.storage.database import StoreError
from sweepkit.backend.tokens import Signer

Ask = Callable[..., dict[str, Any]]


def test_the_viewer_is_the_owner(server: Any, ask: Ask) -> None:
    viewer = ask("{ viewer { username entity email flags teams { edges { node { name } } } } }")["data"]["viewer"]
    assert viewer["username"] == viewer["entity"] == server.entity
    assert json.loads(viewer["flags"])["code_saving_enabled"] is True
    assert viewer["teams"]["edges"] == [{"node": {"name": server.entity}}]


def test_the_server_names_its_features(ask: Ask) -> None:
    info = ask("{ serverInfo { cliVersionInfo features { name isEnabled } latestLocalVersionInfo { outOfDate } } }")
    features = {feature["name"] for feature in info["data"]["serverInfo"]["features"]}
    assert {"FILESTREAM_GZIP", "STRUCTURED_CONSOLE_LOGS", "MARK_RUN_FILES_UPLOADED"} <= features
    assert info["data"]["serverInfo"]["latestLocalVersionInfo"]["outOfDate"] is False


@pytest.mark.parametrize(
    "query",
    [
        "{ viewer { noSuchField } }",
        "{ viewer ",
        "query ($x: Nonsense) { viewer { id } }",
        "query ($x: Int!) { viewer { id } }",
        "fragment A on User { ...B } fragment B on User { ...A } { viewer { ...A } }",
        "",
        "{" * 5000,
        "{ a" * 30_000,
    ],
)
def test_a_document_that_does_not_fit_gets_400_and_errors(ask: Ask, query: str) -> None:
    answer = ask(query, status=400)
    assert answer["errors"][0]["message"]


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"nonsense", b'{"query": 1}', b'{"query": "{a}", "variables": []}', b"[" * 100_000, b"\xff"]
)
def test_a_body_that_is_no_request_gets_400(server: Any, body: bytes) -> None:
    answer = requests.post(f"{server.url}/graphql", data=body, auth=("api", server.key), timeout=30)
    assert answer.status_code == 400
    assert answer.json()["errors"]


def test_too_large_bodies_are_refused_packed_or_not(server: Any) -> None:
    url, auth = f"{server.url}/graphql", ("api", server.key)
    bomb = gzip.compress(b" " * (64 << 20))
    packed = {"Content-Encoding": "gzip"}
    assert requests.post(url, data=bomb, headers=packed, auth=auth, timeout=30).status_code == 413
    assert requests.post(url, data=b"no gzip", headers=packed, auth=auth, timeout=30).status_code == 400
    assert requests.post(url, data=b"x", headers={"Content-Encoding": "br"}, auth=auth, timeout=30).status_code == 415
    small = gzip.compress(b'{"query": "{ viewer { id } }"}')
    assert requests.post(url, data=small, headers=packed, auth=auth, timeout=30).status_code == 200


class _Broken:
    """A store whose reading fails, to see what leaves the server then."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def read(self) -> sqlite3.Connection:
        raise self._error


def _answer(error: Exception) -> tuple[int, str]:
    broken: Any = _Broken(error)
    context = Context(broken, broken, User("u", "u@localhost", True), "http://localhost", Signer(b"x" * 32))
    answer = serve_graphql.answer('{ project(name: "p") { id } }', {}, None, context)
    return answer.status_code, bytes(answer.body).decode()


def test_an_unexpected_failure_is_logged_and_not_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        status, text = _answer(RuntimeError("secret /path"))
    assert status == 200
    assert "secret" not in text and "internal error" in text
    assert "secret /path" in caplog.text


def test_a_failing_store_makes_the_client_try_again() -> None:
    assert _answer(StoreError("the disk is full"))[0] == 503


@settings(max_examples=60, deadline=None)
@given(query=st.text(max_size=60), variables=st.dictionaries(st.text(max_size=5), st.integers(), max_size=3))
def test_no_document_brings_the_route_down(query: str, variables: dict[str, Any]) -> None:
    broken: Any = _Broken(RuntimeError("x"))
    context = Context(broken, broken, User("u", "", True), "http://localhost", Signer(b"x" * 32))
    for text in (query, "{ viewer { " + query + " } }"):
        assert serve_graphql.answer(text, variables, None, context).status_code in {200, 400}


def test_alerts_and_custom_charts_are_taken(server: Any, ask: Ask, upsert: Callable[..., Any]) -> None:
    upsert(modelName="alerts", name="r1")
    alert = """mutation ($e: String!, $r: String!) { notifyScriptableRunAlert(input: {entityName: $e,
        projectName: "alerts", runName: $r, title: "t", text: "x", severity: WARN, waitDuration: 60}) { success } }"""
    assert ask(alert, e=server.entity, r="r1")["data"]["notifyScriptableRunAlert"]["success"]
    ask(alert, status=404, e=server.entity, r="none")
    chart = """mutation { createCustomChart(input: {name: "c", displayName: "C", type: "vega2", access: "PRIVATE",
        spec: "{}"}) { chart { id } } }"""
    assert ask(chart)["data"]["createCustomChart"]["chart"]["id"].endswith("/c")
