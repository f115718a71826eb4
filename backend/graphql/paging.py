"""Relay connections: pages of edges with cursors, the form in which W&B lists everything."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Any

from .errors import ClientError

LARGEST = 1000  # rows on one page, whatever was asked for
DEFAULT = 50


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


def _cursor(position: int) -> str:
    return base64.b64encode(f"after:{position}".encode()).decode()


def _offset(cursor: str | None) -> int:
    if not cursor:
        return 0
    try:
        word, number = base64.b64decode(cursor, validate=True).decode().split(":")
        if word == "after" and int(number) >= 0:
            return int(number)
    except (binascii.Error, ValueError):
        pass
    raise ClientError(f"{cursor!r} is not a cursor of this server")
