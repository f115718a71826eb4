"""How long a client may take, and how many connections there may be: what uvicorn leaves open to slow clients.

A connection must bring a whole request head in time, then go on sending the body, then go on taking the answer. One
that does not is answered 408, where an answer can still be understood, and closed. When there are too many
connections, the one that has been silent the longest makes room for the new one: whoever opens thousands and says
nothing shuts nobody else out.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
from collections.abc import Iterable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from .answers import PROTECTION

HEAD_SECONDS = 20.0  # for the whole head of a request, from its first byte (from the connection, for the first one)
BODY_SECONDS = 30.0  # in which LEAST_BYTES of a body that is waited for must come, or its end
LEAST_BYTES = 4096
READER_SECONDS = 60.0  # in which a reader must take what is waiting to be sent: some 50 KiB
LAST_SECONDS = 10.0  # for taking the end of an answer after which the connection closes
MOST_CONNECTIONS = 2000
_FILES_A_CONNECTION = 3  # its socket, the draft of its upload, or the file that it downloads; and some to spare
_OTHER_FILES = 200  # the store's, the log, libraries


def allowed_connections() -> int:
    """How many connections the process can hold open, after raising its soft limit of open files to the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        wanted = _OTHER_FILES + _FILES_A_CONNECTION * MOST_CONNECTIONS
        soft = max(soft, wanted if hard == resource.RLIM_INFINITY else min(hard, wanted))
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(16, min(MOST_CONNECTIONS, (soft - _OTHER_FILES) // _FILES_A_CONNECTION))


def protocol(most: int) -> type[H11Protocol]:
    """What uvicorn speaks HTTP with, for ``most`` connections at the same time."""
    return type("Connection", (Connection,), {"most": most})


async def watch(connections: Iterable[Any]) -> None:
    """Look after the connections of a server, for as long as it runs."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(min(1.0, HEAD_SECONDS / 4))
        for connection in list(connections):
            if isinstance(connection, Connection):
                connection.look(loop.time())


class Connection(H11Protocol):
    """One connection, with deadlines."""

    most = MOST_CONNECTIONS

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._heard = self.loop.time()  # when the last byte came
        self._received = 0
        self._window = (self._heard, 0)  # of a body: since when, and what had been received then
        self._head_since: float | None = self._heard
        self._unread_since: float | None = None
        self._closing_since: float | None = None
        self._make_room()

    def data_received(self, data: bytes) -> None:
        self._heard = self.loop.time()
        self._received += len(data)
        super().data_received(data)
        if not self._begins_request():
            self._head_since = None
        elif self._head_since is None:
            self._head_since = self._heard

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread_since = self.loop.time()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unread_since = None

    def look(self, now: float) -> None:
        """Close the connection if its client is late."""
        if not self._waits_for_body():
            self._window = (now, self._received)
        if self.transport.is_closing():
            self._closing_since = self._closing_since or now
            if now - self._closing_since > LAST_SECONDS:
                self.transport.abort()
        elif self._unread_since is not None and now - self._unread_since > READER_SECONDS:
            self.transport.abort()
        elif self._head_since is not None and now - self._head_since > HEAD_SECONDS:
            self._give_up()
        elif now - self._window[0] > BODY_SECONDS:
            if self._received - self._window[1] < LEAST_BYTES:
                self._give_up()
            self._window = (now, self._received)

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP."""
        self._answer(b"400 Bad Request", msg)

    def _begins_request(self) -> bool:
        """Whether a part of a head is here, or the rest of a body that was refused before it had come."""
        state = self.conn.their_state
        if self.cycle is not None and not self.cycle.response_complete:
            return False
        return state is h11.SEND_BODY or (state is h11.IDLE and bool(self.conn.trailing_data[0]))

    def _waits_for_body(self) -> bool:
        cycle = self.cycle
        return cycle is not None and not cycle.response_complete and cycle.more_body and not self.flow.read_paused

    def _waits_for_client(self) -> bool:
        return self.cycle is None or self.cycle.response_complete or self._waits_for_body()

    def _give_up(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            started = self.cycle.response_started
            self.cycle.disconnected = True  # the application hears of it as of a client that has gone
            self.cycle.message_event.set()
            if started:
                self.transport.abort()
                return
        self._answer(b"408 Request Timeout", "the request did not come in time")

    def _answer(self, status: bytes, message: str) -> None:
        """An answer of our own, past the application, after which the connection closes."""
        headers = {**PROTECTION, "content-type": "text/plain; charset=utf-8", "content-length": str(len(message))}
        lines = [b"HTTP/1.1 " + status, *(f"{name}: {value}".encode() for name, value in headers.items())]
        self.transport.write(b"\r\n".join([*lines, b"connection: close", b"", message.encode("ascii")]))
        self.transport.close()

    def _make_room(self) -> None:
        if len(self.connections) <= self.most:
            return
        others = (each for each in self.connections if isinstance(each, Connection) and each is not self)
        silent = [each for each in others if each._waits_for_client()]
        victim = min(silent, key=lambda each: each._heard, default=self)
        self.connections.discard(victim)
        victim.transport.abort()
