"""Addresses on this server."""

from __future__ import annotations

from urllib.parse import quote


def link(*parts: object) -> str:
    """An address; every part is one segment, whatever is in it."""
    return "/" + "/".join(quote(str(part), safe="") for part in parts)


def nested_link(base: str, name: str) -> str:
    """An address below ``base`` for a name that has folders."""
    return f"{base}/{quote(name, safe='/')}"
