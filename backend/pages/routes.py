"""Which address opens which page."""

from __future__ import annotations

import gzip
from functools import lru_cache

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ... import figures
from . import artifacts, projects, rendering, runs, sweeps

_KINDS = {"pages.css": "text/css", "pages.js": "text/javascript", "plotly.min.js": "text/javascript"}


def static(request: Request) -> Response:
    """``/-/static/{name}``: the style sheet and the scripts, plotly.js out of the installed package."""
    name = request.path_params["name"]
    if name not in _KINDS:
        return rendering.missing(f"file {name}")
    headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "private, max-age=600"}
    if name != "plotly.min.js":
        return Response((rendering.STATIC / name).read_bytes(), media_type=_KINDS[name], headers=headers)
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return Response(figures.plotly_script(), media_type=_KINDS[name], headers=headers)
    headers |= {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
    return Response(_plotly_packed(), media_type=_KINDS[name], headers=headers)


@lru_cache(maxsize=1)
def _plotly_packed() -> bytes:
    """1.4 MB instead of 4.6."""
    return gzip.compress(figures.plotly_script().encode(), compresslevel=6)


_PROJECT = "/{entity}/{project}"
_RUN = _PROJECT + "/runs/{run}"
_COLLECTION = _PROJECT + "/artifacts/{type}/{collection}"

routes = [
    Route("/-/static/{name}", static),
    Route("/", projects.projects),
    Route("/{entity}", projects.projects),
    Route(_PROJECT, projects.project),
    Route(_PROJECT + "/workspace", projects.project),
    Route(_PROJECT + "/runs", projects.project),
    Route(_PROJECT + "/table", projects.project),
    Route(_PROJECT + "/sweeps", sweeps.sweeps),
    Route(_PROJECT + "/sweeps/{sweep}", sweeps.sweep),
    Route(_RUN, runs.run),
    Route(_RUN + "/files/{name:path}", runs.file),
    Route(_RUN + "/{tab}", runs.run),
    Route(_PROJECT + "/artifacts", artifacts.collections),
    Route(_COLLECTION, artifacts.collection),
    Route(_COLLECTION + "/{version}", artifacts.version),
    Route(_COLLECTION + "/{version}/files/{name:path}", artifacts.file),
]
