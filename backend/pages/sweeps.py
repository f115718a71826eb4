"""Pages of a project's sweeps, and of one: progress, best run, parallel coordinates, importance, curves."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from ... import figures
from ..storage import projects as stored_projects
from ..storage import sweeps as stored_sweeps
from . import data, rendering, runs_table, sweep_data
from .links import link
from .projects import comparison, rows

CURVES = 30  # runs whose curves a sweep's page draws


def sweeps(request: Request) -> Response:
    """``/{entity}/{project}/sweeps``: the sweeps of a project, newest first."""
    entity, name = request.path_params["entity"], request.path_params["project"]
    connection = rows(request)
    project = stored_projects.find(connection, entity, name)
    if project is None:
        return rendering.missing(f"project {entity}/{name}")
    found = [sweep_data.sweep(connection, row) for row in stored_sweeps.listing(connection, project["id"], 100)]
    return rendering.page(
        "sweeps.html",
        project=project,
        sweeps=found,
        live=any(sweep.live for sweep in found),
        crumbs=rendering.crumbs(entity, name, _all(entity, name)),
    )


def sweep(request: Request) -> Response:
    """``/{entity}/{project}/sweeps/{sweep}``: one sweep."""
    entity, name, wanted = (request.path_params[key] for key in ("entity", "project", "sweep"))
    connection = rows(request)
    project = stored_projects.find(connection, entity, name)
    row = stored_sweeps.find(connection, project["id"], wanted) if project else None
    if project is None or row is None:
        return rendering.missing(f"sweep {entity}/{name}/{wanted}", link(entity, name))
    shown = sweep_data.sweep(connection, row)
    here = (shown.title, link(entity, name, "sweeps", shown.name))
    metric = shown.metric.name if shown.metric else None
    metrics = list(shown.front.goals) if shown.front else [metric] if metric else []
    newest_first = list(reversed(shown.runs))
    return rendering.page(
        "sweep.html",
        project=project,
        sweep=shown,
        agents=len(stored_sweeps.agents(connection, row["id"])),
        table=runs_table.table(newest_first, request.query_params, shown.parameters, metric),
        figures=_figures(connection, shown),
        curved=min(CURVES, len(newest_first)),
        curves=comparison(connection, newest_first[:CURVES], metrics),
        crumbs=rendering.crumbs(entity, name, _all(entity, name), here),
    )


def _figures(connection: data.Rows, shown: sweep_data.Sweep) -> list[figures.Figure]:
    if shown.front is not None:
        return shown.front.pictures()
    if shown.metric is None or not shown.values:
        return []
    trials, name = shown.trials(), shown.metric.name
    drawn = [figures.parallel(trials, shown.parameters, name, shown.goal)]
    found = figures.importance(trials, shown.parameters, name)
    return [*drawn, figures.importance_figure(found, name)] if found else drawn


def _all(entity: str, project: str) -> tuple[str, str]:
    return ("sweeps", link(entity, project, "sweeps"))
