"""What UpsertSweep asks for, read and checked, and what it does to the store."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..search import settings as sweep_settings
from ..search.settings import Settings, SettingsError
from ..storage import plain_json, projects, runs, sweeps, trials
from .errors import ClientError
from .ids import decode

DEFAULT_PROJECT = "uncategorized"


@dataclass(frozen=True)
class Wanted:
    """A checked request. ``columns`` are the sweep's columns to set; None elsewhere means left as it is."""

    pk: int | None
    entity: str | None
    project: str
    columns: dict[str, Any]
    settings: Settings | None
    state: str | None
    controller: dict[str, Any] | None
    priors: tuple[str, ...]


def read(given: Mapping[str, Any]) -> Wanted:
    """Check the input of UpsertSweep. Raises ClientError."""
    settings = _settings(given.get("config"))
    if given.get("id") is None and settings is None:
        raise ClientError("a new sweep needs a configuration")
    return Wanted(
        pk=decode(given["id"], "Sweep") if given.get("id") else None,
        entity=given.get("entityName"),
        project=given.get("projectName") or DEFAULT_PROJECT,
        columns=_columns(given, settings),
        settings=settings,
        state=_state(given.get("state")),
        controller=_controller(given.get("controller")),
        priors=tuple(_names(_object(given.get("priorRunsFilters"), "priorRunsFilters"))),
    )


def apply(conn: sqlite3.Connection, wanted: Wanted, user: str) -> sqlite3.Row:
    """Make or change the sweep. Raises ClientError (404) for an id that is not there."""
    if wanted.pk is None:
        project = projects.ensure(conn, wanted.entity or user, wanted.project)
        sweep = sweeps.create(conn, project["id"], user=user, **wanted.columns)
    else:
        _found(conn, wanted.pk)
        outside = {} if wanted.settings is None else {"outside": _outside(conn, wanted.pk, wanted.settings)}
        sweep = sweeps.update(conn, wanted.pk, **wanted.columns, **outside)
    if wanted.priors:
        sweeps.set_priors(conn, sweep, wanted.priors)
    if wanted.controller is not None:
        sweep = _schedule(conn, sweep, wanted.controller)
    return _set_state(conn, sweep, wanted.state) if wanted.state else sweep


def _outside(conn: sqlite3.Connection, pk: int, asked: Settings) -> int:
    """How many trials of the sweep its new grid does not have."""
    if asked.method != "grid" or asked.external:
        return 0
    tried = (asked.space.flat(config) for config in trials.configurations(conn, pk))
    return sum(not asked.space.holds(flat) for flat in tried)


# What each state may follow. A sweep that is over may run again: that is W&B's way to repeat runs that were deleted.
# One that was stopped may still be cancelled, while runs go on.
_FROM = {
    "PENDING": {"PENDING"},
    "RUNNING": sweeps.STATES,
    "PAUSED": {"PENDING", "RUNNING", "PAUSED"},
    "FINISHED": {"PENDING", "RUNNING", "PAUSED", "FINISHED"},
    "CANCELED": sweeps.STATES,
}


def _set_state(conn: sqlite3.Connection, sweep: sqlite3.Row, wanted: str) -> sqlite3.Row:
    """Raises ClientError for a state that cannot follow the sweep's own."""
    state = sweeps.state(conn, sweep)
    if state not in _FROM[wanted]:
        raise ClientError(f"a sweep that is {state} cannot become {wanted}; allowed are {', '.join(_after(state))}")
    return sweeps.set_state(conn, sweep["id"], wanted)


def _after(state: str) -> list[str]:
    return sorted(wanted for wanted, before in _FROM.items() if state in before)


def enqueue(
    conn: sqlite3.Connection, pk: int, config: Mapping[str, Any], name: str | None, by_scheduler: bool = False
) -> sqlite3.Row:
    """A run for the next agent of the sweep. Raises ClientError when the sweep takes no more.

    To the client's sweep scheduler a full sweep is 429: it takes its suggestion back, and goes on judging the runs that
    run. Any other status is fatal to it (seen with wandb-core 0.31). Others repeat a 429 for long, so they get a 400.
    """
    sweep = _found(conn, pk)
    run = trials.enqueue(conn, sweep, config, name)
    if run is None:
        is_full = by_scheduler and sweep["state"] in sweeps.OPEN
        message = f"sweep {sweep['name']} takes no more runs: it is over, or its run_cap is reached"
        raise ClientError(message, 429 if is_full else 400)
    return run


def enqueued_config(text: str) -> dict[str, Any]:
    """A configuration as EnqueueSweepRun has it: plain values, or each wrapped in ``{"value": ...}``."""
    config = _object(text, "config") or {}
    is_wrapped = all(isinstance(value, dict) and set(value) == {"value"} for value in config.values())
    return {name: value["value"] for name, value in config.items()} if is_wrapped else config


