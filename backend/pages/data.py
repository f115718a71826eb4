"""What the pages show of projects and runs, read from the store and made plain."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...moments import moment
from ..search.metric import Metric
from ..storage import history as stored_history
from ..storage import sampling
from ..storage.filters import Sql

Rows = sqlite3.Connection
Point = tuple[float, float]

SAMPLED = 20_000  # lines of a history that a page reads at most: a longer one is sampled evenly
NEWEST = 20_000  # runs of a project that a search looks through at most
COUNTERS = ("epoch", "step", "global_step")  # they rise with the step in every run: nothing to compare
LIVE = ("running", "pending", "preempting")


@dataclass(frozen=True)
class Run:
    """One run with its configuration and summary as plain values, nested names joined by dots."""

    pk: int
    name: str
    display_name: str
    state: str
    user: str
    created_at: str
    heartbeat_at: str
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    tags: Sequence[str]
    sweep: str | None
    lines: int
    row: sqlite3.Row

    @property
    def live(self) -> bool:
        return self.state in LIVE

    @property
    def seconds(self) -> float:
        """How long it ran: as the client says, else from its first to its last sign of life."""
        told = self.summary.get("_runtime")
        if isinstance(told, (int, float)) and math.isfinite(told):
            return float(told)
        first, last = moment(self.created_at), moment(self.heartbeat_at)
        return (last - first).total_seconds() if first and last else 0.0


def loads(text: str | None) -> Any:
    """JSON from the store; what a client once sent broken is shown as nothing, not as an error."""
    try:
        return json.loads(text) if text else None
    except ValueError:
        return None


def mapping(text: str | None) -> dict[str, Any]:
    value = loads(text)
    return value if isinstance(value, dict) else {}


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested values with their names joined by dots; W&B's own keys (``_wandb``, ``_step``, ...) stay as they are."""
    for key, value in values.items():
        if isinstance(value, dict) and value and "_type" not in value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def plain_config(text: str) -> dict[str, Any]:
    """A run's configuration without W&B's wrapping: ``{"lr": {"value": 0.1}}`` is ``{"lr": 0.1}``."""
    config = {k: v["value"] if isinstance(v, dict) and "value" in v else v for k, v in mapping(text).items()}
    return dict(flat({key: value for key, value in config.items() if key != "_wandb"}))


def entities_projects(rows: Rows, entity: str | None = None) -> list[sqlite3.Row]:
    """Every project, the last used first, with its number of runs and when one was last seen."""
    return rows.execute(
        """SELECT p.*, count(r.id) AS runs, max(r.heartbeat_at) AS seen_at, sum(r.state = 'running') AS running
           FROM projects p LEFT JOIN runs r ON r.project_id = p.id
           WHERE ?1 IS NULL OR p.entity = ?1 GROUP BY p.id ORDER BY coalesce(seen_at, p.created_at) DESC""",
        (entity,),
    ).fetchall()


_RUNS = "SELECT r.*, s.name AS sweep_name FROM runs r LEFT JOIN sweeps s ON s.id = r.sweep_id"


def runs(rows: Rows, project_id: int, limit: int = NEWEST) -> list[Run]:
    """The newest runs of a project, newest first."""
    query = f"{_RUNS} WHERE r.project_id = ? ORDER BY r.created_at DESC, r.id DESC LIMIT ?"
    return [_run(row) for row in rows.execute(query, (project_id, limit))]


def page(rows: Rows, project_id: int, state: str | None, order: Sql, limit: int, offset: int) -> list[Run]:
    """Some of a project's runs in an order; of those that are alike in it, the newest first."""
    found = rows.execute(
        f"""SELECT runs.id FROM runs WHERE runs.project_id = ? AND (? IS NULL OR runs.state = ?)
            ORDER BY {order.text}, runs.created_at DESC, runs.id DESC LIMIT ? OFFSET ?""",
        (project_id, state, state, *order.values, limit, offset),
    )
    pks = [row["id"] for row in found]
    marks = ", ".join("?" * len(pks))
    known = {row["id"]: _run(row) for row in rows.execute(f"{_RUNS} WHERE r.id IN ({marks})", pks)}
    return [known[pk] for pk in pks if pk in known]


