"""Sweeps: their rows, their states and the runs and agents that belong to them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from typing import Any

from .. import clock, silence
from . import runs as run_rows
from . import short_ids
from .outcomes import UNDER_WAY

STATES = frozenset({"PENDING", "RUNNING", "PAUSED", "FINISHED", "CANCELED"})
OPEN = frozenset({"PENDING", "RUNNING"})  # new runs are handed out
_COLUMNS = {"display_name", "description", "state", "config", "method", "run_cap"}
_COLUMNS |= {"exhausted", "controller", "scheduler", "heartbeat_at", "outside"}
ATTEMPTS = 3  # a configuration whose agents die every time is given up
PREEMPTIONS = 20  # a preempted run goes on as often as this
# Not over: it runs, or it was not asked to stop and waits for an agent, was preempted and will go on, or its agent died
# and another may take it. A failure whose agent has not said that it saw it is waited for only so long: W&B's agent
# leaves after its last trial without a word.
_UNFINISHED = f"""(runs.state IN ('running', 'preempting') OR (runs.stop_requested = 0 AND (
    runs.state = 'pending' OR (runs.state = 'preempted' AND coalesce(trials.attempts, 0) < {PREEMPTIONS})
    OR (trials.holder IS NOT NULL AND trials.attempts < {ATTEMPTS} AND (
        runs.state = 'crashed' OR (runs.state = 'failed' AND agents.heartbeat_at > :patience))))))"""


def find(conn: sqlite3.Connection, project_id: int, name: str) -> sqlite3.Row | None:
    """The sweep with the id ``name`` in a project."""
    return conn.execute("SELECT * FROM sweeps WHERE project_id = ? AND name = ?", (project_id, name)).fetchone()


def by_id(conn: sqlite3.Connection, pk: int) -> sqlite3.Row | None:
    return conn.execute("SELECT * FROM sweeps WHERE id = ?", (pk,)).fetchone()


def create(conn: sqlite3.Connection, project_id: int, **columns: Any) -> sqlite3.Row:
    """A new sweep with an id of its own; ``user``, ``config`` and ``method`` must be among the columns."""
    now = clock.now()
    given = {**columns, "created_at": now, "updated_at": now, "heartbeat_at": now}
    names = ", ".join(["project_id", "name", *given])
    marks = ", ".join("?" * (len(given) + 2))
    values = (project_id, _free_name(conn, project_id), *given.values())
    cursor = conn.execute(f"INSERT INTO sweeps ({names}) VALUES ({marks})", values)
    return _got(conn, cursor.lastrowid or 0)


def update(conn: sqlite3.Connection, pk: int, **columns: Any) -> sqlite3.Row:
    """Change columns of a sweep; ``updated_at`` follows by itself."""
    unknown = columns.keys() - _COLUMNS
    if unknown:
        raise TypeError(f"a sweep has no column {', '.join(sorted(unknown))}")
    given = {"updated_at": clock.now(), **columns}
    assignments = ", ".join(f"{name} = ?" for name in given)
    conn.execute(f"UPDATE sweeps SET {assignments} WHERE id = ?", (*given.values(), pk))
    return _got(conn, pk)


def runs(conn: sqlite3.Connection, sweep_id: int, limit: int = -1, offset: int = 0) -> list[sqlite3.Row]:
    """The sweep's runs in order of their creation."""
    return conn.execute(
        "SELECT * FROM runs WHERE sweep_id = ? ORDER BY id LIMIT ? OFFSET ?", (sweep_id, limit, offset)
    ).fetchall()


def run_count(conn: sqlite3.Connection, sweep_id: int) -> int:
    row = conn.execute("SELECT run_count FROM sweeps WHERE id = ?", (sweep_id,)).fetchone()
    return int(row["run_count"]) if row else 0


def unfinished(conn: sqlite3.Connection, sweep_id: int) -> int:
    """How many of the sweep's runs are not over."""
    joined = "runs LEFT JOIN trials ON trials.run_id = runs.id LEFT JOIN agents ON agents.id = trials.holder"
    query = (
        f"SELECT count(*) FROM {joined} WHERE runs.id IN ({UNDER_WAY}) AND +runs.sweep_id = :sweep AND {_UNFINISHED}"
    )
    patience = clock.ago(3 * silence.lost_after())
    return int(conn.execute(query, {"sweep": sweep_id, "patience": patience}).fetchone()[0])


def expected(conn: sqlite3.Connection, sweep: sqlite3.Row, asked: int | None) -> int | None:
    """How many runs the sweep will have, where its configuration asks for so many; None where there is no end."""
    if sweep["exhausted"]:
        return run_count(conn, sweep["id"])
    if asked is None or not sweep["outside"]:
        return asked
    cap = sweep["run_cap"]
    return asked + sweep["outside"] if cap is None else min(asked + sweep["outside"], cap)


