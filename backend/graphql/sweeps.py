"""Sweeps: made and changed by UpsertSweep, listed and looked at by the public API."""

from __future__ import annotations

import sqlite3
from typing import Any

from ariadne import MutationType, ObjectType
from ariadne.types import SchemaBindable
from graphql import GraphQLResolveInfo

from ..permissions import User
from ..search import settings as sweep_settings
from ..storage import agents as agent_rows
from ..storage import projects, sweeps
from . import sweep_changes, sweep_filters
from .errors import ClientError
from .ids import decode, encode
from .paging import connection, listed

sweep = ObjectType("Sweep")
project = ObjectType("Project")
run = ObjectType("Run")
mutation = MutationType()
bindables: list[SchemaBindable] = [sweep, project, run, mutation]
features = ("SWEEPS_LOCAL_SCHEDULER", "SWEEPS_QUERY_FILTERING")

_PLAIN = {
    "name": "name",
    "displayName": "display_name",
    "description": "description",
    "method": "method",
    "config": "config",
    "createdAt": "created_at",
    "updatedAt": "updated_at",
    "heartbeatAt": "heartbeat_at",
    "controller": "controller",
    "scheduler": "scheduler",
}
for _field, _column in _PLAIN.items():
    sweep.set_field(_field, lambda obj, info, column=_column: obj[column])


@sweep.field("id")
def resolve_id(obj: sqlite3.Row, info: GraphQLResolveInfo) -> str:
    return encode("Sweep", obj["id"])


@sweep.field("state")
def resolve_state(obj: sqlite3.Row, info: GraphQLResolveInfo) -> str:
    return sweeps.state(info.context.rows, obj)


@sweep.field("bestLoss")
def resolve_best_loss(obj: sqlite3.Row, info: GraphQLResolveInfo) -> float | None:
    metric = _settings(obj).metric
    if metric is None:
        return None
    found = sweeps.metric_in_summaries(info.context.rows, obj["id"], metric.name)
    return metric.best(float(v) for v in found if isinstance(v, (int, float)) and not isinstance(v, bool))


@sweep.field("earlyStopJobRunning")
def resolve_early_stop(obj: sqlite3.Row, info: GraphQLResolveInfo) -> bool:
    return False  # W&B stops runs in a job of its own; here the agents' heartbeats do


@sweep.field("controllerRunName")
def resolve_controller_run(obj: sqlite3.Row, info: GraphQLResolveInfo) -> str:
    return f"{obj['name']}-controller"


@sweep.field("runCount")
def resolve_run_count(obj: sqlite3.Row, info: GraphQLResolveInfo) -> int:
    return sweeps.run_count(info.context.rows, obj["id"])


@sweep.field("runCountExpected")
def resolve_expected(obj: sqlite3.Row, info: GraphQLResolveInfo) -> int | None:
    expected = sweeps.expected(info.context.rows, obj, _settings(obj).expected_runs)
    return None if expected is None else min(expected, 2**31 - 1)  # GraphQL's Int has 32 bits


@sweep.field("project")
def resolve_project(obj: sqlite3.Row, info: GraphQLResolveInfo) -> sqlite3.Row | None:
    return projects.by_id(info.context.rows, obj["project_id"])


@sweep.field("user")
def resolve_user(obj: sqlite3.Row, info: GraphQLResolveInfo) -> User:
    return User(name=obj["user"], email="", admin=False)


@sweep.field("runs")
def resolve_runs(
    obj: sqlite3.Row, info: GraphQLResolveInfo, first: int | None = None, after: str | None = None
) -> dict[str, Any]:
    rows = info.context.rows
    if first is None and after is None:
        return _everything(sweeps.runs(rows, obj["id"]))
    return listed(lambda limit, offset: sweeps.runs(rows, obj["id"], limit, offset), first, after)


@sweep.field("priorRuns")
def resolve_priors(
    obj: sqlite3.Row, info: GraphQLResolveInfo, first: int | None = None, after: str | None = None
) -> dict[str, Any]:
    return _page(sweeps.priors(info.context.rows, obj["id"]), first, after)


