"""Pages of artifacts: a project's collections, a collection's versions, one version with its tables."""

from __future__ import annotations

import sqlite3

from starlette.requests import Request
from starlette.responses import Response

from ..storage import artifacts as stored_artifacts
from ..storage import projects as stored_projects
from . import artifact_data, content, data, rendering, tables
from .links import link
from .projects import rows

FILES = 500  # of a version that its page lists


def collections(request: Request) -> Response:
    """``/{entity}/{project}/artifacts``: the newest version of every collection."""
    project = _project(request)
    if project is None:
        return _missing(request)
    versions = artifact_data.of_project(rows(request), project["id"])
    return _listing(project, versions, f"Artifacts of {project['name']}")


def collection(request: Request) -> Response:
    """``/{entity}/{project}/artifacts/{type}/{collection}``: all its versions."""
    project = _project(request)
    versions = _versions(request, project)
    if project is None or not versions:
        return _missing(request)
    return _listing(project, versions, request.path_params["collection"])


def version(request: Request) -> Response:
    """``/{entity}/{project}/artifacts/{type}/{collection}/{version}``; the version is ``v3`` or an alias."""
    versions = _versions(request, _project(request))
    shown = _wanted(request, versions)
    if shown is None:
        return _missing(request)
    connection, base = rows(request), link(*shown.address)
    files = stored_artifacts.entries(connection, shown.pk)
    here = (shown.name, base)
    return rendering.page(
        "artifact.html",
        version=shown,
        others=versions,
        base=base,
        files=files[:FILES],
        files_left=max(0, len(files) - FILES),
        tables=tables.of_version(connection, request.app.state.blobs, shown),
        metadata=dict(data.flat(data.mapping(shown.row["metadata"]))),
        makers=artifact_data.neighbours(connection, shown.pk, "artifact_outputs"),
        users=artifact_data.neighbours(connection, shown.pk, "artifact_inputs"),
        crumbs=rendering.crumbs(shown.entity, shown.project, _all_artifacts(shown.entity, shown.project), here),
    )


def file(request: Request) -> Response:
    """``.../{version}/files/{name}``: the content of an entry; a reference to another artifact is followed once."""
    name = request.path_params["name"]
    shown = _wanted(request, _versions(request, _project(request)))
    entry = artifact_data.entry(rows(request), shown.pk, name) if shown else None
    if entry is not None and entry["ref"] and not entry["digest"]:
        entry = artifact_data.referred(rows(request), entry["ref"])
    path = request.app.state.blobs.path(entry["digest"]) if entry and entry["digest"] else None
    if path is None or not path.is_file():
        return rendering.missing(f"content stored here for {name}")
    return content.send(path, name)


def _project(request: Request) -> sqlite3.Row | None:
    return stored_projects.find(rows(request), request.path_params["entity"], request.path_params["project"])


def _versions(request: Request, project: sqlite3.Row | None) -> list[artifact_data.Version]:
    if project is None:
        return []
    kind, name = request.path_params["type"], request.path_params["collection"]
    return artifact_data.of_collection(rows(request), project["id"], kind, name)


def _wanted(request: Request, versions: list[artifact_data.Version]) -> artifact_data.Version | None:
    name = request.path_params["version"]
    return next((found for found in versions if name == f"v{found.index}" or name in found.aliases), None)


def _all_artifacts(entity: str, project: str) -> tuple[str, str]:
    return ("artifacts", link(entity, project, "artifacts"))


def _listing(project: sqlite3.Row, versions: list[artifact_data.Version], title: str) -> Response:
    entity, name = project["entity"], project["name"]
    crumbs = rendering.crumbs(entity, name, _all_artifacts(entity, name))
    return rendering.page("artifacts.html", project=project, versions=versions, title=title, crumbs=crumbs)


def _missing(request: Request) -> Response:
    asked = request.path_params
    names = [asked[key] for key in ("entity", "project", "type", "collection", "version") if key in asked]
    return rendering.missing(f"artifact {'/'.join(names)}")
