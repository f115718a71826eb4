"""Relay connections: pages of edges with cursors, the form in which W&B lists everything."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from typing import Any

from .errors import ClientError
from .ids import row_number

LARGEST = 1000  # rows on one page, whatever was asked for
DEFAULT = 50
_FARTHEST = 2**62  # positions in a listing, far beyond any


def page(first: int | None, after: str | None) -> tuple[int, int]:
    """``LIMIT`` and ``OFFSET`` for the asked page. Raises ClientError for a cursor that is none of ours."""
    limit = DEFAULT if first is None else max(0, min(first, LARGEST))
    return limit, _offset(after)


def connection(rows: Sequence[Any], first: int | None, after: str | None, total: int | None = None) -> dict[str, Any]:
    """A connection out of the rows that ``page`` asked for.

    ``rows`` may hold one row more than the page (ask for ``limit + 1``): that is how a next page is known when
    ``total``, the number of all rows, is not given.
    """
    limit, offset = page(first, after)
    shown = rows[:limit]
    end = offset + len(shown)
    more = end < total if total is not None else len(rows) > limit
    edges = [{"node": row, "cursor": _cursor(offset + n + 1)} for n, row in enumerate(shown)]
    return {
        "edges": edges,
        "pageInfo": {
            "hasNextPage": more,
            "endCursor": _cursor(end) if shown else None,
            "hasPreviousPage": offset > 0,
            "startCursor": edges[0]["cursor"] if edges else None,
        },
        "totalCount": total if total is not None else end + int(more),
    }


def listed(load: Callable[[int, int], Sequence[Any]], first: int | None, after: str | None) -> dict[str, Any]:
    """A connection out of a loader ``load(limit, offset)``; it is asked for one row more than shown."""
    limit, offset = page(first, after)
    return connection(load(limit + 1, offset), first, after)


def keyed(rows: Sequence[tuple[Any, Sequence[Any]]], limit: int, after: str | None, total: int) -> dict[str, Any]:
    """A connection whose cursors are places in an order, not numbers: each row comes with its place.

    ``rows`` may hold one row more than ``limit``, which tells that there is a next page.
    """
    edges = [{"node": row, "cursor": _encoded(place)} for row, place in rows[:limit]]
    return {
        "edges": edges,
        "pageInfo": {
            "hasNextPage": len(rows) > limit,
            "endCursor": edges[-1]["cursor"] if edges else None,
            "hasPreviousPage": bool(after),
            "startCursor": edges[0]["cursor"] if edges else None,
        },
        "totalCount": total,
    }


def place(cursor: str | None, length: int) -> list[Any] | None:
    """The place in a cursor that ``keyed`` made, of ``length`` values, the last a row's id.

    Raises ClientError for any other cursor.
    """
    if not cursor:
        return None
    try:
        values = json.loads(base64.b64decode(cursor, validate=True))
        plain = isinstance(values, list) and len(values) == length and all(_is_plain(value) for value in values)
        if plain and isinstance(values[-1], int):
            return list(values)
    except (binascii.Error, ValueError, RecursionError):
        pass
    raise ClientError(f"{cursor[:80]!r} is not a cursor of this server in this order")


def _is_plain(value: Any) -> bool:
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    return value is None or isinstance(value, (str, float))


def _encoded(values: Sequence[Any]) -> str:
    return base64.b64encode(json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()).decode()


def _cursor(position: int) -> str:
    return base64.b64encode(f"after:{position}".encode()).decode()


def _offset(cursor: str | None) -> int:
    if not cursor:
        return 0
    try:
        word, number = base64.b64decode(cursor, validate=True).decode().split(":")
        if word == "after" and row_number(number) < _FARTHEST:
            return int(number)
    except (binascii.Error, ValueError):
        pass
    raise ClientError(f"{cursor[:100]!r} is not a cursor of this server")
