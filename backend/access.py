"""Who may ask what: the layer around all routes.

In this order, each on every method and every route: the Host header names this machine (DNS rebinding); a request
that a web page may have caused is of the same origin (CSRF); there is a key, a log-in cookie or a signed address.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterable
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from .login import PAGE_POLICY, welcome
from .permissions import User
from .storage import users
from .storage.database import Database
from .tokens import Signer, token_user

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
ALLOW_VARIABLE = "SWEEPKIT_ALLOW_HOSTS"
NOBODY = User(name="", email="", admin=False)
PUBLIC = frozenset({"/login"})  # everything else needs a key, also what is added later
# wandb-core sends its own metrics without a key; only a 404 makes it stop, anything else it tells the user about.
TELEMETRY = "/sdk/otel/"


def allowed_hosts() -> frozenset[str]:
    """The names under which this backend answers: the loopback ones, and those of ``SWEEPKIT_ALLOW_HOSTS``."""
    more = os.environ.get(ALLOW_VARIABLE, "").split(",")
    return LOCAL_NAMES | {name.strip().lower() for name in more if name.strip()}


def host_name(host: str) -> str:
    """The Host header without its port: ``[::1]:8080`` is ``[::1]``. Empty when it is malformed."""
    if host.startswith("["):
        name, bracket, rest = host.partition("]")
        name += bracket
        port = rest[1:] if rest.startswith(":") else rest
        wellformed = bool(bracket) and (not rest or rest.startswith(":"))
    else:
        name, colon, port = host.partition(":")
        wellformed = not colon or bool(port)
    if not wellformed or (port and not (port.isascii() and port.isdigit())):
        return ""
    return name.lower()


class Access:
    """The middleware. What it found is in ``request.state``: ``user``, and whether the address is ``signed``."""

    def __init__(self, app: ASGIApp, database: Database, signer: Signer, hosts: Iterable[str]) -> None:
        self._app = app
        self._database = database
        self._signer = signer
        self._hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            refusal = self._refusal(scope)
            await (refusal or self._app)(scope, receive, send)
        elif scope["type"] == "websocket":  # none is served
            await send({"type": "websocket.close", "code": 1008})

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        return self._wrong_host(headers) or _cross_site(scope, headers) or self._no_key(scope, headers)

    def _wrong_host(self, headers: Headers) -> Response | None:
        given = headers.getlist("host")
        name = host_name(given[0]) if len(given) == 1 else ""
        if name in self._hosts:
            return None
        hint = f"if this name is meant to reach the backend, start it with {ALLOW_VARIABLE}={name or 'NAME'}"
        return _error(403, f"the host {name!r} is not allowed here; {hint}")

    def _no_key(self, scope: Scope, headers: Headers) -> Response | None:
        path = scope["path"]
        query = scope["query_string"].decode("latin-1")
        if path in PUBLIC:
            return None
        if path.startswith(TELEMETRY):
            return _error(404, "telemetry is not collected here")
        user = self._user(scope, headers)
        signed = "signature=" in query and self._signer.permits(scope["method"], path, query)
        if user is not None or signed:
            scope.setdefault("state", {}).update(user=user or NOBODY, signed=signed)
            return None
        if scope["method"] == "GET" and "text/html" in headers.get("accept", ""):
            address = quote(path, safe="/") + (f"?{query}" if query else "")
            return HTMLResponse(welcome(address), status_code=401, headers={"content-security-policy": PAGE_POLICY})
        return _error(401, "a key is needed: HTTP Basic, user api, the key from server.json as password")

    # One row by its index, out of memory: a thread to look there would take ten times as long as the look.
    def _user(self, scope: Scope, headers: Headers) -> User | None:
        cookie = HTTPConnection(scope).cookies.get(self._signer.cookie)
        if cookie and (user := self._by_cookie(cookie)) is not None:
            return user
        if "cookie" in headers or any(name.startswith("sec-fetch-") for name in headers):
            return None  # a browser: its Basic credentials would be sent for whatever page asks
        key = _basic_key(headers.get("authorization", ""))
        return self._by_key(key) if key else None

    def _by_key(self, key: str) -> User | None:
        return _as_user(users.by_key(self._database.read(), key))

    def _by_cookie(self, cookie: str) -> User | None:
        name = token_user(cookie)
        row = None if name is None else users.by_name(self._database.read(), name)
        return _as_user(row) if row is not None and self._signer.session_holds(cookie, row["key_digest"]) else None


def _as_user(row: object) -> User | None:
    return User(row["name"], row["email"], bool(row["admin"])) if row else None  # type: ignore[index]


def _cross_site(scope: Scope, headers: Headers) -> Response | None:
    """A request that another site's page caused. Browsers tell, other clients send none of these headers."""
    site = headers.get("sec-fetch-site")
    if scope["method"] in SAFE_METHODS:
        embedded = site in {"cross-site", "same-site"} and headers.get("sec-fetch-mode") != "navigate"
        return _error(403, "requests from other sites' pages are not answered") if embedded else None
    origin = headers.get("origin")
    ours = f"{scope.get('scheme', 'http')}://{headers.get('host', '')}"
    if site not in {None, "same-origin"} or origin not in {None, ours}:
        return _error(403, "requests from other sites' pages are not answered")
    return None


def _basic_key(authorization: str) -> str | None:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, _, key = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return key if user == "api" and key else None


def _error(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": message, "errors": [{"message": message}]}, status_code=status)
