"""Runs: reading them, one by one and by filters. What changes them is in ``run_changes.py``."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import Any

from ariadne import ObjectType
from ariadne.types import SchemaBindable
from graphql import GraphQLResolveInfo

from ..permissions import User
from ..storage import files, filters, projects, runs
from . import run_changes
from .context import Context
from .errors import ClientError
from .ids import encode
from .paging import keyed, page, place

project = ObjectType("Project")
run = ObjectType("Run")
METADATA = "wandb-metadata.json"
_COLUMNS = {
    "name": "name",
    "displayName": "display_name",
    "description": "description",
    "notes": "notes",
    "state": "state",
    "group": "group_name",
    "groupName": "group_name",
    "jobType": "job_type",
    "commit": "commit_hash",
    "host": "host",
    "createdAt": "created_at",
    "updatedAt": "updated_at",
    "heartbeatAt": "heartbeat_at",
    "config": "config",
    "exitcode": "exit_code",
    "projectId": "project_id",
}


@project.field("run")
@project.field("bucket")
def resolve_run(
    row: sqlite3.Row, info: GraphQLResolveInfo, name: str | None = None, id: str | None = None, **_: Any
) -> sqlite3.Row | None:
    """The run by W&B's run id; null where there is none, whatever ``missingOk`` says, as the client expects."""
    return runs.find(info.context.rows, row["id"], name or id or "")


@project.field("runs")
@project.field("buckets")
def resolve_runs(
    row: sqlite3.Row,
    info: GraphQLResolveInfo,
    filters: str | None = None,
    order: str | None = None,
    first: int | None = None,
    after: str | None = None,
    names: list[str | None] | None = None,
) -> dict[str, Any]:
    condition, by = _counted(info.context, condition_of(row, filters, names)), order_of(order)
    limit, _ = page(first, None)
    at = place(after, len(by) + 1)
    behind = runs.Place(tuple(at[:-1]), at[-1]) if at else None
    found = runs.page(info.context.rows, (condition.text, condition.values), by, limit + 1, behind)
    return keyed([(run, [*spot.keys, spot.pk]) for run, spot in found], limit, after, condition.total)


@project.field("runCount")
def resolve_run_count(row: sqlite3.Row, info: GraphQLResolveInfo, filters: str | None = None) -> int:
    return _counted(info.context, condition_of(row, filters)).total


@dataclass(frozen=True)
class _Counted:
    """How many runs a condition holds for, and SQL for the same runs that need not look at them again."""

    total: int
    text: str
    values: list[Any]


def _counted(context: Context, condition: tuple[str, list[Any]]) -> _Counted:
    """W&B's client asks for the number of runs and for a page of them in one request: the filter is tried once."""
    key = ("runs", condition[0], tuple(condition[1]))
    if key not in context.memo:
        context.memo[key] = _count(context.rows, *condition)
    found: _Counted = context.memo[key]
    return found


def _count(rows: sqlite3.Connection, text: str, values: list[Any]) -> _Counted:
    if "json" not in text and "REGEXP" not in text:  # columns are looked at faster than a list of ids is read
        return _Counted(runs.count(rows, text, values), text, values)
    pks = runs.matching(rows, text, values)
    return _Counted(len(pks), "runs.id IN (SELECT value FROM json_each(?))", [json.dumps(pks)])


def condition_of(
    project: sqlite3.Row, text: str | None, names: list[str | None] | None = None
) -> tuple[str, list[Any]]:
    """SQL and its parameters for a project's runs that match W&B's filters. Raises ClientError."""
    try:
        condition, values = filters.condition(text)
    except filters.FilterError as error:
        raise ClientError(f"the filters of runs: {error}") from None
    if names:
        condition = f"({condition}) AND runs.name IN (SELECT value FROM json_each(?))"
        values.append(json.dumps(names))
    return f"runs.project_id = ? AND ({condition})", [project["id"], *values]


def order_of(text: str | None) -> list[filters.Term]:
    """W&B's order, for example ``-summary_metrics.loss``. Raises ClientError."""
    try:
        return filters.order(text)
    except filters.FilterError as error:
        raise ClientError(f"the order of runs: {error}") from None


