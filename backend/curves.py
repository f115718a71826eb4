"""A run's history in fewer rows: what W&B calls sampled history."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from .storage import history
from .storage.plain_json import named_numbers

T = TypeVar("T")
MOST_ROWS = 100_000  # in one answer, whatever was asked for


@dataclass(frozen=True)
class Spec:
    """One entry of ``sampledHistory(specs:)``: these keys, in these steps (``max_step`` included), so many rows."""

    keys: tuple[str, ...]
    samples: int
    min_step: int | None = None
    max_step: int | None = None


def parse_spec(text: str) -> Spec:
    """A spec from the client's JSON text. Raises ValueError."""
    given = json.loads(text)
    if not isinstance(given, dict):
        raise ValueError("a spec is a JSON object")
    keys = given.get("keys") or []
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ValueError("keys is a list of texts")
    return Spec(tuple(keys), _whole(given, "samples", 500) or 0, _whole(given, "minStep"), _whole(given, "maxStep"))


def sampled(conn: sqlite3.Connection, run_id: int, spec: Spec) -> list[dict[str, Any]]:
    """Rows that have all of the keys (every row where none is named), evenly thinned to ``samples``.

    NaN and infinities are answered as texts: this becomes plain JSON, which has no other way to say them.
    """
    high = None if spec.max_step is None else spec.max_step + 1
    found = []
    for row in history.rows(conn, run_id, -(2**62) if spec.min_step is None else spec.min_step, high):
        picked = {key: history.value_at(row, key) for key in spec.keys} if spec.keys else row
        if all(value is not None for value in picked.values()) or not spec.keys:
            found.append(picked)
    return [named_numbers(row) for row in thin(found, spec.samples)]


def thin(items: Sequence[T], most: int) -> list[T]:
    """At most ``most`` items, evenly spread, the first and the last among them; 0 or less means none."""
    most = min(most, MOST_ROWS)
    if most <= 0:
        return []
    if len(items) <= most:
        return list(items)
    if most == 1:
        return [items[-1]]
    step = (len(items) - 1) / (most - 1)
    return [items[round(n * step)] for n in range(most)]


def _whole(given: dict[str, Any], name: str, default: int | None = None) -> int | None:
    value = given.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value):
        raise ValueError(f"{name} is not a whole number")
    return max(-(2**61), min(int(value), 2**61))
