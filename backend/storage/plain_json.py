"""JSON as the standard has it: what SQLite's functions and other languages' parsers understand."""

from __future__ import annotations

import json
import math
from typing import Any

DEEPEST = 200  # SQLite's JSON functions fail in every query over a row that is nested 1,000 deep


def strict_json(text: str) -> str:
    """JSON text in which NaN and infinities are the texts "NaN", "Infinity", "-Infinity", as W&B's servers answer them.

    SQLite's JSON functions, which filters use, know only strict JSON. Raises ValueError when it is no JSON object, or
    one that is nested too deeply.
    """
    value = loads(text)
    if not isinstance(value, dict):
        raise ValueError("a JSON object is expected")
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        return json.dumps(named_numbers(value), allow_nan=False)


def loads(text: str | bytes) -> Any:
    """Whatever the JSON text holds, as it can be stored: see ``storable_values``. Raises ValueError."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("too deeply nested") from None
    return storable_values(value) if _is_suspicious(text) else value


def _is_suspicious(text: str | bytes) -> bool:
    """Whether it may hold a lone surrogate, or be nested too deeply: seldom, and seen at a glance."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    return may_be_deep(text) or "\\ud" in text or "\\uD" in text or not text.isascii()


def may_be_deep(text: str) -> bool:
    """Whether a JSON text has so many braces that it could be nested too deeply."""
    return text.count("{") + text.count("[") > DEEPEST


def storable(text: str) -> str:
    """The text with lone surrogates, which JSON can hold and UTF-8 cannot, replaced."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def storable_values(value: Any, depth: int = 0) -> Any:
    """``value`` out of JSON with ``storable`` texts and keys. Raises ValueError where it is nested too deeply."""
    if depth > DEEPEST:
        raise ValueError(f"more than {DEEPEST} levels of nesting")
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, list):
        return [storable_values(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {storable(key): storable_values(item, depth + 1) for key, item in value.items()}
    return value


def named_numbers(value: Any) -> Any:
    """``value`` with NaN and infinities as texts, at any depth."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: named_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [named_numbers(item) for item in value]
    return value
