"""What every answer has, whoever gives it: the protective headers, and for an unexpected failure no details.

The outermost layer of the app, so that refusals and failures are answered like everything else.
"""

from __future__ import annotations

import logging
import sqlite3

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .storage.opening import StoreError, is_damage

# Unless a route says otherwise, an answer is nothing that a browser may keep, guess the type of, frame or run.
PROTECTION = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
}
_log = logging.getLogger(__name__)


class Answers:
    """The middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        protected = _Protected(send)
        try:
            await self._app(scope, receive, protected)
        except ClientDisconnect:
            pass  # nobody is left to be answered; what was received is thrown away where it was received
        except Exception as error:
            if protected.started:
                raise  # the connection is cut, which tells the client that the answer is not whole
            _log.error("%s %s failed", scope["method"], scope["path"], exc_info=error)
            await _failure(error)(scope, receive, protected)


class _Protected:
    """``send`` that adds the headers which are not there."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            headers = MutableHeaders(scope=message)
            for name, value in PROTECTION.items():
                headers.setdefault(name, value)
        await self._send(message)


def _failure(error: Exception) -> JSONResponse:
    """The client tries again after a 5xx: what it wanted to say is not lost when the store can be written again."""
    of_store = isinstance(error, (StoreError, sqlite3.OperationalError)) or is_damage(error)
    message = "the store cannot be read or written now" if of_store else "internal error; the server's log says more"
    return JSONResponse({"error": message, "errors": [{"message": message}]}, status_code=503 if of_store else 500)
