"""The people who may use the backend: added, given keys, removed, by the commands and for the real client."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from sweepkit.backend import app, pages
from sweepkit.backend.storage import users
from sweepkit.backend.storage.database import Database
from sweepkit.backend.tokens import Signer, secret_at
from wandb.sdk.lib.wbauth import validation

KEY = "k" * 40
OTHER = "a-dash-" + "o" * 40


def test_users_by_name_and_key(store: Database) -> None:
    assert store.write(lambda conn: users.add(conn, "alice", KEY))
    assert not store.write(lambda conn: users.add(conn, "alice", KEY))  # the same again
    found = users.by_key(store.read(), KEY)
    assert found is not None and (found["name"], found["admin"]) == ("alice", 0)
    assert users.by_name(store.read(), "alice") is not None
    assert users.by_key(store.read(), OTHER) is None
    assert KEY not in {value for row in store.read().execute("SELECT * FROM users") for value in tuple(row)}


def test_a_removed_user_is_gone_and_keeps_the_entity(store: Database) -> None:
    store.write(lambda conn: users.add(conn, "alice", KEY, admin=True))
    assert store.write(lambda conn: users.remove(conn, "alice")) == 0
    assert users.by_key(store.read(), KEY) is None
    assert users.by_key(store.read(), "removed:alice") is None
    assert users.by_name(store.read(), "alice") is None
    assert users.listing(store.read()) == []
    assert users.owned_by_another(store.read(), "alice", "bob")
    assert store.write(lambda conn: users.add(conn, "alice", OTHER))  # back again, without the old rights
    back = users.by_key(store.read(), OTHER)
    assert back is not None and (back["name"], back["admin"]) == ("alice", 0)


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        (lambda conn: users.add(conn, "alice", OTHER), 409, "already"),
        (lambda conn: users.add(conn, "alice", KEY, admin=True), 409, "other rights"),
        (lambda conn: users.add(conn, "bob", KEY), 409, "another user's"),
        (lambda conn: users.change_key(conn, "bob", OTHER), 404, "no user 'bob'"),
        (lambda conn: users.remove(conn, "bob"), 404, "no user 'bob'"),
        (lambda conn: users.add(conn, "b/ob", OTHER), 400, "cannot be the name"),
        (lambda conn: users.add(conn, "", OTHER), 400, "cannot be the name"),
        (lambda conn: users.add(conn, "b" * 129, OTHER), 400, "cannot be the name"),
        (lambda conn: users.add(conn, "graphql", OTHER), 400, "cannot be the name"),
        (lambda conn: users.add(conn, "bob", "short"), 400, "5 characters"),
        (lambda conn: users.add(conn, "bob", "k" * 40 + "-short"), 400, "5 characters after its last dash"),
        (lambda conn: users.add(conn, "bob", "k" * 40 + ":"), 400, "cannot be a key"),
    ],
)
def test_what_cannot_be_is_told(store: Database, change: Callable[..., Any], status: int, said: str) -> None:
    store.write(lambda conn: users.add(conn, "alice", KEY))
    with pytest.raises(users.UserError, match=said) as caught:
        store.write(change)
    assert caught.value.status == status and caught.value.hint


def test_no_user_has_the_name_of_an_address() -> None:
    first = {route.path.split("/")[1] for route in [*app._routes(), *pages.routes] if route.path}
    assert {name for name in first if name and not name.startswith("{")} - users.RESERVED == set()


@given(st.text(st.sampled_from("ab-_:é "), max_size=60) | st.text(st.sampled_from("ab-"), min_size=38, max_size=50))
def test_no_key_is_taken_that_the_client_refuses(key: str) -> None:
    try:
        users.check_key(key)
    except users.UserError:
        return
    assert validation.check_api_key(key) is None


def test_made_keys_and_names_are_good() -> None:
    users.check_key(users.new_key())
    users.check_name(users.default_name())
    assert users.new_key() != users.new_key()


# --- the commands


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data folder of this module's own, whose backend the first command starts."""
    folder = tmp_path_factory.mktemp("users") / "home"
    yield folder
    _sweepkit(folder, "serve", "--stop")


def _sweepkit(home: Path, *arguments: str, stdin: str = "", code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "sweepkit", *arguments],
        env={**os.environ, "SWEEPKIT_HOME": str(home)},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def _viewer(url: str, key: str) -> dict[str, Any] | None:
    query = {"query": "{ viewer { username entity admin } }"}
    answer = requests.post(f"{url}/graphql", json=query, auth=("api", key), timeout=30)
    return answer.json()["data"]["viewer"] if answer.status_code == 200 else None


