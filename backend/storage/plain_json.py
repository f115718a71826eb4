"""JSON as the standard has it: what SQLite's functions and other languages' parsers understand."""

from __future__ import annotations

import json
import math
from typing import Any


def strict_json(text: str) -> str:
    """JSON text in which NaN and infinities are the texts "NaN", "Infinity", "-Infinity", as W&B's servers answer them.

    SQLite's JSON functions, which filters use, know only strict JSON. Raises ValueError when it is no JSON object.
    """
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("a JSON object is expected")
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        return json.dumps(named_numbers(value), allow_nan=False)


def named_numbers(value: Any) -> Any:
    """``value`` with NaN and infinities as texts, at any depth."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: named_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [named_numbers(item) for item in value]
    return value
