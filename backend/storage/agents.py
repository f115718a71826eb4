"""Agents: who works on a sweep, and what each of them holds."""

from __future__ import annotations

import sqlite3

from .. import clock
from . import short_ids


def by_id(conn: sqlite3.Connection, pk: int) -> sqlite3.Row | None:
    return conn.execute("SELECT * FROM agents WHERE id = ?", (pk,)).fetchone()


def by_name(conn: sqlite3.Connection, sweep_id: int, name: str) -> sqlite3.Row | None:
    return conn.execute("SELECT * FROM agents WHERE sweep_id = ? AND name = ?", (sweep_id, name)).fetchone()


def create(conn: sqlite3.Connection, sweep_id: int, host: str) -> sqlite3.Row:
    """A new agent of a sweep."""
    now = clock.now()
    name = short_ids.make()
    while conn.execute("SELECT 1 FROM agents WHERE name = ?", (name,)).fetchone():
        name = short_ids.make()
    cursor = conn.execute(
        "INSERT INTO agents (sweep_id, name, host, created_at, heartbeat_at) VALUES (?, ?, ?, ?, ?)",
        (sweep_id, name, host, now, now),
    )
    row = by_id(conn, cursor.lastrowid or 0)
    assert row is not None
    return row


def beat(conn: sqlite3.Connection, pk: int) -> None:
    """The agent has just been heard of. One that was at its end and still speaks is at work."""
    conn.execute("UPDATE agents SET heartbeat_at = ?, dismissed = 0 WHERE id = ?", (clock.now(), pk))


def forget_future(conn: sqlite3.Connection) -> None:
    """The clock was set back: whoever was heard of at a time that has not come yet was heard of now."""
    now = clock.now()
    for table in ("agents", "runs"):
        conn.execute(f"UPDATE {table} SET heartbeat_at = ? WHERE heartbeat_at > ?", (now, now))


def dismiss(conn: sqlite3.Connection, pk: int) -> None:
    """The agent is told to exit, or says that it goes."""
    conn.execute("UPDATE agents SET dismissed = 1 WHERE id = ?", (pk,))


def state(agent: sqlite3.Row, lost_before: str) -> str:
    """RUNNING, FINISHED (it was told to exit, or went) or CRASHED (not heard of since ``lost_before``)."""
    if agent["dismissed"]:
        return "FINISHED"
    return "RUNNING" if agent["heartbeat_at"] >= lost_before else "CRASHED"


# There is no index by agent, but one by sweep, and an agent works for one sweep.
_WORKED_ON = "agent_id = :agent AND sweep_id = (SELECT sweep_id FROM agents WHERE id = :agent)"


def runs(
    conn: sqlite3.Connection, pk: int, limit: int = -1, offset: int = 0, latest: bool = False
) -> list[sqlite3.Row]:
    """The runs that the agent was the last to work on, in order of their creation, or the latest heard of first."""
    order = "heartbeat_at DESC, id DESC" if latest else "id"
    values = {"agent": pk, "limit": limit, "offset": offset}
    return conn.execute(
        f"SELECT * FROM runs WHERE {_WORKED_ON} ORDER BY {order} LIMIT :limit OFFSET :offset", values
    ).fetchall()


def run_count(conn: sqlite3.Connection, pk: int) -> int:
    return int(conn.execute(f"SELECT count(*) FROM runs WHERE {_WORKED_ON}", {"agent": pk}).fetchone()[0])
