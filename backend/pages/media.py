"""Previews of W&B tables: the JSON that ``wandb.Table`` writes, with the pictures in its cells."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..storage.blobs import Blobs
from .data import loads
from .links import nested_link

SUFFIX = ".table.json"
ROWS = 50  # of a table that a page shows
_LARGEST = 32 * 2**20  # bytes of a table that a page reads
_CELLS = 100  # columns of a table that a page shows

Address = Callable[[str], "str | None"]


@dataclass(frozen=True)
class Picture:
    """A cell that shows a picture, or says which one is not there."""

    path: str
    address: str | None
    caption: str


@dataclass(frozen=True)
class Preview:
    """The first rows of a table; ``rows`` holds plain values and pictures."""

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    total: int
    problem: str | None = None


def preview(blobs: Blobs, file: sqlite3.Row, name: str, address: Address) -> Preview:
    """The table in a stored file. ``address`` gives where a picture, named by its path, can be fetched."""
    if not file["digest"] or file["size"] > _LARGEST:
        return Preview(name, [], [], 0, "not shown here: download it")
    try:
        content = loads(blobs.path(file["digest"]).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        content = None
    columns, rows = (content.get("columns"), content.get("data")) if isinstance(content, dict) else (None, None)
    if not isinstance(columns, list) or not isinstance(rows, list):
        return Preview(name, [], [], 0, "not a table that can be read")
    shown = [[_cell(value, address) for value in row[:_CELLS]] for row in rows[:ROWS] if isinstance(row, list)]
    return Preview(name, [str(column) for column in columns[:_CELLS]], shown, len(rows))


def _cell(value: Any, address: Address) -> Any:
    if isinstance(value, dict) and value.get("_type") == "image-file":
        path = str(value.get("path") or value.get("artifact_path") or "")
        return Picture(path, address(path), str(value.get("caption") or ""))
    return value


def below(base: str, known: set[str]) -> Address:
    """Pictures among the files that ``base`` serves."""
    return lambda path: nested_link(base, path) if path in known else None


def table_name(file: str) -> str:
    """The key under which a run logged a table, from the name of its file."""
    stem = file.rsplit("/", 1)[-1].removesuffix(SUFFIX)
    key, _, _ = stem.rsplit("_", 2) if stem.count("_") >= 2 else (stem, "", "")
    return key
