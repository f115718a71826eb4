"""The table of a project's runs: the store sorts and pages, so that a project may have many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..storage import filters
from . import data, runs_table
from .data import Rows, Run
from .runs_table import PAGE, Table

SAMPLE = 200  # newest runs by which the columns are chosen
_PLAIN = {
    "name": "runs.display_name",
    "state": "runs.state",
    "created": "runs.created_at",
    "duration": f"coalesce(json_extract(runs.summary, '$._runtime'), {filters.DURATION})",
}


def table(
    rows: Rows, project_id: int, query: Mapping[str, str], newest: Sequence[Run], states: Mapping[str, int]
) -> Table:
    """The runs that ``query`` asks for. ``newest`` decides on the columns, ``states`` holds how many runs are in which.

    A search through texts looks at the runs one by one, as does a sort by a key that the store cannot be asked for.
    """
    asked = runs_table.asked(query)
    columns = runs_table.columns(newest)
    try:
        order = _order(asked.get("sort", ""), columns)
    except filters.FilterError:
        order = None
    if asked.get("q") or order is None:
        return runs_table.chosen(data.runs(rows, project_id), query, columns)
    state = asked.get("state")
    found = states.get(state, 0) if state else sum(states.values())
    page = runs_table.page_number(asked.get("page", "1"), found)
    shown = data.page(rows, project_id, state, order, PAGE, (page - 1) * PAGE)
    return Table(columns, shown, found, sum(states.values()), page, asked, sorted(states))


def _order(sort: str, columns: Sequence[runs_table.Column]) -> filters.Sql:
    """SQL to sort by; the newest first where nothing else is asked. Raises FilterError."""
    key = sort.removeprefix("-")
    if key not in {column.key for column in columns}:
        return filters.Sql("runs.created_at DESC")
    value = filters.Sql(_PLAIN[key]) if key in _PLAIN else filters.field_of(key).sql
    direction = "DESC" if sort.startswith("-") else "ASC"
    return filters.Sql(f"{value.text} COLLATE NOCASE {direction} NULLS LAST", value.values)