def _settings(text: str | None) -> Settings | None:
    if text is None:
        return None
    try:
        return sweep_settings.read(sweep_settings.load(text))
    except SettingsError as error:
        raise ClientError(str(error)) from error


def _columns(given: Mapping[str, Any], settings: Settings | None) -> dict[str, Any]:
    columns = {
        "display_name": given.get("displayName"),
        "description": given.get("description"),
        "scheduler": _scheduler(given.get("scheduler")),
        "config": given.get("config"),
    }
    found = {name: value for name, value in columns.items() if value is not None}
    if settings is not None:
        found |= {"method": settings.method, "run_cap": settings.run_cap, "exhausted": 0}
    return found


def _state(state: str | None) -> str | None:
    if state is None:
        return None
    if state.upper() not in sweeps.STATES:
        raise ClientError(f"unknown sweep state {state!r}; allowed are {', '.join(sorted(sweeps.STATES))}")
    return state.upper()


def _object(text: str | None, what: str) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        value = plain_json.loads(text)
    except ValueError as error:
        raise ClientError(f"{what} is no JSON: {error}") from error
    if value is not None and not isinstance(value, dict):
        raise ClientError(f"{what} must be a JSON object")
    return value


def _controller(text: str | None) -> dict[str, Any] | None:
    """What a local controller tells: a schedule of runs, and the names of those to stop early. Raises ClientError."""
    controller = _object(text, "controller")
    if controller is None:
        return None
    schedule, stops = controller.get("schedule") or [], controller.get("earlystop") or []
    if not isinstance(schedule, list) or not all(_is_scheduled(entry) for entry in schedule):
        raise ClientError("the controller's schedule is a list of objects with an id and data")
    if not isinstance(stops, list) or not all(isinstance(name, str) for name in stops):
        raise ClientError("the controller's earlystop is a list of run ids")
    return controller


def _scheduler(text: str | None) -> str | None:
    """The scheduler's notes, which are read again with each schedule. Raises ClientError."""
    entries = (_object(text, "scheduler") or {}).get("scheduled") or []
    if not isinstance(entries, list) or not all(_is_scheduled(entry) for entry in entries):
        raise ClientError("the scheduler's scheduled is a list of objects with an id and a runid")
    return text


def _is_scheduled(entry: Any) -> bool:
    is_object = isinstance(entry, dict) and isinstance(entry.get("id"), (str, int, type(None)))
    return is_object and isinstance(entry.get("data"), (dict, type(None)))


def _names(filters: Any) -> Iterator[str]:
    """The run ids in a filter as the client makes it: ``{"$or": [{"name": ID}, ...]}``."""
    if isinstance(filters, list):
        for item in filters:
            yield from _names(item)
    elif isinstance(filters, dict):
        for key, value in filters.items():
            if key == "name":
                yield from [value] if isinstance(value, str) else _named_in(value)
            else:
                yield from _names(value)


def _named_in(condition: Any) -> Iterator[str]:
    several = condition.get("$in", []) if isinstance(condition, dict) else []
    yield from (name for name in several if isinstance(name, str))


def _found(conn: sqlite3.Connection, pk: int) -> sqlite3.Row:
    sweep = sweeps.by_id(conn, pk)
    if sweep is None:
        raise ClientError("the sweep does not exist; it may have been deleted", 404)
    return sweep


def _schedule(conn: sqlite3.Connection, sweep: sqlite3.Row, controller: dict[str, Any]) -> sqlite3.Row:
    """Turn a local controller's schedule into runs and note them under ``scheduled``; stop what it stops early."""
    scheduler = json.loads(sweep["scheduler"] or "{}") or {}
    scheduled = list(scheduler.get("scheduled") or [])
    known = {entry.get("id") for entry in scheduled}
    exhausted = 0
    for entry in controller.get("schedule") or []:
        if entry.get("id") in known:
            continue
        args = (entry.get("data") or {}).get("args")
        if args is None:  # the controller's search has come to its end
            exhausted = 1
            continue
        run = trials.enqueue(conn, sweep, enqueued_config(json.dumps(args)))
        if run is not None:
            scheduled.append({"id": entry.get("id"), "runid": run["name"]})
    _stop(conn, sweep, controller.get("earlystop") or [])
    text = json.dumps({**scheduler, "scheduled": scheduled})
    return sweeps.update(
        conn,
        sweep["id"],
        controller=json.dumps(controller),
        scheduler=text,
        exhausted=exhausted or sweep["exhausted"],
    )


def _stop(conn: sqlite3.Connection, sweep: sqlite3.Row, names: list[str]) -> None:
    for name in names:
        run = runs.find(conn, sweep["project_id"], name)
        if run is not None and run["sweep_id"] == sweep["id"] and run["state"] not in runs.ENDED:
            runs.update(conn, run["id"], stop_requested=1)
