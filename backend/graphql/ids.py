"""Global ids as W&B has them: base64 of ``Kind:v1:number``. The client treats them as opaque text."""

from __future__ import annotations

import base64
import binascii

from .errors import ClientError


def encode(kind: str, number: int) -> str:
    """The global id of row ``number`` of a noun, for example ``encode("Run", 7)``."""
    return base64.b64encode(f"{kind}:v1:{number}".encode()).decode()


def decode(text: str, kind: str) -> int:
    """The row number in a global id. Raises ClientError when it is none, or of another kind."""
    try:
        found, version, number = base64.b64decode(text, validate=True).decode().split(":")
        if (found, version) == (kind, "v1") and 0 < int(number) < 2**63:
            return int(number)
    except (binascii.Error, ValueError):
        pass
    raise ClientError(f"{text!r} is not the id of a {kind}")
