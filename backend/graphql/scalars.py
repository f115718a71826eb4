"""W&B's scalars as they come in: what the store cannot hold is refused here, before any resolver sees it."""

from __future__ import annotations

import re
from typing import Any

from ariadne import ScalarType
from ariadne.types import SchemaBindable

json_string = ScalarType("JSONString")
int64 = ScalarType("Int64")


@json_string.value_parser
def parse_json_string(value: Any) -> str:
    """The text itself: which JSON it must be is the field's to say. Raises ValueError when it is no text."""
    if not isinstance(value, str):
        raise ValueError("JSON is expected as a text")
    return value


@int64.value_parser
def parse_int64(value: Any) -> int:
    """A whole number; JavaScript's clients write large ones as texts. Raises ValueError."""
    number = _whole(value)
    if number is None or not -(2**63) <= number < 2**63:
        raise ValueError("a whole number of 64 bits is expected")
    return number


def _whole(value: Any) -> int | None:
    if isinstance(value, str):
        return int(value) if re.fullmatch("-?[0-9]{1,19}", value) else None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


bindables: list[SchemaBindable] = [json_string, int64]
