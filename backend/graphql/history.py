"""What a run streamed, read back: history, system metrics, console."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from ariadne import ObjectType
from ariadne.types import SchemaBindable
from graphql import GraphQLResolveInfo

from .. import curves
from ..storage import history, last_values
from ..storage.plain_json import strict_json
from .errors import ClientError
from .paging import LARGEST, connection, page

run = ObjectType("Run")
log_line = ObjectType("LogLine")
DEFAULT_SAMPLES = 500


@run.field("history")
def resolve_history(
    row: sqlite3.Row,
    info: GraphQLResolveInfo,
    samples: int | None = None,
    minStep: Any = None,
    maxStep: Any = None,
) -> list[str]:
    low, high = _step("minStep", minStep), _step("maxStep", maxStep)
    most = DEFAULT_SAMPLES if samples is None else samples
    return curves.lines(info.context.rows, row["id"], most, low, high)


@run.field("sampledHistory")
def resolve_sampled_history(
    row: sqlite3.Row, info: GraphQLResolveInfo, specs: list[str], packVersion: int | None = None
) -> list[list[dict[str, Any]]]:
    try:
        parsed = [curves.parse_spec(spec) for spec in specs[:100]]
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ClientError(f"the specs of sampledHistory: {error}") from None
    return [curves.sampled(info.context.rows, row["id"], spec) for spec in parsed]


@run.field("events")
def resolve_events(row: sqlite3.Row, info: GraphQLResolveInfo, samples: int | None = None) -> list[str]:
    return curves.events(info.context.rows, row["id"], DEFAULT_SAMPLES if samples is None else samples)


@run.field("systemMetrics")
def resolve_system_metrics(row: sqlite3.Row, info: GraphQLResolveInfo) -> str:
    last = history.tail(info.context.rows, row["id"], "events")
    return strict_json(last) if last else "{}"


@run.field("historyKeys")
def resolve_history_keys(row: sqlite3.Row, info: GraphQLResolveInfo) -> dict[str, Any] | None:
    """Null for a run without history, as at W&B."""
    if row["last_step"] < 0:
        return None
    counted = json.loads(row["history_keys"])
    last = last_values.of(info.context.rows, row, counted)
    keys = {
        key: {
            "typeCounts": [{"type": kind, "count": count} for kind, count in kinds.items()],
            "previousValue": last.get(key),
        }
        for key, kinds in counted.items()
    }
    return {"step": row["last_step"], "lastStep": row["last_step"], "keys": keys, "sets": []}


@run.field("historyLineCount")
def resolve_history_lines(row: sqlite3.Row, _: GraphQLResolveInfo) -> int:
    return int(row["history_lines"])


@run.field("eventsLineCount")
def resolve_event_lines(row: sqlite3.Row, _: GraphQLResolveInfo) -> int:
    return int(row["event_lines"])


@run.field("logLineCount")
def resolve_console_lines(row: sqlite3.Row, _: GraphQLResolveInfo) -> int:
    return int(row["console_lines"])


@run.field("historyTail")
def resolve_history_tail(row: sqlite3.Row, info: GraphQLResolveInfo) -> str:
    return _tail(info.context.rows, row, "history")


@run.field("eventsTail")
def resolve_events_tail(row: sqlite3.Row, info: GraphQLResolveInfo) -> str:
    return _tail(info.context.rows, row, "events")


def _tail(conn: sqlite3.Connection, row: sqlite3.Row, table: str) -> str:
    last = history.tail(conn, row["id"], table)
    return json.dumps([last] if last else [])


@run.field("logLines")
def resolve_log_lines(
    row: sqlite3.Row,
    info: GraphQLResolveInfo,
    first: int | None = None,
    after: str | None = None,
    last: int | None = None,
    useImprovedPagination: bool | None = None,
) -> dict[str, Any]:
    """Console lines in order: a page, or the last ones."""
    if last is not None:
        tail = history.console_tail(info.context.rows, row["id"], max(0, min(last, LARGEST)))
        return connection(tail, LARGEST, None, row["console_lines"])
    limit, offset = page(first, after)
    found = history.console(info.context.rows, row["id"], limit + 1, offset)
    return connection(found, first, after)


@log_line.field("number")
def resolve_number(row: sqlite3.Row, _: GraphQLResolveInfo) -> int:
    return int(row["line"])


@log_line.field("line")
def resolve_line(row: sqlite3.Row, _: GraphQLResolveInfo) -> str:
    return str(_structured(row)["content"])


@log_line.field("timestamp")
def resolve_timestamp(row: sqlite3.Row, _: GraphQLResolveInfo) -> str | None:
    return _structured(row).get("ts")


@log_line.field("level")
def resolve_level(row: sqlite3.Row, _: GraphQLResolveInfo) -> str | None:
    return _structured(row).get("level")


@log_line.field("label")
def resolve_label(row: sqlite3.Row, _: GraphQLResolveInfo) -> str | None:
    return _structured(row).get("label")


def _structured(row: sqlite3.Row) -> dict[str, Any]:
    return history.console_parts(row["text"])


@run.field("parquetHistory")
def resolve_parquet_history(row: sqlite3.Row, info: GraphQLResolveInfo, liveKeys: list[str]) -> dict[str, Any]:
    """All of the history is live: told by its two ends, between which the client reads it page by page."""
    ends = history.ends(info.context.rows, row["id"])
    return {
        "parquetUrls": [],
        "liveData": [{key: end[key] for key in ["_step", *liveKeys] if key in end} for end in ends],
    }


def _step(name: str, value: Any) -> int | None:
    try:
        return None if value is None else max(-(2**62), min(int(value), 2**62))
    except (TypeError, ValueError, OverflowError):
        raise ClientError(f"{name} is not a whole number") from None


bindables: list[SchemaBindable] = [run, log_line]