def states(rows: Rows, project_id: int) -> dict[str, int]:
    """How many of a project's runs are in which state."""
    query = "SELECT state, count(*) AS number FROM runs WHERE project_id = ? GROUP BY state"
    return {row["state"]: row["number"] for row in rows.execute(query, (project_id,))}


def sweep_runs(rows: Rows, sweep_id: int) -> list[Run]:
    """All runs of a sweep in order of creation."""
    return [_run(row) for row in rows.execute(f"{_RUNS} WHERE r.sweep_id = ? ORDER BY r.created_at, r.id", (sweep_id,))]


def run(rows: Rows, project_id: int, name: str) -> Run | None:
    row = rows.execute(f"{_RUNS} WHERE r.project_id = ? AND r.name = ?", (project_id, name)).fetchone()
    return _run(row) if row else None


def _run(row: sqlite3.Row) -> Run:
    tags = loads(row["tags"])
    return Run(
        pk=row["id"],
        name=row["name"],
        display_name=row["display_name"] or row["name"],
        state=row["state"],
        user=row["user"],
        created_at=row["created_at"],
        heartbeat_at=row["heartbeat_at"],
        config=plain_config(row["config"]),
        summary=dict(flat(mapping(row["summary"]))),
        tags=tags if isinstance(tags, list) else [],
        sweep=row["sweep_name"],
        lines=row["history_lines"],
        row=row,
    )


def number(value: Any) -> float | None:
    """A finite number, or nothing; W&B's client writes NaN and the infinities as texts."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def curves(rows: Rows, found: Run, limit: int = SAMPLED) -> dict[str, list[Point]]:
    """The numbers that a run logged over its steps, in the order of their first logging, mere counters last."""
    series: dict[str, list[Point]] = {}
    for step, row in history(rows, found, limit):
        for key, value in flat(row):
            if not key.startswith("_") and (finite := number(value)) is not None:
                series.setdefault(key, []).append((step, finite))
    return {key: sorted(series[key]) for key in sorted(series, key=lambda key: key in COUNTERS)}


def history(rows: Rows, found: Run, limit: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Step and row of what the run logged; of a history longer than ``limit`` a sample.

    The sample goes by a hash of the line's number, so that a metric which is logged at every hundredth line is met
    as often as one of every line.
    """
    share = min(2**32, 2**32 * limit // max(found.lines, 1))
    query = "SELECT step, row FROM history WHERE run_id = ? AND (line * 2654435761) % 4294967296 < ? ORDER BY line"
    for step, text in rows.execute(query, (found.pk, share)):
        yield step, mapping(text)


def best_value(rows: Rows, found: Run, metric: Metric) -> float | None:
    """The best value of the metric over the run's whole history; its summary counts where it is in no row of that."""
    logged = metric.best(value for _, value in sampling.metric(rows, found.pk, metric.name))
    return number(found.summary.get(metric.name)) if logged is None else logged


def system_curves(rows: Rows, found: Run) -> dict[str, list[Point]]:
    """System metrics over the seconds since the start; of a long run every n-th line."""
    every = max(1, found.row["event_lines"] // 2000)
    query = "SELECT row FROM events WHERE run_id = ? AND line % ? = 0 ORDER BY line"
    series: dict[str, list[Point]] = {}
    for (text,) in rows.execute(query, (found.pk, every)):
        row = mapping(text)
        second = number(row.get("_runtime"))
        for key, value in flat(row):
            if second is not None and not key.startswith("_") and (finite := number(value)) is not None:
                series.setdefault(key.removeprefix("system."), []).append((second, finite))
    return series


def console(rows: Rows, found: Run, limit: int) -> list[str]:
    """The last ``limit`` lines of the run's output."""
    return [row["text"] for row in stored_history.console_tail(rows, found.pk, limit)]