def test_a_user_from_the_first_day_to_the_last(home: Path) -> None:
    made = json.loads(_sweepkit(home, "user", "add", "alice", "--format", "json").stdout)
    url, key = made["url"], made["key"]
    assert _viewer(url, key) == {"username": "alice", "entity": "alice", "admin": False}

    page, form = requests.Session(), {"key": key, "next": "/"}
    assert page.post(f"{url}/login", data=form, timeout=30).status_code == 200
    assert page.get(f"{url}/", timeout=30).status_code == 200

    new = _sweepkit(home, "user", "key", "alice", "--format", "value").stdout.strip()
    assert _viewer(url, key) is None and _viewer(url, new) is not None
    assert page.get(f"{url}/", timeout=30).status_code == 401  # logged in with the old key
    page.post(f"{url}/login", data={**form, "key": new}, timeout=30)
    assert page.get(f"{url}/", timeout=30).status_code == 200

    assert "administrators" in _sweepkit(home, "user", "remove", "alice").stderr
    assert _viewer(url, new) is None
    assert page.get(f"{url}/", timeout=30).status_code == 401
    assert "alice" not in _sweepkit(home, "user", "list", "--format", "value").stdout


def test_a_key_of_ones_own_from_stdin(home: Path) -> None:
    name = "user-w0-" + "0123456789abcdef" * 2 + "01234567"  # as W&B's own tests make them: their own keys
    first = _sweepkit(home, "user", "add", name, "--key", name)
    again = _sweepkit(home, "user", "add", name, "--key", "-", "--format", "value", stdin=f"{name}\n")
    assert name in first.stdout and again.stdout == f"{name}\n" and "already" in again.stderr
    refused = _sweepkit(home, "user", "add", name, code=2)
    assert refused.stdout == "" and refused.stderr.startswith("error: there is a user") and "user key" in refused.stderr


def test_an_administrator_and_the_owner(home: Path) -> None:
    key = _sweepkit(home, "user", "add", "root-2", "--admin", "--format", "value").stdout.strip()
    listed = json.loads(_sweepkit(home, "user", "list", "--format", "json").stdout)
    roles = {row["name"]: row["role"] for row in listed}
    owner = json.loads((home / "account.json").read_text())["entity"]
    assert roles["root-2"] == "administrator" and roles[owner] == "owner"
    assert "owner" in _sweepkit(home, "user", "remove", owner, code=2).stderr
    assert "account.json" in _sweepkit(home, "user", "key", owner, code=2).stderr
    url = json.loads((home / "server.json").read_text())["url"]
    assert requests.get(f"{url}/admin/users", auth=("api", key), timeout=30).status_code == 200
    assert _sweepkit(home, "user", "--help").stdout == _sweepkit(home, "user").stdout


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "users", None),
        ("POST", "users", {"name": "eve", "key": OTHER, "admin": True}),
        ("DELETE", "users/bob", None),
        ("POST", "users/bob/key", {}),
        ("GET", "nothing", None),
    ],
)
def test_only_administrators_look_after_users(home: Path, method: str, path: str, body: Any) -> None:
    _sweepkit(home, "user", "add", "bob", "--key", KEY)
    url = json.loads((home / "server.json").read_text())["url"]
    answer = requests.request(method, f"{url}/admin/{path}", json=body, auth=("api", KEY), timeout=30)
    assert answer.status_code == 403 and "no administrator" in answer.json()["error"]
    assert _viewer(url, KEY) is not None and _viewer(url, OTHER) is None


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"name": 1}', b'{"nme": "x"}', b'{"name": null}'])
def test_a_request_that_makes_no_sense_gets_400(home: Path, body: bytes) -> None:
    _sweepkit(home, "user", "list")
    note = json.loads((home / "server.json").read_text())
    answer = requests.post(f"{note['url']}/admin/users", data=body, auth=("api", note["key"]), timeout=30)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]


# --- cookies


def test_a_cookie_is_one_users_with_one_key() -> None:
    signer = Signer(b"x" * 32)
    cookie = signer.session("alice", "digest")
    assert signer.session_holds(cookie, "digest")
    assert not signer.session_holds(cookie, "another")
    until, nonce, _, signature = cookie.split(".")
    assert not signer.session_holds(f"{until}.{nonce}.{b'bob'.hex()}.{signature}", "digest")


def test_the_printed_address_is_the_owners(server: Any) -> None:
    """Nobody else's: a token names its user, and that is signed."""
    signer = Signer(secret_at(server.home / "secret"))
    session = requests.Session()
    page = session.get(f"{server.url}/login", params={"token": signer.login_token(server.entity)}, timeout=30)
    assert page.status_code == 200
    query = {"query": "{ viewer { username admin } }"}
    answer = session.post(f"{server.url}/graphql", json=query, headers={"Sec-Fetch-Site": "same-origin"}, timeout=30)
    assert answer.json()["data"]["viewer"] == {"username": server.entity, "admin": True}
    nobody = requests.get(f"{server.url}/login", params={"token": signer.login_token("nobody")}, timeout=30)
    assert nobody.status_code == 403 and "set-cookie" not in nobody.headers
