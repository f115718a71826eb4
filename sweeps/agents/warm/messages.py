"""How an agent, a warm server and its guards talk: JSON with its length before it, and file descriptors beside it."""

from __future__ import annotations

import json
import os
import socket
import struct
from typing import Any

_HEAD = struct.Struct("<I")


def send(connection: socket.socket, message: dict[str, Any], descriptors: tuple[int, ...] = ()) -> None:
    """Raises OSError where nobody listens (any more)."""
    body = json.dumps(message).encode()
    data = memoryview(_HEAD.pack(len(body)) + body)
    sent = socket.send_fds(connection, [data], list(descriptors)) if descriptors else 0
    connection.sendall(data[sent:])


def receive(connection: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """The next message and the descriptors that came with it; None when the other side is gone."""
    descriptors: list[int] = []
    head = _read(connection, _HEAD.size, descriptors)
    body = _read(connection, _HEAD.unpack(head)[0], descriptors) if head else None
    if body is None:
        for each in descriptors:
            os.close(each)
        return None
    return json.loads(body), descriptors


def _read(connection: socket.socket, size: int, descriptors: list[int]) -> bytes | None:
    data = b""
    while len(data) < size:
        try:
            part, found, _, _ = socket.recv_fds(connection, size - len(data), 4)
        except ConnectionError:
            return None
        descriptors += found
        if not part:
            return None
        data += part
    return data
