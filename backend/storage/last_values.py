"""The value that each key of a history had last."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from typing import Any

from .history import value_at

_LINES = 20  # what is older is taken from the summary


def of(conn: sqlite3.Connection, run: sqlite3.Row, keys: Iterable[str]) -> dict[str, Any]:
    """From the last lines, else from the summary. A key that is in neither is left out."""
    cursor = conn.execute("SELECT row FROM history WHERE run_id = ? ORDER BY line DESC LIMIT ?", (run["id"], _LINES))
    places = [*(json.loads(text) for (text,) in cursor), json.loads(run["summary"])]
    found = {key: next((v for row in places if (v := value_at(row, key)) is not None), None) for key in keys}
    return {key: value for key, value in found.items() if value is not None}
