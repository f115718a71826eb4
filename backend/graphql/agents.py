"""Agents: they register with a sweep, and their heartbeats are answered with commands."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from ariadne import MutationType, ObjectType
from ariadne.types import SchemaBindable
from graphql import GraphQLResolveInfo

from .. import scheduler, silence
from ..storage import agents, plain_json, projects, sweeps
from .errors import ClientError
from .ids import decode, encode
from .paging import listed
from .sweep_changes import DEFAULT_PROJECT

agent = ObjectType("Agent")
run = ObjectType("Run")
mutation = MutationType()
bindables: list[SchemaBindable] = [agent, run, mutation]

for _field, _column in {
    "name": "name",
    "host": "host",
    "createdAt": "created_at",
    "heartbeatAt": "heartbeat_at",
}.items():
    agent.set_field(_field, lambda obj, info, column=_column: obj[column])


@agent.field("id")
def resolve_id(obj: sqlite3.Row, info: GraphQLResolveInfo) -> str:
    return encode("Agent", obj["id"])


@agent.field("state")
def resolve_state(obj: sqlite3.Row, info: GraphQLResolveInfo) -> str:
    return agents.state(obj, silence.lost_before())


@agent.field("totalRuns")
def resolve_total(obj: sqlite3.Row, info: GraphQLResolveInfo) -> int:
    return agents.run_count(info.context.rows, obj["id"])


@agent.field("sweep")
def resolve_sweep(obj: sqlite3.Row, info: GraphQLResolveInfo) -> sqlite3.Row | None:
    return sweeps.by_id(info.context.rows, obj["sweep_id"])


@agent.field("runs")
def resolve_runs(
    obj: sqlite3.Row,
    info: GraphQLResolveInfo,
    first: int | None = None,
    after: str | None = None,
    order: str | None = None,
    **unused: Any,
) -> dict[str, Any]:
    """In order of creation, or, for ``-heartbeat_at``, the run that the agent works on first."""
    rows, latest = info.context.rows, order == "-heartbeat_at"
    return listed(lambda limit, offset: agents.runs(rows, obj["id"], limit, offset, latest), first, after)


@run.field("agent")
def resolve_run_agent(obj: sqlite3.Row, info: GraphQLResolveInfo) -> sqlite3.Row | None:
    return None if obj["agent_id"] is None else agents.by_id(info.context.rows, obj["agent_id"])


@mutation.field("createAgent")
def resolve_create(obj: Any, info: GraphQLResolveInfo, input: dict[str, Any]) -> dict[str, Any]:  # noqa: A002
    entity = input.get("entityName") or info.context.user.name
    name, project = input["sweep"], input.get("projectName") or DEFAULT_PROJECT

    def create(conn: sqlite3.Connection) -> sqlite3.Row:
        found = projects.find(conn, entity, project)
        sweep = sweeps.find(conn, found["id"], name) if found else None
        if sweep is None:
            raise ClientError(f"could not find sweep {entity}/{project}/{name}", 404)
        return agents.create(conn, sweep["id"], input["host"])

    return {"agent": info.context.database.write(create), "clientMutationId": input.get("clientMutationId")}


@mutation.field("agentHeartbeat")
def resolve_heartbeat(obj: Any, info: GraphQLResolveInfo, input: dict[str, Any]) -> dict[str, Any]:  # noqa: A002
    pk = decode(input["id"], "Agent")
    states = _states(input.get("runState"))
    alive = frozenset(name for name, lives in states.items() if lives)
    ended = states.keys() - alive if info.context.tells_ends else None
    try:
        commands = scheduler.of(info.context.database).heartbeat(pk, alive, ended)
    except scheduler.Gone as error:
        raise ClientError("the sweep or the agent does not exist; it may have been deleted", 404) from error
    return {
        "agent": agents.by_id(info.context.rows, pk),
        "commands": json.dumps(commands),
        "clientMutationId": input.get("clientMutationId"),
    }


def _states(run_state: str | None) -> dict[str, bool]:
    """What the agent says of its runs: alive, or ended. W&B's agents name only those that are alive."""
    try:
        states = plain_json.loads(run_state or "{}") or {}
        return {str(name): bool(alive) for name, alive in states.items()}
    except (ValueError, AttributeError) as error:
        raise ClientError(f"runState must be a JSON object, not {str(run_state)[:200]!r}") from error
