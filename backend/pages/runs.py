"""Pages of one run: curves and media, overview, system metrics, console, files, artifacts."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ... import figures
from ..storage import files as stored_files
from ..storage import projects as stored_projects
from . import artifact_data, content, data, media, rendering, tables
from .links import link, nested_link
from .projects import rows

CHARTS = 100  # metrics that a page draws
TAIL, LOG = 20, 5_000  # console lines of the first page and of the console's own
PICTURES = 60

Found = tuple[sqlite3.Row, data.Run]
Details = Callable[[Request, data.Run, str], dict[str, Any]]


def run(request: Request) -> Response:
    """``/{entity}/{project}/runs/{run}`` and its tabs."""
    found = find(request)
    if isinstance(found, Response):
        return found
    project, shown = found
    base = link(project["entity"], project["name"], "runs", shown.name)
    tab = request.path_params.get("tab", "charts")
    if tab not in _TABS:
        return rendering.missing(f"page {tab} of a run", base)
    details, _ = _TABS[tab]
    return rendering.page(
        "run.html",
        run=shown,
        project=project,
        entity=project["entity"],
        tab=tab,
        tabs=[(name, title) for name, (_, title) in _TABS.items()],
        base=base,
        summary={key: value for key, value in shown.summary.items() if not key.startswith("_")},
        crumbs=rendering.crumbs(project["entity"], project["name"], (shown.display_name, base)),
        **details(request, shown, base),
    )


def find(request: Request) -> Found | Response:
    """The project and run of the address, or the page that says what is missing."""
    entity, project_name, name = (request.path_params[key] for key in ("entity", "project", "run"))
    project = stored_projects.find(rows(request), entity, project_name)
    shown = data.run(rows(request), project["id"], name) if project else None
    if project is None or shown is None:
        return rendering.missing(f"run {entity}/{project_name}/{name}")
    return project, shown


def file(request: Request) -> Response:
    """``/{entity}/{project}/runs/{run}/files/{name}``: the content of one file."""
    found = find(request)
    if isinstance(found, Response):
        return found
    _, shown = found
    name = request.path_params["name"]
    stored = stored_files.find(rows(request), shown.pk, name)
    path = request.app.state.blobs.path(stored["digest"]) if stored else None
    if path is None or not path.is_file():
        return rendering.missing(f"file {name} in run {shown.name}")
    return content.send(path, name)


def _charts(request: Request, shown: data.Run, base: str) -> dict[str, Any]:
    connection = rows(request)
    series = list(data.curves(connection, shown).items())[:CHARTS]
    files = stored_files.listing(connection, shown.pk)
    logged = artifact_data.logged(connection, shown.pk)
    found = tables.of_run(connection, request.app.state.blobs, logged, files, base)
    in_tables = {cell.path for table in found for row in table.rows for cell in row if isinstance(cell, media.Picture)}
    names = [row["name"] for row in files if row["name"] not in in_tables]
    pictures = [name for name in names if name.lower().endswith(content.PICTURES)]
    return {
        "figures": [figures.curves({key: figures.thin(points)}, key) for key, points in series],
        "tables": found,
        "pictures": [(name, nested_link(f"{base}/files", name)) for name in pictures[:PICTURES]],
        "pictures_left": max(0, len(pictures) - PICTURES),
        "logged": logged,
        "used": artifact_data.used(connection, shown.pk),
        "lines": data.console(connection, shown, TAIL),
    }


def _overview(request: Request, shown: data.Run, base: str) -> dict[str, Any]:
    return {}


def _system(request: Request, shown: data.Run, base: str) -> dict[str, Any]:
    series = data.system_curves(rows(request), shown)
    drawn = [figures.curves({key: figures.thin(points)}, key, "seconds") for key, points in sorted(series.items())]
    return {"figures": drawn[:CHARTS]}


def _logs(request: Request, shown: data.Run, base: str) -> dict[str, Any]:
    whole = stored_files.find(rows(request), shown.pk, "output.log")
    log_file = nested_link(f"{base}/files", "output.log") if whole else None
    return {"lines": data.console(rows(request), shown, LOG), "log_file": log_file}


def _files(request: Request, shown: data.Run, base: str) -> dict[str, Any]:
    return {"files": stored_files.listing(rows(request), shown.pk)}


def _artifacts(request: Request, shown: data.Run, base: str) -> dict[str, Any]:
    connection = rows(request)
    return {"logged": artifact_data.logged(connection, shown.pk), "used": artifact_data.used(connection, shown.pk)}


_TABS: dict[str, tuple[Details, str]] = {
    "charts": (_charts, "Charts"),
    "overview": (_overview, "Overview"),
    "system": (_system, "System"),
    "logs": (_logs, "Logs"),
    "files": (_files, "Files"),
    "artifacts": (_artifacts, "Artifacts"),
}
