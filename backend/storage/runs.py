"""Runs: W&B's records of trials, their states and what a new start does to them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .. import clock
from . import short_ids
from .filters import Term
from .names import checked

ENDED = frozenset({"finished", "failed", "crashed", "killed", "preempted"})
ALIVE = ("running", "preempting")
STATES = ENDED | {"pending", "running", "preempting"}
_COLUMNS = frozenset(
    {
        "display_name",
        "state",
        "config",
        "summary",
        "tags",
        "job_type",
        "group_name",
        "description",
        "notes",
        "host",
        "program",
        "commit_hash",
        "repo",
        "user",
        "sweep_id",
        "agent_id",
        "created_at",
        "updated_at",
        "heartbeat_at",
        "exit_code",
        "stop_requested",
        "history_keys",
        "last_step",
        "history_lines",
        "event_lines",
        "console_lines",
        "began_anew",
    }
)


def find(conn: sqlite3.Connection, project_id: int, name: str) -> sqlite3.Row | None:
    """The run with W&B's run id ``name`` in a project."""
    return conn.execute("SELECT * FROM runs WHERE project_id = ? AND name = ?", (project_id, name)).fetchone()


def by_id(conn: sqlite3.Connection, pk: int) -> sqlite3.Row | None:
    return conn.execute("SELECT * FROM runs WHERE id = ?", (pk,)).fetchone()


def by_path(conn: sqlite3.Connection, entity: str, project: str, name: str) -> sqlite3.Row | None:
    """The run at ``entity/project/name``."""
    return conn.execute(
        "SELECT runs.* FROM runs JOIN projects ON projects.id = runs.project_id"
        " WHERE projects.entity = ? AND projects.name = ? AND runs.name = ?",
        (entity, project, name),
    ).fetchone()


def create(conn: sqlite3.Connection, project_id: int, name: str, **columns: Any) -> sqlite3.Row:
    """A new run; ``user`` must be among the columns. Raises BadName, and IntegrityError when the name is taken."""
    now = clock.now()
    given = {"display_name": name, "created_at": now, "updated_at": now, "heartbeat_at": now, **columns}
    _check_columns(given)
    names = ", ".join(["id", "project_id", "name", *given])
    marks = ", ".join("?" * (len(given) + 3))
    pk = _next_id(conn)
    conn.execute(
        f"INSERT INTO runs ({names}) VALUES ({marks})", (pk, project_id, checked("run", name), *given.values())
    )
    return _got(conn, pk)


def _next_id(conn: sqlite3.Connection) -> int:
    """One that no run has or had: a client may still hold the id of a run that was deleted."""
    row = conn.execute(
        "SELECT max(coalesce((SELECT max(id) FROM runs), 0), coalesce((SELECT max(id) FROM deleted_runs), 0))"
    ).fetchone()
    return int(row[0]) + 1


def update(conn: sqlite3.Connection, pk: int, **columns: Any) -> sqlite3.Row:
    """Change columns of a run; ``updated_at`` follows by itself."""
    given = {"updated_at": clock.now(), **columns}
    _check_columns(given)
    assignments = ", ".join(f"{name} = ?" for name in given)
    conn.execute(f"UPDATE runs SET {assignments} WHERE id = ?", (*given.values(), pk))
    return _got(conn, pk)


def delete(conn: sqlite3.Connection, pk: int) -> bool:
    """Forget a run and all that it streamed; its artifacts and blobs stay."""
    return conn.execute("DELETE FROM runs WHERE id = ?", (pk,)).rowcount > 0


def was_deleted(conn: sqlite3.Connection, pk: int) -> bool:
    return conn.execute("SELECT 1 FROM deleted_runs WHERE id = ?", (pk,)).fetchone() is not None


def revive(conn: sqlite3.Connection, run: sqlite3.Row) -> sqlite3.Row:
    """A run that starts (again): it runs, and what its last end left is forgotten."""
    ended = {"exit_code": None, "stop_requested": 0, "began_anew": 0}
    return update(conn, run["id"], state="running", heartbeat_at=clock.now(), **ended)


def start_over(conn: sqlite3.Connection, run: sqlite3.Row) -> sqlite3.Row:
    """W&B overwrites a run whose id is used again without ``resume``: what an ended run streamed is forgotten.

    The history only once its first new line goes back in its steps: a sync sends the parts of a resumed run in the
    same way, one after the other.
    """
    for table in ("events", "console", "shared_lines"):
        conn.execute(f"DELETE FROM {table} WHERE run_id = ?", (run["id"],))
    return update(conn, run["id"], summary="{}", event_lines=0, console_lines=0, began_anew=1)


def end(conn: sqlite3.Connection, run: sqlite3.Row, exit_code: int) -> sqlite3.Row:
    """The client says that the run is over; how it ended follows W&B's states.

    Not zero after an announced preemption means preempted, after a request to stop killed, else failed.
    """
    if exit_code == 0:
        state = "finished"
    elif run["state"] == "preempting":
        state = "preempted"
    else:
        state = "killed" if run["stop_requested"] else "failed"
    return update(conn, run["id"], state=state, exit_code=exit_code, heartbeat_at=clock.now())


