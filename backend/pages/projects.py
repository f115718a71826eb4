"""Pages of all projects, and of one: its runs and their curves."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from ... import figures
from ..storage import projects as stored_projects
from . import data, project_runs, rendering

RECENT = 10  # runs whose curves a project's page draws
CHARTS = 12
_LINES = 4_000  # of each run's history that is read for them


def projects(request: Request) -> Response:
    """``/`` and ``/{entity}``: the projects."""
    entity = request.path_params.get("entity")
    found = data.entities_projects(rows(request), entity)
    if entity and not found:
        return rendering.missing(f"project of {entity}")
    steps = rendering.crumbs(entity) if entity else []
    return rendering.page("projects.html", projects=found, entity=entity, crumbs=steps)


def project(request: Request) -> Response:
    """``/{entity}/{project}``: the runs."""
    entity, name = request.path_params["entity"], request.path_params["project"]
    found = stored_projects.find(rows(request), entity, name)
    if found is None:
        return rendering.missing(f"project {entity}/{name}")
    newest, states = data.runs(rows(request), found["id"], project_runs.SAMPLE), data.states(rows(request), found["id"])
    recent = [run for run in newest if run.lines][:RECENT]
    return rendering.page(
        "project.html",
        project=found,
        table=project_runs.table(rows(request), found["id"], request.query_params, newest, states),
        figures=comparison(rows(request), recent),
        recent=len(recent),
        live=any(states.get(state) for state in data.LIVE),
        crumbs=rendering.crumbs(entity, name),
    )


def comparison(connection: data.Rows, runs: Sequence[data.Run], first: Sequence[str] = ()) -> list[figures.Figure]:
    """A figure a metric with a curve a run; the metrics ``first`` come first."""
    series: dict[str, dict[str, Sequence[data.Point]]] = {key: {} for key in first}
    for run in runs:
        for key, points in data.curves(connection, run, limit=_LINES).items():
            if key in data.COUNTERS:
                continue
            series.setdefault(key, {})[_own_name(run, runs)] = figures.thin(points, 300)
    return [figures.curves(found, key) for key, found in list(series.items())[:CHARTS] if found]


def _own_name(run: data.Run, runs: Sequence[data.Run]) -> str:
    alone = sum(other.display_name == run.display_name for other in runs) == 1
    return run.display_name if alone else f"{run.display_name} ({run.name})"


def rows(request: Request) -> data.Rows:
    """The connection for reading."""
    return request.app.state.database.read()  # type: ignore[no-any-return]