@sweep.field("agents")
def resolve_agents(
    obj: sqlite3.Row, info: GraphQLResolveInfo, first: int | None = None, after: str | None = None
) -> dict[str, Any]:
    rows = sweeps.agents(info.context.rows, obj["id"])  # few: one for each process that works on the sweep
    return _everything(rows) if first is None and after is None else _page(rows, first, after)


@sweep.field("agent")
def resolve_agent(obj: sqlite3.Row, info: GraphQLResolveInfo, agentName: str) -> sqlite3.Row | None:  # noqa: N803
    found = agent_rows.by_name(info.context.rows, obj["id"], agentName)
    if found is None:
        try:
            found = agent_rows.by_id(info.context.rows, decode(agentName, "Agent"))
        except ClientError:
            return None
    return found if found is not None and found["sweep_id"] == obj["id"] else None


@project.field("sweep")
def resolve_project_sweep(obj: sqlite3.Row, info: GraphQLResolveInfo, sweepName: str) -> sqlite3.Row | None:  # noqa: N803
    return sweeps.find(info.context.rows, obj["id"], sweepName.rsplit("/", 1)[-1])  # or its whole path


@project.field("sweeps")
def resolve_project_sweeps(
    obj: sqlite3.Row,
    info: GraphQLResolveInfo,
    first: int | None = None,
    after: str | None = None,
    filters: str | None = None,
) -> dict[str, Any]:
    rows, pk = info.context.rows, obj["id"]
    if not filters:
        return listed(lambda limit, offset: sweeps.listing(rows, pk, limit, offset), first, after)
    found = sweep_filters.matching(sweeps.listing(rows, pk), filters, lambda row: sweeps.state(rows, row))
    return _page(found, first, after)


@project.field("totalSweeps")
def resolve_total(obj: sqlite3.Row, info: GraphQLResolveInfo) -> int:
    return sweeps.count(info.context.rows, obj["id"])


@run.field("sweep")
def resolve_run_sweep(obj: sqlite3.Row, info: GraphQLResolveInfo) -> sqlite3.Row | None:
    return None if obj["sweep_id"] is None else sweeps.by_id(info.context.rows, obj["sweep_id"])


@mutation.field("upsertSweep")
def resolve_upsert(obj: Any, info: GraphQLResolveInfo, input: dict[str, Any]) -> dict[str, Any]:  # noqa: A002
    wanted = sweep_changes.read(input)
    user = info.context.user.name
    row = info.context.database.write(lambda conn: sweep_changes.apply(conn, wanted, user))
    return {
        "sweep": row,
        "configValidationWarnings": list(wanted.settings.warnings) if wanted.settings else [],
        "clientMutationId": input.get("clientMutationId"),
    }


@mutation.field("enqueueSweepRun")
def resolve_enqueue(obj: Any, info: GraphQLResolveInfo, input: dict[str, Any]) -> dict[str, Any]:  # noqa: A002
    pk = decode(input["id"], "Sweep")
    config = sweep_changes.enqueued_config(input["config"])
    name, by_scheduler = input.get("displayName"), info.context.operation is not None
    made = info.context.database.write(lambda conn: sweep_changes.enqueue(conn, pk, config, name, by_scheduler))
    # The client's sweep scheduler finds the run again by this id, among the names of the sweep's runs.
    item = encode("RunQueueItem", made["id"])
    return {"id": made["name"], "runQueueItemId": item, "clientMutationId": input.get("clientMutationId")}


def _settings(obj: sqlite3.Row) -> sweep_settings.Settings:
    return sweep_settings.read(sweep_settings.load(obj["config"]))


def _page(rows: list[sqlite3.Row], first: int | None, after: str | None) -> dict[str, Any]:
    return listed(lambda limit, offset: rows[offset : offset + limit], first, after)


def _everything(rows: list[sqlite3.Row]) -> dict[str, Any]:
    """All rows on one page: W&B's agent and its local controller ask for no page."""
    empty = connection([], 0, None, 0)
    edges = [{"node": row, "cursor": str(n)} for n, row in enumerate(rows)]
    return {**empty, "edges": edges, "totalCount": len(rows)}
