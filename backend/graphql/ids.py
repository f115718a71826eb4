"""Global ids as W&B has them: base64 of ``Kind:v1:number``. The client treats them as opaque text."""

from __future__ import annotations

import base64
import binascii

from .errors import ClientError

_LARGEST = 2**63 - 1  # what a row number can be


def row_number(text: str) -> int:
    """The number that ``text`` is, in the digits that we write. Raises ValueError when it is none, or no row's."""
    if text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= _LARGEST:
        return int(text)
    raise ValueError(f"{text[:40]!r} is not the number of a row")


def encode(kind: str, number: int) -> str:
    """The global id of row ``number`` of a noun, for example ``encode("Run", 7)``."""
    return base64.b64encode(f"{kind}:v1:{number}".encode()).decode()


def decode(text: str, kind: str) -> int:
    """The row number in a global id. Raises ClientError when it is none, or of another kind."""
    try:
        found, version, number = base64.b64decode(text, validate=True).decode().split(":")
        if (found, version) == (kind, "v1"):
            return row_number(number)
    except (binascii.Error, ValueError):
        pass
    raise ClientError(f"{text[:100]!r} is not the id of a {kind}")
