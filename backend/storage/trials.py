"""Trials: the configurations of a sweep as leases.

A configuration belongs to a run id from the moment it is handed out. The agent that holds it may die; the same run id
and configuration then go to another.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ... import hyperband
from ...space import canonical
from .. import clock
from . import runs, short_ids, sweeps
from .outcomes import UNDER_WAY

_JOINED = "SELECT runs.*, trials.* FROM trials JOIN runs ON runs.id = trials.run_id"
_HELD = f"{_JOINED} LEFT JOIN agents ON agents.id = trials.holder"

# Its agent was not heard of, and nor was the run, or it ended badly when nobody looked: an agent that dies takes its
# trials with it, and a program may well call that a failure.
_LOST = """(agents.heartbeat_at < :lost AND (
    runs.state IN ('pending', 'crashed', 'failed')
    OR (runs.state IN ('running', 'preempting') AND runs.heartbeat_at < :lost)))"""

# Waiting for an agent: enqueued by a controller, put back, preempted, or lost. A run that was asked to stop waits for
# nobody.
_WAITING = f"""
    {_HELD} WHERE runs.id IN ({UNDER_WAY}) AND +trials.sweep_id = :sweep AND runs.stop_requested = 0 AND (
        (trials.holder IS NULL AND runs.state = 'pending')
        OR ((trials.holder IS NULL OR agents.heartbeat_at < :lost)
            AND runs.state = 'preempted' AND trials.attempts < {sweeps.PREEMPTIONS})
        OR ({_LOST} AND trials.attempts < {sweeps.ATTEMPTS}))
    ORDER BY runs.id LIMIT 1
"""
_GIVEN_UP = f"{_HELD} WHERE trials.holder IS NOT NULL AND trials.attempts >= {sweeps.ATTEMPTS} AND {_LOST}"


class Taken(Exception):
    """The sweep has tried this configuration already."""


def plain(config: str) -> dict[str, Any]:
    """A run's configuration as plain values: ``{"lr": {"value": 0.1}}`` becomes ``{"lr": 0.1}``."""
    wrapped = json.loads(config or "{}")
    return {name: value["value"] for name, value in wrapped.items() if isinstance(value, dict) and "value" in value}


