"""``POST /graphql``: one document, checked, run in a thread, answered with the status that W&B's client acts on."""

from __future__ import annotations

import json
import logging
import sqlite3
from functools import lru_cache
from typing import Any

from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLError,
    GraphQLSyntaxError,
    execute_sync,
    parse,
    validate,
)
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from . import fencing, limits, shared_stream
from .graphql import schema
from .graphql.context import Context
from .graphql.errors import ClientError
from .storage.names import BadName
from .storage.opening import StoreError, is_damage
from .storage.plain_json import named_numbers

_LONGEST_KNOWN = 32_000  # characters; W&B's client has no document half as long, and what is kept must stay small
_log = logging.getLogger(__name__)


async def post(request: Request) -> Response:
    """The route. 200 with data; 400 for a document that does not fit the schema; else the status of a ClientError."""
    asked = limits.json_object(await limits.body(request, limits.QUERY_BYTES))
    query, variables, operation = _parts(asked)
    state = request.app.state
    base_url = f"{request.url.scheme}://{request.headers['host']}"
    shared = shared_stream.is_shared(request)
    lease = fencing.lease_of(request)
    tells_ends = request.headers.get("user-agent", "").startswith("sweepkit/")
    context = Context(
        state.database, state.blobs, request.state.user, base_url, state.signer,
        shared=shared, lease=lease, tells_ends=tells_ends, operation=operation,
    )  # fmt: skip
    return await run_in_threadpool(answer, query, variables, operation, context)


def _parts(asked: dict[str, Any]) -> tuple[str, dict[str, Any], str | None]:
    query, variables, operation = asked.get("query"), asked.get("variables") or {}, asked.get("operationName")
    if not isinstance(query, str) or not isinstance(variables, dict) or not isinstance(operation, (str, type(None))):
        raise limits.TooMuch("query is a text, variables an object, operationName a text", 400)
    return query, variables, operation or None  # wandb-core sends "" where there is no name


def answer(query: str, variables: dict[str, Any], operation: str | None, context: Context) -> Response:
    """Run one document."""
    if len(query) > limits.MOST_CHARACTERS:
        raise limits.TooMuch(f"a document has at most {limits.MOST_CHARACTERS} characters", 400)
    document = (_known if len(query) < _LONGEST_KNOWN else _checked)(query)
    if not isinstance(document, DocumentNode):
        _log.info("refused a document: %s", document[0].message)
        return _response({"errors": [error.formatted for error in document]}, 400)
    limits.check(document, variables)
    result = execute_sync(schema(), document, None, context, variables, operation)
    return _response(_body(result), _status(result))


@lru_cache(maxsize=256)
def _known(query: str) -> DocumentNode | tuple[GraphQLError, ...]:
    """``_checked``, remembered: W&B's client sends the same few documents again and again."""
    return _checked(query)


def _checked(query: str) -> DocumentNode | tuple[GraphQLError, ...]:
    """The document, or what is wrong with it."""
    try:
        document = parse(query, max_tokens=limits.MOST_TOKENS)
    except GraphQLSyntaxError as error:
        return (error,)
    except RecursionError:
        return (GraphQLError("the document is nested too deeply"),)
    if (named := limits.selections(document)) > limits.MOST_SELECTIONS:
        return (GraphQLError(f"the document has {named} selections, {limits.MOST_SELECTIONS} are allowed"),)
    return tuple(validate(schema(), document, max_errors=5)) or document


def _body(result: ExecutionResult) -> dict[str, Any]:
    body: dict[str, Any] = {"data": result.data}
    if result.errors:
        body["errors"] = [_shown(error) for error in result.errors]
    return body


def _shown(error: GraphQLError) -> dict[str, Any]:
    """An error as the client may see it: an unexpected one goes to the log, its text does not leave the server."""
    original = error.original_error
    if original is None or isinstance(original, (ClientError, GraphQLError, BadName, StoreError)):
        return {**error.formatted, "message": str(original) if isinstance(original, BadName) else error.message}
    _log.error("a resolver failed", exc_info=original)
    return {**error.formatted, "message": "internal error; the server's log says more"}


def _status(result: ExecutionResult) -> int:
    for error in result.errors or ():
        original = error.original_error
        if isinstance(original, (StoreError, sqlite3.OperationalError)) or is_damage(original):
            return 503  # a full disk, or one that is to be mended: the client tries again
        if isinstance(original, BadName) or (original is None and result.data is None):
            return 400
        status = (getattr(original, "extensions", None) or {}).get("status", 200)
        if status != 200:
            return int(status)
    return 200


def _response(body: dict[str, Any], status: int) -> Response:
    try:
        text = json.dumps(body, allow_nan=False, default=str)
    except ValueError:
        text = json.dumps(named_numbers(body), allow_nan=False, default=str)
    return Response(text, status_code=status, media_type="application/json")
