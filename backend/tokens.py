"""Signed capabilities: addresses for uploads and downloads, one-time log-ins, and the cookie of the pages.

All are HMAC-SHA256 over what they allow and until when, with a secret that lies in the data folder (0600) and never
leaves it. W&B's client sends uploads without a key, so the address itself must be the permission.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import threading
import time
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlencode

UPLOAD_SECONDS = 24 * 3600  # a large file waits long in the client's queue
DOWNLOAD_SECONDS = 24 * 3600
LOGIN_SECONDS = 300
SESSION_SECONDS = 7 * 24 * 3600


def secret_at(path: Path) -> bytes:
    """The secret kept in ``path``, made at the first call; readable by its owner only."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        secret = path.read_bytes()
        if len(secret) >= 32:
            return secret
        descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC)  # cut off while it was first written
    secret = secrets.token_bytes(32)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secret)
    return secret


class Signer:
    """Makes and checks everything that is signed; remembers which one-time tokens were used."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._used: dict[str, float] = {}
        self._lock = threading.Lock()
        # Cookies are shared by every port of a host: two backends must not overwrite each other's.
        self.cookie = "sweepkit_" + hashlib.sha256(b"cookie" + secret).hexdigest()[:8]

    def address(self, method: str, path: str, seconds: int = DOWNLOAD_SECONDS) -> str:
        """``path`` (not quoted yet) as a quoted path with a query that permits ``method`` on it for ``seconds``."""
        until = int(time.time()) + seconds
        query = urlencode({"expires": until, "signature": self._sign("address", method, path, str(until))})
        return f"{quote(path, safe='/')}?{query}"

    def permits(self, method: str, path: str, query: str) -> bool:
        """Whether the query of a request permits it; ``path`` is decoded once, as the server decodes it."""
        given = dict(parse_qsl(query))
        until, signature = given.get("expires", ""), given.get("signature", "")
        method = "GET" if method == "HEAD" else method
        return _still(until) and self._matches(signature, "address", method, path, until)

    def login_token(self) -> str:
        """A token that logs one browser in, once, within the next minutes."""
        return self._token("login", LOGIN_SECONDS)

    def use_login_token(self, token: str) -> bool:
        """Whether the token is good; it is not a second time."""
        if not self._token_holds("login", token):
            return False
        with self._lock:
            now = time.time()
            self._used = {used: until for used, until in self._used.items() if until > now}
            if token in self._used:
                return False
            self._used[token] = now + LOGIN_SECONDS + 1
            return True

    def session(self) -> str:
        """The value of a cookie that opens the pages."""
        return self._token("session", SESSION_SECONDS)

    def session_holds(self, value: str) -> bool:
        return self._token_holds("session", value)

    def _token(self, purpose: str, seconds: int) -> str:
        until, nonce = str(int(time.time()) + seconds), secrets.token_hex(16)
        return f"{until}.{nonce}.{self._sign(purpose, nonce, until)}"

    def _token_holds(self, purpose: str, token: str) -> bool:
        until, _, rest = token.partition(".")
        nonce, _, signature = rest.partition(".")
        return _still(until) and self._matches(signature, purpose, nonce, until)

    def _sign(self, *parts: str) -> str:
        # The length of each part is signed too, so that no two lists of parts look the same.
        message = b"".join(b"%d:%s" % (len(part.encode()), part.encode()) for part in parts)
        return hmac.new(self._secret, message, hashlib.sha256).hexdigest()

    def _matches(self, signature: str, *parts: str) -> bool:
        return hmac.compare_digest(signature.encode(), self._sign(*parts).encode())


def _still(until: str) -> bool:
    return until.isascii() and until.isdigit() and len(until) < 12 and int(until) >= time.time()
