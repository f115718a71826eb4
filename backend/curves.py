"""A run's history in fewer rows: what W&B calls sampled history."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import Any

from .storage import history, sampling
from .storage.plain_json import named_numbers

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
    span = _span(run_id, spec.min_step, None if spec.max_step is None else spec.max_step + 1)
    most = min(spec.samples, MOST_ROWS)
    if spec.keys:
        found = sampling.pick_with(conn, span, spec.keys, most)
    else:
        found = history.objects(sampling.pick(conn, span, most))
    return [named_numbers(row) for row in found]


def lines(
    conn: sqlite3.Connection, run_id: int, samples: int, min_step: int | None = None, max_step: int | None = None
) -> list[str]:
    """Lines as the client sent them, from ``min_step`` to before ``max_step``, evenly thinned to ``samples``."""
    return sampling.pick(conn, _span(run_id, min_step, max_step), min(samples, MOST_ROWS))


def events(conn: sqlite3.Connection, run_id: int, samples: int) -> list[str]:
    """System metrics as the client sent them, evenly thinned to ``samples``."""
    return sampling.pick_events(conn, run_id, min(samples, MOST_ROWS))


def _span(run_id: int, low: int | None, high: int | None) -> sampling.Span:
    return sampling.Span(run_id, sampling.LOWEST if low is None else low, sampling.HIGHEST if high is None else high)


def _whole(given: dict[str, Any], name: str, default: int | None = None) -> int | None:
    value = given.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value):
        raise ValueError(f"{name} is not a whole number")
    return max(-(2**61), min(int(value), 2**61))
