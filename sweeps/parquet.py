"""Rows of any keys and values as a Parquet file: the columns and their types are known when all rows have been seen.

So rows lie in a text file first (a JSON object each line), however many there are, and are read back a group at a
time. The type of a column depends on its values only, not on their order:

- whole numbers: int64, where each fits; numbers: double; true and false: bool; texts: string;
- anything else, and a mixture: string, each value as JSON. NaN and infinities are then the texts "NaN", "Infinity" and
  "-Infinity", as W&B spells them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

GROUP_ROWS = 20_000
Row = Mapping[str, Any]


class Spool:
    """Rows on their way into one Parquet file; each ``add`` begins a row group of its own."""

    def __init__(self, folder: Path, first: Sequence[str]) -> None:
        folder.mkdir()
        self._folder = folder
        self._first = list(first)
        self._kinds: dict[str, set[str]] = {name: set() for name in first}
        self._files: list[Path] = []
        self.rows = 0

    def add(self, rows: Iterable[Row]) -> int:
        """Keep rows, read one at a time; how many."""
        file = self._folder / f"{len(self._files)}.jsonl"
        count = 0
        with file.open("w", encoding="utf-8") as out:
            for row in rows:
                self._see(row)
                out.write(json.dumps(row) + "\n")
                count += 1
        self._files.append(file)
        self.rows += count
        return count

    def write(self, target: Path) -> None:
        """Write the Parquet file: the first columns as given, then the others by name."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        names = [*self._first, *sorted(self._kinds.keys() - set(self._first))]
        schema = pa.schema([(_text(name), _type(self._kinds[name])) for name in names])
        with pq.ParquetWriter(target, schema, compression="zstd") as writer:
            for rows in self._groups():
                columns = [[_cell(row.get(name), self._kinds[name]) for row in rows] for name in names]
                arrays = [pa.array(column, type=field.type) for column, field in zip(columns, schema, strict=True)]
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema))

    def _see(self, row: Row) -> None:
        for name, value in row.items():
            kinds = self._kinds.setdefault(name, set())
            if value is not None:
                kinds.add(_kind(value))

    def _groups(self) -> Iterator[list[dict[str, Any]]]:
        for file in self._files:
            with file.open(encoding="utf-8") as lines:
                group: list[dict[str, Any]] = []
                for line in lines:
                    group.append(json.loads(line))
                    if len(group) == GROUP_ROWS:
                        yield group
                        group = []
            if group:
                yield group


def flat(row: Row, prefix: str = "") -> dict[str, Any]:
    """Nested values by dotted names; lists, empty objects and W&B's media (objects with ``_type``) stay as they are."""
    found: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, Mapping) and value and "_type" not in value:
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int" if -(2**63) <= value < 2**63 else "json"
    if isinstance(value, float):
        return "float"
    return "str" if isinstance(value, str) else "json"


def _type(kinds: set[str]) -> pa.DataType:
    import pyarrow as pa

    plain = {"bool": pa.bool_(), "int": pa.int64(), "float": pa.float64(), "str": pa.string()}
    if kinds == {"int", "float"}:
        return pa.float64()
    return plain.get(next(iter(kinds)), pa.string()) if len(kinds) == 1 else pa.string()


def _cell(value: Any, kinds: set[str]) -> Any:
    if value is None:
        return None
    if kinds == {"int", "float"}:
        return float(value)
    if len(kinds) == 1 and "json" not in kinds:
        return _text(value) if isinstance(value, str) else value
    return json.dumps(_spelled(value), ensure_ascii=True, sort_keys=True)


def _text(value: str) -> str:
    """The text without lone surrogates, which JSON can hold and UTF-8 cannot."""
    return value.encode("utf-8", "replace").decode()


def _spelled(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {str(name): _spelled(inner) for name, inner in value.items()}
    return [_spelled(inner) for inner in value] if isinstance(value, list) else value
