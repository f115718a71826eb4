"""The table of runs: its columns, and what the address asks of it (filter, order, page)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from ... import figures
from .data import COUNTERS, Run

PAGE = 50
_PLAIN = {"name": "Name", "state": "State", "created": "Created", "duration": "Duration"}
_CONFIG_COLUMNS, _SUMMARY_COLUMNS = 10, 12


@dataclass(frozen=True)
class Column:
    """``key`` is how the address names it: ``name``, ``config.lr``, ``summary.loss``."""

    key: str
    title: str
    group: str = ""

    def of(self, run: Run) -> Any:
        if self.group:
            source = run.config if self.group == "config" else run.summary
            return source.get(self.title)
        fields = {"name": run.display_name, "state": run.state, "created": run.created_at, "duration": run.seconds}
        return fields[self.key]


@dataclass(frozen=True)
class Table:
    """One page of runs as the address asks for it."""

    columns: Sequence[Column]
    runs: Sequence[Run]
    found: int
    total: int
    page: int
    asked: Mapping[str, str]
    states: Sequence[str]

    @property
    def pages(self) -> int:
        return max(1, -(-self.found // PAGE))

    def address(self, **changes: object) -> str:
        """This page's address with something else asked."""
        return "?" + urlencode({**self.asked, **{key: str(value) for key, value in changes.items()}})

    def order(self, column: Column) -> str:
        """The address that orders by ``column``; a second time the other way round."""
        return self.address(sort=f"-{column.key}" if self.asked.get("sort") == column.key else column.key, page=1)

    def mark(self, column: Column) -> str:
        sort = self.asked.get("sort", "")
        return {column.key: " ▲", f"-{column.key}": " ▼"}.get(sort, "")

    def aria(self, column: Column) -> str:
        sort = self.asked.get("sort", "")
        return {column.key: "ascending", f"-{column.key}": "descending"}.get(sort, "none")


def table(
    runs: Sequence[Run], query: Mapping[str, str], parameters: Sequence[str] | None = None, metric: str | None = None
) -> Table:
    """The runs that ``query`` asks for.

    ``parameters`` are the searched ones, else those that differ between runs; ``metric`` comes first of all numbers.
    """
    return chosen(runs, query, columns(runs, parameters, metric))


def chosen(runs: Sequence[Run], query: Mapping[str, str], shown_columns: Sequence[Column]) -> Table:
    """The runs that ``query`` asks for, with these columns."""
    wanted = asked(query)
    found = _ordered(_filtered(runs, wanted), shown_columns, wanted.get("sort", ""))
    page = page_number(wanted.get("page", "1"), len(found))
    shown = found[(page - 1) * PAGE : page * PAGE]
    return Table(shown_columns, shown, len(found), len(runs), page, wanted, sorted({run.state for run in runs}))


def asked(query: Mapping[str, str]) -> dict[str, str]:
    """What an address asks of a table."""
    return {key: query[key] for key in ("q", "state", "sort", "page") if query.get(key)}


def changing(runs: Sequence[Run]) -> list[str]:
    """The configuration keys whose values differ between the runs."""
    seen: dict[str, set[str]] = {}
    for run in runs:
        for key, value in run.config.items():
            seen.setdefault(key, set()).add(figures.text_of(value))
    return [key for key, values in seen.items() if len(values) > 1]


def metrics(runs: Sequence[Run]) -> list[str]:
    """The numbers that the runs' summaries hold, the most frequent first."""
    counts: dict[str, int] = {}
    for run in runs:
        for key, value in run.summary.items():
            if not key.startswith("_") and figures.is_number(value):
                counts[key] = counts.get(key, 0) + 1
    return sorted(counts, key=lambda key: -counts[key])


def columns(runs: Sequence[Run], parameters: Sequence[str] | None = None, metric: str | None = None) -> list[Column]:
    """The columns that tell these runs apart."""
    searched = changing(runs) if parameters is None else parameters
    shown = sorted(metrics(runs), key=lambda key: (key != metric, key in COUNTERS))
    config = [Column(f"config.{key}", key, "config") for key in searched[:_CONFIG_COLUMNS]]
    summary = [Column(f"summary.{key}", key, "summary") for key in shown[:_SUMMARY_COLUMNS]]
    return [*(Column(key, title) for key, title in _PLAIN.items()), *config, *summary]


def _filtered(runs: Sequence[Run], wanted: Mapping[str, str]) -> list[Run]:
    words, state = wanted.get("q", "").casefold().split(), wanted.get("state")
    kept = [run for run in runs if state in (None, run.state)]
    return [run for run in kept if all(word in _text(run) for word in words)] if words else kept


def _text(run: Run) -> str:
    """What a search looks through: names, tags, sweep and ``key=value`` of the configuration."""
    pairs = (f"{key}={figures.text_of(value)}" for key, value in run.config.items())
    return "\n".join([run.display_name, run.name, run.sweep or "", *map(str, run.tags), *pairs]).casefold()


def _ordered(runs: Sequence[Run], known_columns: Sequence[Column], sort: str) -> list[Run]:
    column = next((column for column in known_columns if column.key == sort.removeprefix("-")), None)
    if column is None:
        return list(runs)
    known = [run for run in runs if not _absent(column.of(run))]
    absent = [run for run in runs if _absent(column.of(run))]  # last, whichever way round
    return sorted(known, key=lambda run: _rank(column.of(run)), reverse=sort.startswith("-")) + absent


def _absent(value: Any) -> bool:
    return value is None or (isinstance(value, float) and not figures.is_number(value))


def _rank(value: Any) -> tuple[int, float, str]:
    if figures.is_number(value):
        return (0, float(value), "")
    return (1, 0.0, figures.text_of(value).casefold())


def page_number(text: str, found: int) -> int:
    """The page that an address asks for, of those that there are."""
    wanted = int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 1
    return min(max(wanted, 1), max(1, -(-found // PAGE)))
