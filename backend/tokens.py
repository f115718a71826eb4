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

    def login_token(self, user: str) -> str:
        """A token that logs one browser in as ``user``, once, within the next minutes."""
        return self._token("login", LOGIN_SECONDS, user)

    def use_login_token(self, token: str) -> str | None:
        """Whom the token logs in; None when it is no good, as it is a second time."""
        user = token_user(token)
        if user is None or not self._token_holds("login", token):
            return None
        with self._lock:
            now = time.time()
            self._used = {used: until for used, until in self._used.items() if until > now}
            if token in self._used:
                return None
            self._used[token] = now + LOGIN_SECONDS + 1
            return user

    def session(self, user: str, key_digest: str) -> str:
        """The value of a cookie that opens the pages to ``user``, for as long as he has this key."""
        return self._token("session", SESSION_SECONDS, user, key_digest)

    def session_holds(self, value: str, key_digest: str) -> bool:
        """Whether a cookie is good for the user whom it names, whose key has this digest."""
        return self._token_holds("session", value, key_digest)

    def _token(self, purpose: str, seconds: int, user: str, secret: str = "") -> str:
        until, nonce = str(int(time.time()) + seconds), secrets.token_hex(16)
        return f"{until}.{nonce}.{user.encode().hex()}.{self._sign(purpose, nonce, user, secret, until)}"

    def _token_holds(self, purpose: str, token: str, secret: str = "") -> bool:
        user = token_user(token)
        if user is None:
            return False
        until, nonce, _, signature = token.split(".")
        return _still(until) and self._matches(signature, purpose, nonce, user, secret, until)

    def _sign(self, *parts: str) -> str:
        # The length of each part is signed too, so that no two lists of parts look the same.
        message = b"".join(b"%d:%s" % (len(part.encode()), part.encode()) for part in parts)
        return hmac.new(self._secret, message, hashlib.sha256).hexdigest()

    def _matches(self, signature: str, *parts: str) -> bool:
        return hmac.compare_digest(signature.encode(), self._sign(*parts).encode())


def token_user(token: str) -> str | None:
    """Whom a token or cookie names, good or not; None when it has not their form."""
    parts = token.split(".")
    try:
        return bytes.fromhex(parts[2]).decode() if len(parts) == 4 else None
    except ValueError:
        return None


def _still(until: str) -> bool:
    return until.isascii() and until.isdigit() and len(until) < 12 and int(until) >= time.time()
