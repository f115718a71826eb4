"""The one place that formats: data goes to stdout in the format asked for, messages go to stderr."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

FORMATS = ("table", "json", "yaml", "value")

Record = Mapping[str, Any]

SHORT = 12  # characters; what is shorter is broken last


def emit(
    data: Record | Sequence[Record],
    format: str = "table",
    columns: Mapping[str, str] | None = None,
    value: str = "id",
) -> None:
    """Print ``data`` to stdout: one record, or a list of them.

    ``json`` and ``yaml`` hold every key; a number that JSON cannot write (NaN, an infinity) is null. ``value`` is the
    one thing a script wants: the field ``value`` of each record, a line each. ``table`` shows the fields named by
    ``columns`` (field -> heading; all fields when not given): a list as rows, one record as lines of name and value.
    """
    if format == "json":
        print(json.dumps(plain(data), indent=2, ensure_ascii=False, allow_nan=False))
    elif format == "yaml":
        print(to_yaml(data), end="")
    elif format == "value":
        for record in [data] if isinstance(data, Mapping) else data:
            print(cell(record.get(value)))
    elif isinstance(data, Mapping):
        print("\n".join(_lines(data, columns or {name: name for name in data})))
    else:
        console().print(table(data, columns or {name: name for name in (data[0] if data else {})}))


def emit_line(data: Record) -> None:
    """Print ``data`` as one line of JSON, at once: an answer that goes on (JSON lines)."""
    print(json.dumps(plain(data), ensure_ascii=False, allow_nan=False), flush=True)


def aligned(rows: Sequence[Sequence[Any]]) -> list[str]:
    """``rows`` as lines with their columns one below the other."""
    cells = [[cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["   ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def message(text: str) -> None:
    """Say ``text`` to the person at the terminal."""
    print(printable(text), file=sys.stderr, flush=True)


def is_terminal(stream: TextIO) -> bool:
    """Whether something can be drawn in place there."""
    return stream.isatty() and os.environ.get("TERM", "") != "dumb"


def to_yaml(data: Any) -> str:
    """``data`` as YAML, its keys in their own order."""
    import yaml

    return str(yaml.safe_dump(plain(data), sort_keys=False, allow_unicode=True))


def console(stderr: bool = False) -> Console:
    """A rich console: colours on a terminal only (and never with NO_COLOR), no line cut where no terminal is."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(
        file=stream, width=None if stream.isatty() else 400, highlight=False, markup=False, emoji=False, soft_wrap=False
    )


def table(rows: Sequence[Record], columns: Mapping[str, str]) -> Table:
    """A rich table of ``rows``: numbers to the right, everything else to the left."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for field, heading in columns.items():
        numbers = bool(rows) and all(_is_number(row.get(field)) or row.get(field) is None for row in rows)
        side: Literal["left", "right"] = "right" if numbers else "left"
        widest = max((len(cell(row.get(field))) for row in rows), default=0)
        whole = widest if widest <= SHORT else None  # where room is short, long texts are broken first
        grid.add_column(Text(printable(heading)), justify=side, overflow="fold", min_width=whole)
    for row in rows:
        grid.add_row(*(Text(cell(row.get(field))) for field in columns))
    return grid


def cell(value: Any) -> str:
    """A value as a person reads it: numbers short, nothing for None, lists as JSON, no control characters."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (Mapping, list, tuple)):
        return printable(json.dumps(plain(value), ensure_ascii=False))
    return printable(str(value))


def printable(text: str) -> str:
    """``text`` without control characters: the name of a run must not steer the terminal."""
    return "".join(char if _harmless(char) else f"\\x{ord(char):02x}" for char in text)


def plain(value: Any) -> Any:
    """``value`` as JSON and YAML can write it: dicts, lists, texts, finite numbers, booleans and None."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return str(value)


def duration(seconds: float) -> str:
    """``75`` as ``1m 15s``."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, rest = divmod(rest, 60)
    parts = [(hours, "h"), (minutes, "m"), (rest, "s")]
    return " ".join(f"{count}{unit}" for count, unit in parts if count) or "0s"


def size(count: int | None) -> str:
    """``1536`` bytes as ``1.5 KiB``; None, a size that is not known yet, as nothing."""
    amount = float(count or 0)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def _lines(record: Record, columns: Mapping[str, str]) -> list[str]:
    """Lines of name and value, without what is None; a long value goes on below where a terminal is too narrow.

    By itself, since this is all that quick commands print, and rich takes longer to import than they to answer.
    """
    shown = [(printable(heading), cell(record[field])) for field, heading in columns.items() if _known(record, field)]
    margin = max((len(heading) for heading, _ in shown), default=0) + 3
    width = shutil.get_terminal_size().columns - margin if sys.stdout.isatty() else 0
    found = []
    for heading, value in shown:
        for number, line in enumerate(_folded(value, width)):
            found.append(f"{'' if number else heading:<{margin}}{line}".rstrip())
    return found


def _known(record: Record, field: str) -> bool:
    return record.get(field) is not None


def _folded(text: str, width: int) -> list[str]:
    """``text`` in lines of ``width`` characters at most, broken between words where there are any; 0: no limit."""
    lines = text.splitlines() or [""]
    if width < SHORT:
        return lines
    return [part for line in lines for part in textwrap.wrap(line, width, break_on_hyphens=False) or [""]]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _harmless(char: str) -> bool:
    return char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cf")
