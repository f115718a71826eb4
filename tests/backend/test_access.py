"""Every route asks for a key, whoever added it; other sites' pages and other hosts' names get nothing."""

from __future__ import annotations

import ast
import hashlib
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from starlette.routing import BaseRoute, Mount, Route
from sweepkit.backend import access, app, daemon, pages
from sweepkit.backend.login import own_address
from sweepkit.backend.tokens import Signer, secret_at

Raw = Callable[..., tuple[int, dict[str, str], str]]
PUBLIC = {"/login"}
JSON = {"Content-Type": "application/json"}
QUERY = '{"query": "{ viewer { username } }"}'


def _walk(routes: list[BaseRoute]) -> Iterator[tuple[str, str]]:
    for route in routes:
        if isinstance(route, Route):
            yield from ((method, route.path) for method in sorted(route.methods or {"GET"}))
        elif isinstance(route, Mount) and route.routes:
            yield from ((method, route.path + path) for method, path in _walk(list(route.routes)))


ALL = sorted(
    {*_walk(list(app._routes())), *_walk(list(pages.routes)), ("GET", "/no-such-page"), ("DELETE", "/graphql")}
)


@pytest.mark.parametrize(("method", "path"), ALL)
def test_no_route_answers_without_a_key(raw: Raw, method: str, path: str) -> None:
    concrete = re.sub(r"\{[^}]*\}", "1", path)
    status, headers, text = raw(method, concrete, key=False)
    if path in PUBLIC and method in {"GET", "HEAD"}:
        assert status == 200  # the form for the key, and nothing else
        return
    assert status in {401, 403}, text
    assert "www-authenticate" not in headers  # a browser would keep the key and send it for any page


def test_the_walk_saw_the_routes() -> None:
    paths = {path for _, path in ALL}
    assert {"/graphql", "/healthz", "/files/{entity}/{project}/{run}/file_stream"} <= paths
    assert len(paths) > 12


@pytest.mark.parametrize("key", ["", "wrong", "0" * 40])
def test_a_wrong_key_is_refused(server: Any, raw: Raw, key: str) -> None:
    from base64 import b64encode

    basic = {"Authorization": "Basic " + b64encode(f"api:{key}".encode()).decode()}
    assert raw("POST", "/graphql", {**JSON, **basic}, QUERY, key=False)[0] == 401


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("localhost", "localhost"),
        ("LOCALHOST:80", "localhost"),
        ("127.0.0.1:8080", "127.0.0.1"),
        ("[::1]:8080", "[::1]"),
        ("[::1]", "[::1]"),
        ("[::1", ""),
        ("[::1]evil.com", ""),
        ("localhost:80@evil.com", ""),
        ("localhost:", ""),
        ("localhost:8x", ""),
        ("127.0.0.1.evil.com", "127.0.0.1.evil.com"),
        ("", ""),
    ],
)
def test_host_names_without_their_port(host: str, name: str) -> None:
    assert access.host_name(host) == name


@pytest.mark.parametrize("host", ["evil.com", "localhost.evil.com:80", "[::1]evil.com", "127.0.0.1.nip.io", "0.0.0.0"])
@pytest.mark.parametrize(("method", "path"), [("GET", "/login"), ("POST", "/graphql"), ("PUT", "/files/a/b/c/d")])
def test_another_host_gets_nothing_on_any_method(raw: Raw, host: str, method: str, path: str) -> None:
    status, _, text = raw(method, path, {"Host": host})
    assert status == 403
    assert access.ALLOW_VARIABLE in text


@pytest.mark.parametrize("host", ["localhost", "[::1]:99", "127.0.0.1:1"])
def test_loopback_names_are_served_with_any_port(raw: Raw, host: str) -> None:
    assert raw("POST", "/graphql", {**JSON, "Host": host}, QUERY)[0] == 200


@pytest.fixture
def cookie(server: Any) -> str:
    signer = Signer(secret_at(server.home / "secret"))
    return f"{signer.cookie}={signer.session(server.entity, hashlib.sha256(server.key.encode()).hexdigest())}"


CROSS = [
    ({"Sec-Fetch-Site": "cross-site"}, 403),
    ({"Sec-Fetch-Site": "same-site"}, 403),  # another port of this machine
    ({"Sec-Fetch-Site": "none"}, 403),
    ({"Origin": "http://evil.com"}, 403),
    ({"Origin": "null"}, 403),
    ({"Origin": "https://{host}"}, 403),
    ({"Sec-Fetch-Site": "same-origin", "Origin": "http://{host}"}, 200),
    ({"Origin": "http://{host}"}, 200),
    ({}, 200),
]


@pytest.mark.parametrize(("headers", "expected"), CROSS)
def test_only_our_own_pages_change_anything(
    server: Any, raw: Raw, cookie: str, headers: dict[str, str], expected: int
) -> None:
    host = urlsplit(server.url).netloc
    filled = {name: value.format(host=host) for name, value in headers.items()}
    assert raw("POST", "/graphql", {**JSON, **filled, "Cookie": cookie}, QUERY, key=False)[0] == expected


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE", "FOO"])
def test_every_unsafe_method_is_guarded(raw: Raw, cookie: str, method: str) -> None:
    assert raw(method, "/graphql", {"Sec-Fetch-Site": "cross-site", "Cookie": cookie}, key=False)[0] == 403


