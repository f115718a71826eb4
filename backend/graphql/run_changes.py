"""The mutations on runs: start, resume, change, stop, delete, rewind."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from ariadne import MutationType
from graphql import GraphQLResolveInfo

from .. import fencing
from ..storage import artifacts, history, projects, runs
from ..storage.plain_json import strict_json
from .errors import ClientError
from .ids import decode

mutation = MutationType()
# Columns by the names of UpsertBucketInput.
_PLAIN = {
    "groupName": "group_name",
    "description": "description",
    "displayName": "display_name",
    "notes": "notes",
    "commit": "commit_hash",
    "host": "host",
    "jobProgram": "program",
    "jobRepo": "repo",
    "jobType": "job_type",
}
# What Api.Run.update_state may do: a requeue, or a lost run given up.
_SETTABLE = {"pending": {"running", "failed", "crashed", "preempted"}, "failed": {"pending", "running"}}


@mutation.field("upsertBucket")
def resolve_upsert_bucket(_: Any, info: GraphQLResolveInfo, input: dict[str, Any]) -> dict[str, Any]:
    """Make a run, start it (again), or change it; the project is made when it is not there."""
    context = info.context

    def change(conn: sqlite3.Connection) -> tuple[dict[str, Any], bool]:
        row, inserted = upsert(conn, context.user.name, input, context.shared, context.lease)
        return fencing.told(conn, row), inserted

    try:
        row, inserted = context.database.write(change)
    except fencing.Fenced as error:
        raise ClientError(str(error), 410) from error
    return {"bucket": row, "inserted": inserted}


def upsert(
    conn: sqlite3.Connection, user: str, given: dict[str, Any], shared: bool = False, lease: int | None = None
) -> tuple[sqlite3.Row, bool]:
    """The run as it is afterwards, and whether it is new.

    The client names the run (``name``) when it starts or changes its own; ``Api`` changes others by ``id``. A client
    that shares its run with others (``shared``) adds to what they say, and never begins it anew. One that works under
    an old ``lease`` of its trial changes nothing: raises Fenced.
    """
    row = _named(conn, user, given)
    if row is None:
        return _insert(conn, user, given), True
    fencing.check(conn, row, lease)
    was_waiting = row["state"] == "pending"
    began_anew = False
    if given.get("name"):
        row, began_anew = _restarted(conn, row, given, shared)
    if shared and given.get("tags") is not None:
        given = {**given, "tags": list(dict.fromkeys([*json.loads(row["tags"]), *given["tags"]]))}
    columns = _columns(conn, row["project_id"], given, row["config"], row["sweep_id"] is not None or shared)
    if was_waiting and row["state"] == "running":
        columns["user"] = user  # a sweep's run is of the person whose agent runs it
    row = runs.update(conn, row["id"], **columns)
    return _forked(conn, row) if began_anew else row, False


def _named(conn: sqlite3.Connection, user: str, given: dict[str, Any]) -> sqlite3.Row | None:
    if given.get("id"):
        row = runs.by_id(conn, decode(given["id"], "Run"))
        if row is None:
            raise ClientError("there is no such run", 404)
        return row
    if not given.get("name"):
        return None
    project = projects.find(conn, given.get("entityName") or user, given.get("modelName") or "uncategorized")
    return runs.find(conn, project["id"], given["name"]) if project else None


def _insert(conn: sqlite3.Connection, user: str, given: dict[str, Any]) -> sqlite3.Row:
    project = projects.ensure(conn, given.get("entityName") or user, given.get("modelName") or "uncategorized")
    name = given.get("name") or runs.new_name(conn, project["id"])
    columns = {"state": "running", **_columns(conn, project["id"], given, "{}", False)}
    return _forked(conn, runs.create(conn, project["id"], name, user=user, **columns))


def _forked(conn: sqlite3.Connection, row: sqlite3.Row) -> sqlite3.Row:
    """A run with ``fork_from`` begins with its parent's history up to that step; the client tells it in the config."""
    entry = json.loads(row["config"]).get("_wandb")
    value = entry.get("value") if isinstance(entry, dict) else None
    point = value.get("branch_point") if isinstance(value, dict) else None
    if not isinstance(point, dict) or not isinstance(point.get("step"), (int, float)):
        return row
    parent = runs.find(conn, row["project_id"], str(point.get("run_id")))
    if parent is None:
        raise ClientError(f"there is no run {point.get('run_id')!r} to fork from", 404)
    step = _step(point["step"])
    history.forget(conn, row["id"])
    history.copy(conn, parent["id"], row["id"], step)
    return runs.update(conn, row["id"], **history.cut(conn, row["id"], step))


def _restarted(
    conn: sqlite3.Connection, row: sqlite3.Row, given: dict[str, Any], shared: bool
) -> tuple[sqlite3.Row, bool]:
    """What it means for a run that its client names it; whether what it had streamed is forgotten.

    One that was handed out, or has ended, runs (again). The first request of a client tells the host and the program,
    and the id only when it resumes: a fresh client on the name of a run that has ended overwrites that run, as W&B
    does it. A later change of a run that was taken for crashed has neither, and must not lose anything.
    """
    if given.get("state") or row["state"] in runs.ALIVE:
        return row, False
    fresh = not given.get("id") and bool(given.get("host") or given.get("jobProgram"))
    if shared and not fresh:
        return row, False  # another of them may have ended the run meanwhile
    overwrites = fresh and not shared and row["state"] in runs.ENDED and not _is_handed_out_again(row)
    row = runs.revive(conn, row)
    return (runs.start_over(conn, row) if overwrites else row), overwrites


