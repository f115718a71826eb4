"""Filters on sweeps, in the MongoDB-style language that W&B's API uses for runs."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterable
from typing import Any

from ..storage import plain_json
from ..storage.database import SEARCHED
from ..storage.filters import FilterError, check_pattern
from .errors import ClientError

_FIELDS = {
    "name": "name",
    "display_name": "display_name",
    "displayName": "display_name",
    "description": "description",
    "state": "state",
    "method": "method",
    "user": "user",
    "username": "user",
    "created_at": "created_at",
    "createdAt": "created_at",
    "updated_at": "updated_at",
    "updatedAt": "updated_at",
}
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "$eq": lambda have, want: have == want,
    "$ne": lambda have, want: have != want,
    "$in": lambda have, want: have in want,
    "$nin": lambda have, want: have not in want,
    "$gt": lambda have, want: have is not None and have > want,
    "$gte": lambda have, want: have is not None and have >= want,
    "$lt": lambda have, want: have is not None and have < want,
    "$lte": lambda have, want: have is not None and have <= want,
    "$regex": lambda have, want: have is not None and _searches(want, have),
}
_DEEPEST = 20


def matching(rows: Iterable[sqlite3.Row], filters: str, state: Callable[[sqlite3.Row], str]) -> list[sqlite3.Row]:
    """The rows that the filter lets through. Raises ClientError for a filter that is none.

    ``state`` tells a sweep's state, which is not always the one in its row.
    """
    try:
        condition = plain_json.loads(filters) or {}
        return [row for row in rows if _holds(condition, _Sweep(row, state))]
    except (ValueError, TypeError, AttributeError) as error:
        raise ClientError(f"the filter {(filters or '')[:200]!r} cannot be read: {error}") from error


class _Sweep:
    """A sweep's fields by their columns' names; the state is asked for only if a filter does."""

    def __init__(self, row: sqlite3.Row, state: Callable[[sqlite3.Row], str]) -> None:
        self._row, self._state = row, state

    def __getitem__(self, column: str) -> Any:
        return self._state(self._row) if column == "state" else self._row[column]


def _holds(condition: Any, row: _Sweep, depth: int = 0) -> bool:
    if depth > _DEEPEST:
        raise ClientError("the filter is nested too deeply")
    return all(_term(key, value, row, depth + 1) for key, value in condition.items())


def _term(key: str, value: Any, row: _Sweep, depth: int) -> bool:
    if key == "$and":
        return all(_holds(part, row, depth) for part in value)
    if key == "$or":
        return any(_holds(part, row, depth) for part in value)
    if key == "$not":
        return not _holds(value, row, depth)
    if key not in _FIELDS:
        raise ClientError(f"sweeps cannot be filtered by {key[:80]!r}; allowed are {', '.join(_FIELDS)}")
    have = row[_FIELDS[key]]
    tests = value if isinstance(value, dict) else {"$eq": value}
    return all(_compare(operator, have, want) for operator, want in tests.items())


def _compare(operator: str, have: Any, want: Any) -> bool:
    if operator == "$not":
        return not all(_compare(inner, have, value) for inner, value in want.items())
    if operator not in _COMPARISONS:
        raise ClientError(f"unknown operator {operator!r} in a filter; allowed are {', '.join(_COMPARISONS)}")
    return _COMPARISONS[operator](have, want)


def _searches(pattern: Any, text: str) -> bool:
    """A pattern that could run for minutes is refused, as in the filters of runs."""
    try:
        check_pattern(pattern)
    except FilterError as error:
        raise ClientError(str(error)) from None
    return re.search(pattern, text[:SEARCHED]) is not None
