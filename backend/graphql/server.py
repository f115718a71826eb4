"""What this server says of itself, and small things that only a hosted server would do more with."""

from __future__ import annotations

import logging
from typing import Any

from ariadne import MutationType, ObjectType, QueryType
from ariadne.types import SchemaBindable
from graphql import GraphQLResolveInfo

from ..storage import runs
from . import noun_features
from .errors import ClientError

query = QueryType()
mutation = MutationType()
server_info = ObjectType("ServerInfo")
_log = logging.getLogger(__name__)

# The features of W&B's servers that the client asks for and that work here. The names are those of
# wandb_internal's ServerFeature; one that is not listed is off.
FEATURES = (
    "ARTIFACT_TAGS",
    "CLIENT_IDS",
    "EXPAND_DEFINED_METRIC_GLOBS",
    "FILESTREAM_GZIP",
    "LARGE_FILENAMES",
    "MARK_RUN_FILES_UPLOADED",
    "STRUCTURED_CONSOLE_LOGS",
    "UPDATE_RUN_STATE",
)
# The client compares these with its own version, and with versions that understand newer file layouts.
CLIENT_VERSIONS = {"min_cli_version": "0.10.0", "max_cli_version": "99.0.0"}
LOCAL_VERSION = {
    "outOfDate": False,
    "latestVersionString": "99.0.0",
    "versionOnThisInstanceString": "99.0.0",
}


@query.field("serverInfo")
def resolve_server_info(*_: Any) -> dict[str, Any]:
    return {"cliVersionInfo": CLIENT_VERSIONS, "latestLocalVersionInfo": LOCAL_VERSION}


@server_info.field("features")
def resolve_features(*_: Any) -> list[dict[str, Any]]:
    """Those of the core above, and those that other nouns name in their ``features``."""
    return [{"name": name, "isEnabled": True} for name in sorted({*FEATURES, *noun_features()})]


@mutation.field("notifyScriptableRunAlert")
def resolve_alert(_: Any, info: GraphQLResolveInfo, input: dict[str, Any]) -> dict[str, Any]:
    """``run.alert``: nobody can be written to from here, so it is in the server's log."""
    path = (input.get("entityName") or info.context.user.name, input.get("projectName") or "", input["runName"])
    if runs.by_path(info.context.rows, *path) is None:
        raise ClientError(f"there is no run {'/'.join(path)}", 404)
    _log.warning("alert of %s: %s: %s", "/".join(path), input["title"], input["text"])
    return {"success": True}


@mutation.field("createCustomChart")
def resolve_custom_chart(_: Any, info: GraphQLResolveInfo, input: dict[str, Any]) -> dict[str, Any]:
    """Custom charts are drawn by W&B's web app, which is not here; the name is answered, so that logging goes on."""
    return {"chart": {"id": f"{input.get('entity') or info.context.user.name}/{input['name']}"}}


bindables: list[SchemaBindable] = [query, mutation, server_info]