def test_the_key_does_not_count_in_a_browser(raw: Raw) -> None:
    assert raw("POST", "/graphql", {**JSON, "Cookie": "a=b"}, QUERY)[0] == 401
    assert raw("POST", "/graphql", {**JSON, "Sec-Fetch-Site": "same-origin"}, QUERY)[0] == 401
    assert raw("POST", "/graphql", {**JSON, "Sec-Fetch-Mode": "cors"}, QUERY)[0] == 401


def test_other_sites_may_link_here_but_not_embed(raw: Raw, cookie: str) -> None:
    embedded = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Cookie": cookie}
    assert raw("GET", "/", embedded, key=False)[0] == 403
    assert raw("GET", "/", {**embedded, "Sec-Fetch-Mode": "navigate"}, key=False)[0] == 200


def test_a_printed_address_logs_in_once(server: Any, raw: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEPKIT_HOME", str(server.home))
    address = daemon.login_url(f"/{server.entity}").removeprefix(server.url)
    status, headers, text = raw("GET", address, key=False)
    assert status == 200
    assert f"url=/{server.entity}" in text
    given = headers["set-cookie"].lower()
    assert "httponly" in given and "samesite=strict" in given
    cookie = headers["set-cookie"].split(";")[0]
    assert raw("GET", "/", {"Cookie": cookie}, key=False)[0] == 200
    again, headers, _ = raw("GET", address, key=False)
    assert again == 403 and "set-cookie" not in headers


@pytest.mark.parametrize("token", ["x", "9999999999.a.b", "1.a.b", "..", "é.é.é"])
def test_a_made_up_token_is_refused(raw: Raw, token: str) -> None:
    status, headers, _ = raw("GET", f"/login?token={quote(token)}", key=False)
    assert status == 403 and "set-cookie" not in headers


def test_the_form_takes_the_key(server: Any, raw: Raw) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    status, headers, _ = raw("POST", "/login", form, f"key={server.key}&next=/", key=False)
    assert status == 200 and "set-cookie" in headers
    assert raw("POST", "/login", form, "key=wrong&next=/", key=False)[0] == 403
    cross = {**form, "Sec-Fetch-Site": "cross-site"}
    assert raw("POST", "/login", cross, f"key={server.key}", key=False)[0] == 403


def test_a_browser_without_the_cookie_is_told_how_to_log_in(raw: Raw) -> None:
    status, headers, text = raw("GET", '/a/b?x="><script>', {"Accept": "text/html"}, key=False)
    assert status == 401
    assert "sweepkit serve" in text and "<script" not in text
    assert "default-src 'none'" in headers["content-security-policy"]


@pytest.mark.parametrize(
    "address", ["//evil.com", "https://evil.com", "/\\evil.com", "\\\\evil.com", "evil", "/\tx", ""]
)
def test_a_log_in_never_leads_elsewhere(address: str) -> None:
    assert own_address(address) == "/"


def test_signed_addresses_permit_one_thing_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    signer = Signer(b"x" * 32)
    path = "/files/e/p/r/a b?ü.txt"
    query = signer.address("PUT", path).partition("?")[2]
    assert signer.permits("PUT", path, query)
    assert not signer.permits("GET", path, query)
    assert not signer.permits("PUT", path + "x", query)
    assert not signer.permits("PUT", path, query.replace("expires=", "expires=9"))
    assert not Signer(b"y" * 32).permits("PUT", path, query)
    expired = signer.address("PUT", path, seconds=-1).partition("?")[2]
    assert not signer.permits("PUT", path, expired)
    reading = signer.address("GET", path).partition("?")[2]
    assert signer.permits("HEAD", path, reading) and not signer.permits("DELETE", path, reading)


def test_tokens_of_one_purpose_serve_no_other() -> None:
    signer = Signer(b"x" * 32)
    assert signer.session_holds(signer.session("me", ""), "")
    assert not signer.session_holds(signer.login_token("me"), "")
    assert signer.use_login_token(signer.login_token("me")) == "me"
    assert signer.use_login_token(signer.session("me", "")) is None


def test_answers_carry_the_protective_headers(raw: Raw) -> None:
    _, headers, _ = raw("GET", "/healthz")
    assert headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "server" not in headers


def test_a_second_host_header_is_refused(server: Any) -> None:
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=10) as connection:
        connection.sendall(b"GET /login HTTP/1.1\r\nHost: localhost\r\nHost: evil.com\r\nConnection: close\r\n\r\n")
        assert connection.makefile("rb").readline().split()[1] in {b"400", b"403"}


BACKEND = Path(access.__file__).parent


def _imports(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found |= {(node.module or "").split(".")[0], ".".join((node.module or "").split(".")[:2])}
    return found


@pytest.mark.parametrize("file", sorted(BACKEND.rglob("*.py")), ids=lambda file: str(file.relative_to(BACKEND)))
def test_nothing_is_unpickled_and_nothing_is_requested_elsewhere(file: Path) -> None:
    imported = _imports(file)
    assert not imported & {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "torch"}
    if file.name not in {"daemon.py", "client.py"}:  # they run in the commands, and ask the backend itself
        assert not imported & {"requests", "httpx", "urllib3", "aiohttp", "http.client", "urllib.request"}


def test_the_clients_telemetry_is_told_to_stop(raw: Raw) -> None:
    """wandb-core sends it without a key, and ends its exporter at a 404 only."""
    assert raw("POST", "/sdk/otel/v1/metrics", key=False)[0] == 404