def wrapped(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Plain values in the form that agents and runs have them."""
    return {name: {"value": value} for name, value in config.items()}


def claim(
    conn: sqlite3.Connection, sweep_id: int, agent_id: int, config: Mapping[str, Any], repeats: int = 1
) -> sqlite3.Row | None:
    """A new run with this configuration, leased to the agent. None when the sweep gives out no more.

    Raises Taken where the sweep has ``repeats`` trials of the configuration already.
    """
    sweep = sweeps.by_id(conn, sweep_id)
    if sweep is None or sweep["state"] not in sweeps.OPEN or sweeps.is_used_up(conn, sweep):
        return None
    run = _make(conn, sweep, config, _free_copy(conn, sweep_id, config, repeats))
    return _hand(conn, run["id"], agent_id)


def enqueue(
    conn: sqlite3.Connection, sweep: sqlite3.Row, config: Mapping[str, Any], display_name: str | None = None
) -> sqlite3.Row | None:
    """A new run that waits for the next agent. None when the sweep gives out no more.

    Who searches from outside may try a configuration twice.
    """
    if sweep["state"] in ("FINISHED", "CANCELED") or sweeps.is_used_up(conn, sweep):
        return None
    same = "SELECT coalesce(max(copy) + 1, 0) FROM trials WHERE sweep_id = ? AND configuration = ?"
    copy = conn.execute(same, (sweep["id"], canonical(config))).fetchone()[0]
    run = _make(conn, sweep, config, copy)
    return runs.update(conn, run["id"], display_name=display_name) if display_name else run


def waiting(conn: sqlite3.Connection, sweep_id: int, lost_before: str) -> sqlite3.Row | None:
    """The first trial that waits for an agent; agents not heard of since ``lost_before`` are lost."""
    return conn.execute(_WAITING, {"sweep": sweep_id, "lost": lost_before}).fetchone()


def take_waiting(conn: sqlite3.Connection, sweep_id: int, agent_id: int, lost_before: str) -> sqlite3.Row | None:
    """Lease the first waiting trial to an agent; None when none waits."""
    sweep = sweeps.by_id(conn, sweep_id)
    trial = waiting(conn, sweep_id, lost_before) if sweep is not None and sweep["state"] in sweeps.OPEN else None
    return _hand(conn, trial["run_id"], agent_id) if trial else None


def configuration(conn: sqlite3.Connection, run_id: int) -> dict[str, Any]:
    """The configuration that was handed out with a run, whatever its script made of it since."""
    row = conn.execute("SELECT configuration FROM trials WHERE run_id = ?", (run_id,)).fetchone()
    return dict(json.loads(row["configuration"]))


def configurations(conn: sqlite3.Connection, sweep_id: int) -> Iterator[dict[str, Any]]:
    """What the sweep has handed out, one after the other."""
    for row in conn.execute("SELECT configuration FROM trials WHERE sweep_id = ?", (sweep_id,)):
        yield json.loads(row["configuration"])


def lease(conn: sqlite3.Connection, run_id: int) -> int:
    """The number of the newest lease of a run's trial: how often it was handed out; 0 where the run is none."""
    row = conn.execute("SELECT attempts FROM trials WHERE run_id = ?", (run_id,)).fetchone()
    return int(row["attempts"]) if row else 0


def held(conn: sqlite3.Connection, agent_id: int) -> list[sqlite3.Row]:
    """The trials that an agent holds, each with its run's columns."""
    return conn.execute(f"{_JOINED} WHERE trials.holder = ?", (agent_id,)).fetchall()


def listed(conn: sqlite3.Connection, sweep_id: int, names: Collection[str]) -> list[sqlite3.Row]:
    """The trials of a sweep by their runs' ids, each with its run's columns."""
    marks = ", ".join("?" * len(names))
    # The plus keeps SQLite from walking all trials of the sweep: the runs are found by their names.
    query = f"""{_JOINED} WHERE runs.project_id = (SELECT project_id FROM sweeps WHERE id = ?)
        AND runs.name IN ({marks}) AND +trials.sweep_id = ?"""
    return conn.execute(query, (sweep_id, *names, sweep_id)).fetchall()


def hold(conn: sqlite3.Connection, run_id: int, agent_id: int) -> None:
    """The agent says that it works on a trial that nobody holds."""
    conn.execute("UPDATE trials SET holder = ? WHERE run_id = ? AND holder IS NULL", (agent_id, run_id))


def release(conn: sqlite3.Connection, trial: sqlite3.Row) -> None:
    """The agent's process for this trial is gone. A run that it never started has failed."""
    put_back(conn, trial)
    if trial["state"] == "pending":
        _fail(conn, trial, "its process ended before it called wandb.init")


def put_back(conn: sqlite3.Connection, trial: sqlite3.Row) -> None:
    """Nobody has the trial now; one that has not begun waits for the next agent."""
    conn.execute("UPDATE trials SET holder = NULL WHERE run_id = ?", (trial["run_id"],))


def settle(conn: sqlite3.Connection, run: sqlite3.Row) -> None:
    """The run told its end itself: where nobody needs to judge it, its trial is nobody's any more.

    A failure stays the agent's until that has seen it: it may be the agent's own death.
    """
    if run["state"] in ("finished", "killed"):
        conn.execute("UPDATE trials SET holder = NULL WHERE run_id = ?", (run["id"],))


def give_up(conn: sqlite3.Connection, lost_before: str) -> int:
    """Fail the lost trials that were handed out often enough, with the reason in their notes. How many.

    Agents not heard of since ``lost_before`` are lost.
    """
    lost = conn.execute(_GIVEN_UP, {"lost": lost_before}).fetchall()
    for trial in lost:
        put_back(conn, trial)
        _fail(conn, trial, f"given up: each of the {trial['attempts']} agents that had it was lost while it ran")
    return len(lost)


def _fail(conn: sqlite3.Connection, trial: sqlite3.Row, reason: str) -> None:
    runs.update(conn, trial["run_id"], state="failed", notes=trial["notes"] or reason)


def stop_early(conn: sqlite3.Connection, run_id: int, metric: str, band: int, value: float, threshold: float) -> None:
    """Ask a run to stop, and note why: in its notes too, where every client of W&B's API can read it."""
    conn.execute(
        "UPDATE trials SET stop_band = ?, stop_value = ?, stop_threshold = ?, stopped_at = ? WHERE run_id = ?",
        (band, value, threshold, clock.now(), run_id),
    )
    reason = hyperband.note(metric, band, value, threshold)
    run = conn.execute("SELECT notes FROM runs WHERE id = ?", (run_id,)).fetchone()
    notes = [run["notes"]] if run is not None and run["notes"] else []
    runs.update(conn, run_id, stop_requested=1, notes="\n".join([*notes, reason]))


def stopped(conn: sqlite3.Connection, sweep_id: int, limit: int) -> list[sqlite3.Row]:
    """The trials that early termination stopped, the latest first, each with its run's ``name``, ``display_name``."""
    return conn.execute(
        "SELECT trials.*, runs.name, runs.display_name FROM trials JOIN runs ON runs.id = trials.run_id"
        " WHERE trials.sweep_id = ? AND stopped_at IS NOT NULL ORDER BY stopped_at DESC, runs.id DESC LIMIT ?",
        (sweep_id, limit),
    ).fetchall()


def stopped_by_band(conn: sqlite3.Connection, sweep_id: int) -> dict[int, int]:
    """How many trials of a sweep early termination stopped at which band."""
    query = "SELECT stop_band, count(*) FROM trials WHERE sweep_id = ? AND stopped_at IS NOT NULL GROUP BY stop_band"
    return {row[0]: row[1] for row in conn.execute(query, (sweep_id,))}


def _make(conn: sqlite3.Connection, sweep: sqlite3.Row, config: Mapping[str, Any], copy: int) -> sqlite3.Row:
    run = runs.create(
        conn,
        sweep["project_id"],
        _free_name(conn, sweep["project_id"]),
        display_name=f"trial-{sweeps.run_count(conn, sweep['id']) + 1}",
        config=json.dumps(wrapped(config)),
        sweep_id=sweep["id"],
        user=sweep["user"],
        state="pending",
    )
    try:
        conn.execute(
            "INSERT INTO trials (run_id, sweep_id, configuration, copy) VALUES (?, ?, ?, ?)",
            (run["id"], sweep["id"], canonical(config), copy),
        )
    except sqlite3.IntegrityError as error:
        raise Taken(canonical(config)) from error
    return run


def _free_copy(conn: sqlite3.Connection, sweep_id: int, config: Mapping[str, Any], repeats: int) -> int:
    """The first number among the copies of a configuration that no trial has. Raises Taken."""
    query = "SELECT copy FROM trials WHERE sweep_id = ? AND configuration = ?"
    used = {row["copy"] for row in conn.execute(query, (sweep_id, canonical(config)))}
    if len(used) >= repeats:
        raise Taken(canonical(config))
    return next(copy for copy in range(repeats) if copy not in used)


def _hand(conn: sqlite3.Connection, run_id: int, agent_id: int) -> sqlite3.Row:
    now = clock.now()
    conn.execute(
        "UPDATE trials SET holder = ?, attempts = attempts + 1, handed_at = ? WHERE run_id = ?", (agent_id, now, run_id)
    )
    return runs.update(conn, run_id, agent_id=agent_id, heartbeat_at=now)


def _free_name(conn: sqlite3.Connection, project_id: int) -> str:
    while True:
        name = short_ids.make()
        if runs.find(conn, project_id, name) is None:
            return name