def _column(name: str) -> Any:
    return lambda row, info: row[name]


for _field, _name in _COLUMNS.items():
    run.set_field(_field, _column(_name))


@run.field("id")
def resolve_id(row: sqlite3.Row, _: GraphQLResolveInfo) -> str:
    return encode("Run", row["id"])


@run.field("internalId")
def resolve_internal_id(row: sqlite3.Row, _: GraphQLResolveInfo) -> str:
    return encode("RunInternalId", row["id"])


@run.field("tags")
def resolve_tags(row: sqlite3.Row, _: GraphQLResolveInfo) -> list[str]:
    tags: list[str] = json.loads(row["tags"])
    return tags


@run.field("readOnly")
def resolve_read_only(row: sqlite3.Row, info: GraphQLResolveInfo) -> bool:
    if info.context.user.admin:
        return False
    return not info.context.may_change(projects.entity_of(info.context.rows, "Project", row["project_id"]) or "")


@run.field("wandbConfig")
def resolve_wandb_config(row: sqlite3.Row, _: GraphQLResolveInfo, keys: list[str] | None = None) -> str:
    entry = json.loads(row["config"]).get("_wandb") or {}
    value = entry.get("value") if isinstance(entry, dict) else None
    value = value if isinstance(value, dict) else {}
    return json.dumps({key: item for key, item in value.items() if keys is None or key in keys})


@run.field("summaryMetrics")
def resolve_summary(row: sqlite3.Row, _: GraphQLResolveInfo, keys: list[str] | None = None) -> str:
    if keys is None:
        return str(row["summary"])
    summary = json.loads(row["summary"])
    return json.dumps({key: summary[key] for key in keys if key in summary})


@run.field("sweepName")
def resolve_sweep_name(row: sqlite3.Row, info: GraphQLResolveInfo) -> str | None:
    return runs.sweep_name(info.context.rows, row)


@run.field("project")
def resolve_project(row: sqlite3.Row, info: GraphQLResolveInfo) -> sqlite3.Row | None:
    return projects.by_id(info.context.rows, row["project_id"])


@run.field("user")
def resolve_user(row: sqlite3.Row, info: GraphQLResolveInfo) -> User:
    asker: User = info.context.user
    return asker if asker.name == row["user"] else User(row["user"], "", False)


@run.field("stopped")
@run.field("shouldStop")
def resolve_stopped(row: sqlite3.Row, _: GraphQLResolveInfo) -> bool:
    return bool(row["stop_requested"])


@run.field("failed")
def resolve_failed(row: sqlite3.Row, _: GraphQLResolveInfo) -> bool:
    return row["state"] in {"failed", "crashed", "killed"}


@run.field("running")
def resolve_running(row: sqlite3.Row, _: GraphQLResolveInfo) -> bool:
    return row["state"] in runs.ALIVE


@run.field("runInfo")
def resolve_run_info(row: sqlite3.Row, info: GraphQLResolveInfo) -> dict[str, Any] | None:
    """From the file that the client uploads; null before it is there."""
    file = files.find(info.context.rows, row["id"], METADATA)
    if file is None:
        return None
    try:
        said = json.loads(info.context.blobs.path(file["digest"]).read_bytes())
        return _run_info(said)
    except (OSError, ValueError, AttributeError, RecursionError):
        return None  # the run has a file of that name that is something else


def _run_info(said: dict[str, Any]) -> dict[str, Any]:
    git = said.get("git") or {}
    return {
        "program": said.get("program"),
        "args": [str(arg) for arg in said.get("args") or []],
        "os": said.get("os"),
        "python": said.get("python"),
        "colab": said.get("colab"),
        "executable": said.get("executable"),
        "codeSaved": bool(said.get("codePath")),
        "cpuCount": said.get("cpu_count"),
        "gpuCount": said.get("gpu_count"),
        "gpu": said.get("gpu"),
        "git": {"remote": git.get("remote") or git.get("remote_url"), "commit": git.get("commit")} if git else None,
    }


bindables: list[SchemaBindable] = [project, run, run_changes.mutation]