def is_used_up(conn: sqlite3.Connection, sweep: sqlite3.Row) -> bool:
    """Whether no further configuration may be handed out: cap reached, space exhausted or target reached."""
    capped = sweep["run_cap"] is not None and run_count(conn, sweep["id"]) >= sweep["run_cap"]
    return bool(sweep["exhausted"]) or capped


def state(conn: sqlite3.Connection, sweep: sqlite3.Row) -> str:
    """The state as it is now: a used up sweep is finished with its last run, though no agent may ask again."""
    over = sweep["state"] in OPEN and is_used_up(conn, sweep) and not unfinished(conn, sweep["id"])
    return "FINISHED" if over else str(sweep["state"])


def set_state(conn: sqlite3.Connection, pk: int, wanted: str) -> sqlite3.Row:
    """Change the state as a user asks for it. Cancelling stops what runs and gives up what waits."""
    changes: dict[str, Any] = {"state": wanted}
    if wanted == "RUNNING":
        changes["exhausted"] = 0  # asked anew: runs may have been deleted, or the space changed
    if wanted == "CANCELED":
        _stop_all(conn, pk)
    return update(conn, pk, **changes)


def _stop_all(conn: sqlite3.Connection, sweep_id: int) -> None:
    query = f"SELECT id, state FROM runs WHERE id IN ({UNDER_WAY})"
    for row in conn.execute(query, {"sweep": sweep_id}).fetchall():
        if row["state"] in ("running", "preempting"):
            run_rows.update(conn, row["id"], stop_requested=1)
        elif row["state"] in ("pending", "preempted"):
            run_rows.update(conn, row["id"], state="killed", stop_requested=1)


def agents(conn: sqlite3.Connection, sweep_id: int) -> list[sqlite3.Row]:
    """The sweep's agents in order of their creation."""
    return conn.execute("SELECT * FROM agents WHERE sweep_id = ? ORDER BY id", (sweep_id,)).fetchall()


def listing(conn: sqlite3.Connection, project_id: int, limit: int = -1, offset: int = 0) -> list[sqlite3.Row]:
    """A project's sweeps, the newest first."""
    return conn.execute(
        "SELECT * FROM sweeps WHERE project_id = ? ORDER BY id DESC LIMIT ? OFFSET ?", (project_id, limit, offset)
    ).fetchall()


def count(conn: sqlite3.Connection, project_id: int) -> int:
    """How many sweeps a project has."""
    return int(conn.execute("SELECT count(*) FROM sweeps WHERE project_id = ?", (project_id,)).fetchone()[0])


def set_priors(conn: sqlite3.Connection, sweep: sqlite3.Row, names: Iterable[str]) -> None:
    """Let the sweep learn from runs of its project, or of another by ``entity/project/name``.

    A name that is not there is passed over, as W&B does.
    """
    home = conn.execute("SELECT entity, name FROM projects WHERE id = ?", (sweep["project_id"],)).fetchone()
    for name in names:
        parts = name.split("/")  # no run's name has a slash
        place = parts if len(parts) == 3 else [home["entity"], home["name"], name]
        conn.execute(
            "INSERT OR IGNORE INTO prior_runs SELECT ?, runs.id FROM runs"
            " JOIN projects ON projects.id = runs.project_id"
            " WHERE projects.entity = ? AND projects.name = ? AND runs.name = ?",
            (sweep["id"], *place),
        )


def priors(conn: sqlite3.Connection, sweep_id: int) -> list[sqlite3.Row]:
    """The runs that the sweep learns from, in order of their creation."""
    return conn.execute(
        "SELECT runs.* FROM prior_runs JOIN runs ON runs.id = prior_runs.run_id"
        " WHERE prior_runs.sweep_id = ? ORDER BY runs.id",
        (sweep_id,),
    ).fetchall()


def metric_in_summaries(conn: sqlite3.Connection, sweep_id: int, metric: str) -> list[Any]:
    """What the summaries of the sweep's runs say of a metric; only those that have it."""
    rows = conn.execute("SELECT summary FROM runs WHERE sweep_id = ?", (sweep_id,))
    found = (dig(json.loads(row["summary"]), metric) for row in rows)
    return [value for value in found if value is not None]


def dig(mapping: Any, name: str) -> Any:
    """The value called ``name`` in logged JSON: as it stands, or nested where the name has dots. None if absent."""
    if not isinstance(mapping, dict):
        return None
    if name in mapping:
        return mapping[name]
    first, dot, rest = name.partition(".")
    return dig(mapping.get(first), rest) if dot else None


def _free_name(conn: sqlite3.Connection, project_id: int) -> str:
    while True:
        name = short_ids.make()
        if find(conn, project_id, name) is None:
            return name


def _got(conn: sqlite3.Connection, pk: int) -> sqlite3.Row:
    row = by_id(conn, pk)
    assert row is not None, f"there is no sweep {pk}"
    return row