def _is_handed_out_again(row: sqlite3.Row) -> bool:
    """A sweep's trial comes back under the same id after a crash: its script may resume by itself."""
    return row["sweep_id"] is not None


def _columns(
    conn: sqlite3.Connection, project_id: int, given: dict[str, Any], config: str, merge: bool
) -> dict[str, Any]:
    columns = {column: given[name] for name, column in _PLAIN.items() if given.get(name) is not None}
    if given.get("tags") is not None:
        columns["tags"] = json.dumps(given["tags"])
    if given.get("state") is not None:
        columns["state"] = _state(given["state"])
    if given.get("summaryMetrics") is not None:
        columns["summary"] = _json("summaryMetrics", given["summaryMetrics"])
    if given.get("sweep"):
        columns["sweep_id"] = _sweep(conn, project_id, given["sweep"])
        merge = True
    if given.get("config") is not None:
        sent = _json("config", given["config"])
        # A sweep's configuration stays, whatever part of it the script knows of.
        columns["config"] = json.dumps({**json.loads(config), **json.loads(sent)}) if merge else sent
    return columns


def _sweep(conn: sqlite3.Connection, project_id: int, name: str) -> int:
    found = runs.sweep_id(conn, project_id, name)
    if found is None:
        home = projects.by_id(conn, project_id)
        where = f"{home['entity']}/{home['name']}" if home else "this project"
        raise ClientError(f"sweep {name!r} not found in {where}: a sweep's runs belong to its project", 404)
    return found


def _state(state: str) -> str:
    if state not in runs.STATES:
        raise ClientError(f"{state!r} is no state of a run: {', '.join(sorted(runs.STATES))}")
    return state


def _json(name: str, text: str) -> str:
    try:
        return strict_json(text)
    except (ValueError, TypeError, RecursionError):
        raise ClientError(f"{name} is not the JSON text of an object") from None


@mutation.field("deleteRun")
def resolve_delete_run(_: Any, info: GraphQLResolveInfo, input: dict[str, Any]) -> dict[str, Any]:
    pk = decode(input["id"], "Run")

    def change(conn: sqlite3.Connection) -> bool:
        if input.get("deleteArtifacts"):
            artifacts.delete_of_run(conn, pk)
        return runs.delete(conn, pk) or runs.was_deleted(conn, pk)

    if not info.context.database.write(change):
        raise ClientError("there is no such run", 404)
    return {"success": True, "clientMutationId": input.get("clientMutationId")}


@mutation.field("stopRun")
def resolve_stop_run(_: Any, info: GraphQLResolveInfo, input: dict[str, Any]) -> dict[str, Any]:
    """Ask the run to stop: its client hears it with its next report."""
    row = _existing(info, input["id"])
    if row["state"] not in runs.ENDED:
        info.context.database.write(lambda conn: runs.update(conn, row["id"], stop_requested=1))
    return {"success": True, "clientMutationId": input.get("clientMutationId")}


@mutation.field("updateRunState")
def resolve_update_run_state(_: Any, info: GraphQLResolveInfo, input: dict[str, Any]) -> dict[str, Any]:
    pk, state = decode(input["id"], "Run"), input["state"]

    def change(conn: sqlite3.Connection) -> None:
        row = runs.by_id(conn, pk)
        if row is None:
            raise ClientError("there is no such run", 404)
        if row["state"] not in _SETTABLE.get(state, set()):
            raise ClientError(f"invalid state transition: a run that is {row['state']} cannot become {state!r}")
        if row["sweep_id"] is not None:
            raise ClientError("the state of a sweep's run is the sweep's to set")
        runs.update(conn, pk, state=state)

    info.context.database.write(change)
    return {"success": True}


@mutation.field("rewindRun")
def resolve_rewind_run(_: Any, info: GraphQLResolveInfo, input: dict[str, Any]) -> dict[str, Any]:
    """Cut a run's history after a step; the client goes on from there."""
    if input["metricName"] != "_step":
        raise ClientError("a run is rewound by _step only")
    path = (input.get("entityName") or info.context.user.name, input.get("projectName") or "", input["runName"])

    def change(conn: sqlite3.Connection) -> sqlite3.Row:
        row = runs.by_path(conn, *path)
        if row is None:
            raise ClientError(f"there is no run {'/'.join(path)}", 404)
        return runs.update(conn, row["id"], **history.cut(conn, row["id"], _step(input["metricValue"])))

    return {"rewoundRun": info.context.database.write(change)}


def _step(value: float) -> int:
    """A step as the store can hold it."""
    return int(max(-(2.0**62), min(value, 2.0**62)))


def _existing(info: GraphQLResolveInfo, storage_id: str) -> sqlite3.Row:
    row: sqlite3.Row | None = runs.by_id(info.context.rows, decode(storage_id, "Run"))
    if row is None:
        raise ClientError("there is no such run", 404)
    return row