def crash(conn: sqlite3.Connection, run: sqlite3.Row) -> sqlite3.Row:
    """The run's process is gone, and its client has not said how it ended. Should it still report, it runs again."""
    if run["state"] == "preempting":
        state = "preempted"
    else:
        state = "killed" if run["stop_requested"] else "crashed"
    return update(conn, run["id"], state=state)


def mark_silent(conn: sqlite3.Connection, before: str, released_before: str | None = None) -> int:
    """Runs that have not reported since ``before`` crashed, or are preempted if they said so. How many.

    ``released_before`` is for trials whose agent has said that their process is gone: all that may still come from
    them is what the client has not sent yet, and while it sends, it reports.
    """
    released = "SELECT run_id FROM trials WHERE holder IS NULL AND attempts > 0"
    return conn.execute(
        "UPDATE runs SET updated_at = ?, state = CASE state WHEN 'preempting' THEN 'preempted' ELSE 'crashed' END"
        f" WHERE state IN ('running', 'preempting') AND heartbeat_at < ? AND (heartbeat_at < ? OR id IN ({released}))",
        (clock.now(), max(before, released_before or before), before),
    ).rowcount


def sweep_name(conn: sqlite3.Connection, run: sqlite3.Row) -> str | None:
    """The id of the sweep that the run belongs to, as in addresses."""
    if run["sweep_id"] is None:
        return None
    row = conn.execute("SELECT name FROM sweeps WHERE id = ?", (run["sweep_id"],)).fetchone()
    return row["name"] if row else None


def sweep_id(conn: sqlite3.Connection, project_id: int, name: str) -> int | None:
    """The row of the sweep ``name``, which may come as ``entity/project/name`` as well."""
    row = conn.execute(
        "SELECT id FROM sweeps WHERE project_id = ? AND name = ?", (project_id, name.rsplit("/", 1)[-1])
    ).fetchone()
    return row["id"] if row else None


def matching(conn: sqlite3.Connection, condition: str, values: Sequence[Any]) -> list[int]:
    """The ids of the runs that a condition of ``storage.filters`` holds for."""
    return [row[0] for row in conn.execute(f"SELECT runs.id FROM runs WHERE {condition}", tuple(values))]


@dataclass(frozen=True)
class Place:
    """A run's place in an order: what it is sorted by, and its id for runs that are alike in that."""

    keys: tuple[Any, ...]
    pk: int


def page(
    conn: sqlite3.Connection,
    condition: tuple[str, Sequence[Any]],
    order: Sequence[Term],
    limit: int,
    after: Place | None = None,
) -> list[tuple[sqlite3.Row, Place]]:
    """At most ``limit`` runs by a condition and an order of ``storage.filters``, from behind a place on.

    Runs that are made, changed or deleted meanwhile move no others from one page to another, as they would if pages
    were counted: a run is met once as long as what it is sorted by stays as it is.
    """
    keys = "".join(f", {term.sql.text} AS key{n}" for n, term in enumerate(order))
    by = ", ".join(f"key{n} {'DESC' if term.descending else 'ASC'} NULLS LAST" for n, term in enumerate(order))
    behind, places = _behind(order, after) if after else ("1", [])
    values = [value for term in order for value in term.sql.values]
    found = conn.execute(
        f"SELECT runs.id{keys} FROM runs WHERE ({condition[0]}) AND ({behind}) ORDER BY {by}, runs.id LIMIT ?",
        (*values, *condition[1], *places, limit),
    ).fetchall()
    rows = _several(conn, [row[0] for row in found])
    return [(rows[pk], Place(tuple(at), pk)) for pk, *at in found if pk in rows]


def _behind(order: Sequence[Term], after: Place) -> tuple[str, list[Any]]:
    """SQL for what comes behind a place: the last difference that counts is the id."""
    text, values = "runs.id > ?", [after.pk]
    for n, (term, key) in reversed(list(enumerate(zip(order, after.keys, strict=True)))):
        if key is None:  # only other runs without the value
            text = f"key{n} IS NULL AND ({text})"
        else:
            text = f"key{n} {'<' if term.descending else '>'} ? OR key{n} IS NULL OR (key{n} = ? AND ({text}))"
            values = [key, key, *values]
    return text, values


def _several(conn: sqlite3.Connection, pks: Sequence[int]) -> dict[int, sqlite3.Row]:
    marks = ", ".join("?" * len(pks))
    return {row["id"]: row for row in conn.execute(f"SELECT * FROM runs WHERE id IN ({marks})", tuple(pks))}


def new_name(conn: sqlite3.Connection, project_id: int) -> str:
    """A run id that is not taken in the project."""
    while find(conn, project_id, name := short_ids.make()) is not None:
        pass
    return name


def count(conn: sqlite3.Connection, condition: str, values: Sequence[Any]) -> int:
    return int(conn.execute(f"SELECT count(*) FROM runs WHERE {condition}", tuple(values)).fetchone()[0])


def _check_columns(columns: dict[str, Any]) -> None:
    unknown = columns.keys() - _COLUMNS
    if unknown:
        raise TypeError(f"a run has no column {', '.join(sorted(unknown))}")


def _got(conn: sqlite3.Connection, pk: int) -> sqlite3.Row:
    row = by_id(conn, pk)
    assert row is not None, f"there is no run {pk}"
    return row
