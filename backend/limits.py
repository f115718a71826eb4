"""What one request may cost: bytes of its body, and the depth, width and cost of a GraphQL document."""

from __future__ import annotations

import gzip
import io
import math
import sys
from collections.abc import Mapping
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableNode,
)
from starlette.requests import Request

from .storage import plain_json

QUERY_BYTES = 16 << 20  # a configuration, a summary or a manifest of inlined entries comes in a variable
STREAM_BYTES = 64 << 20  # W&B's client splits its streams at about 10 MiB
UPLOAD_BYTES = 1 << 40
MOST_HELD = 512 << 20  # of bodies that are still on their way, in memory; uploads go to the disk and do not count
MANIFEST_BYTES = 256 << 20  # a million files; it is read into memory
MOST_TOKENS = 20_000
MOST_CHARACTERS = 200_000  # of a document, without its variables
MOST_SELECTIONS = 1_000  # as written; validation compares each with each, which takes seconds for some thousands
MOST_DEPTH = 24
MOST_FIELDS = 3_000
MOST_COST = 2_000_000  # fields times the rows that were asked for
_ROW_ARGUMENTS = ("first", "last", "limit")
_DEFAULT_ROWS = 50
_held = 0  # bytes of unfinished bodies; only the event loop's thread counts them


class TooMuch(Exception):
    """A request over a limit; ``status`` is the HTTP status to answer."""

    def __init__(self, message: str, status: int = 413) -> None:
        super().__init__(message)
        self.status = status


async def body(request: Request, most: int) -> bytes:
    """The whole body, unpacked if it came as gzip.

    Raises TooMuch over ``most`` bytes, packed or not, and where all bodies together are too many.
    """
    whole = await _received(request, most)
    packing = request.headers.get("content-encoding", "identity").lower()
    if packing == "identity":
        return whole
    if packing != "gzip":
        raise TooMuch(f"content-encoding {packing[:20]!r} is not understood", 415)
    return _unpack(whole, most)


async def _received(request: Request, most: int) -> bytes:
    """The body as it came. What all unfinished bodies hold together is bounded too: 503, and the client repeats."""
    global _held
    chunks, size = [], 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            _held += len(chunk)
            if size > most:
                raise TooMuch(f"the body has more than {most} bytes")
            if _held > MOST_HELD:
                raise TooMuch("too much is being sent at once; try again", 503)
            chunks.append(chunk)
    finally:
        _held -= size
    return b"".join(chunks)


def _unpack(packed: bytes, most: int) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(packed)) as file:
            unpacked = file.read(most + 1)
    except (OSError, EOFError, ValueError) as error:
        raise TooMuch(f"the body is no gzip: {error}", 400) from None
    except Exception as error:  # zlib.error is none of the above
        if type(error).__name__ != "error":
            raise
        raise TooMuch("the body is no gzip", 400) from None
    if len(unpacked) > most:
        raise TooMuch(f"the unpacked body has more than {most} bytes")
    return unpacked


def json_object(text: bytes) -> dict[str, Any]:
    """A JSON object. Raises TooMuch (status 400) when it is none, or one that is nested too deeply."""
    try:
        value = plain_json.loads(text)
    except ValueError:
        raise TooMuch("the body is not JSON", 400) from None
    if not isinstance(value, dict):
        raise TooMuch("the body is not a JSON object", 400)
    return value


def check(document: DocumentNode, variables: Mapping[str, Any]) -> None:
    """Raise TooMuch (status 400) for a document that asks for too much, whatever aliases or fragments hide it.

    The document must be valid already: then its fragments have no cycles.
    """
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    for definition in document.definitions:
        if isinstance(definition, OperationDefinitionNode):
            measured = _Measure(fragments, {**_defaults(definition), **variables})
            fields, depth, cost = measured.of(definition.selection_set)
            _refuse(fields > MOST_FIELDS, f"the document selects {_told(fields)} fields, {MOST_FIELDS} are allowed")
            _refuse(depth > MOST_DEPTH, f"the document is {depth} fields deep, {MOST_DEPTH} are allowed")
            _refuse(cost > MOST_COST, f"the document asks for {_told(cost)} values, {MOST_COST} are allowed")


def selections(document: DocumentNode) -> int:
    """How many fields and fragments a document names, as it is written."""
    count, waiting = 0, [getattr(definition, "selection_set", None) for definition in document.definitions]
    while waiting:
        found = waiting.pop()
        nodes = (found.selections if found else ()) or ()
        count += len(nodes)
        waiting += [getattr(node, "selection_set", None) for node in nodes]
    return count


class _Measure:
    """Counts a selection with its fragments; each fragment is counted once and its count reused."""

    def __init__(self, fragments: Mapping[str, FragmentDefinitionNode], variables: Mapping[str, Any]) -> None:
        self._fragments = fragments
        self._variables = variables
        self._known: dict[str, tuple[int, int, float]] = {}

    def of(self, selection: SelectionSetNode | None) -> tuple[int, int, float]:
        """(fields, depth, cost)"""
        fields, depth, cost = 0, 0, 0.0
        for node in (selection.selections if selection else ()) or ():
            if isinstance(node, FieldNode):
                inner = self.of(node.selection_set)
                found = (inner[0] + 1, inner[1] + 1, 1 + inner[2] * self._rows(node))
            elif isinstance(node, FragmentSpreadNode):
                found = self._fragment(node.name.value)
            else:
                found = self.of(getattr(node, "selection_set", None))
            fields, depth, cost = fields + found[0], max(depth, found[1]), cost + found[2]
        return fields, depth, min(cost, sys.float_info.max)

    def _fragment(self, name: str) -> tuple[int, int, float]:
        if name not in self._known:
            self._known[name] = self.of(self._fragments[name].selection_set)
        return self._known[name]

    def _rows(self, node: FieldNode) -> int:
        """How many rows a field may answer: a connection's page; 1 where it is no list."""
        for argument in node.arguments or ():
            if argument.name.value in _ROW_ARGUMENTS:
                value: Any = getattr(argument.value, "value", None)
                if isinstance(argument.value, VariableNode):
                    value = self._variables.get(argument.value.name.value)
                return _count(value)
        inner = (node.selection_set.selections if node.selection_set else ()) or ()
        is_connection = any(isinstance(field, FieldNode) and field.name.value == "edges" for field in inner)
        return _DEFAULT_ROWS if is_connection else 1


def _count(value: Any) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return _DEFAULT_ROWS
    from .graphql.paging import LARGEST

    return max(1, min(number, LARGEST))


def _defaults(operation: OperationDefinitionNode) -> dict[str, Any]:
    return {
        definition.variable.name.value: getattr(definition.default_value, "value", None)
        for definition in operation.variable_definitions or ()
        if definition.default_value is not None
    }


def _refuse(over: bool, message: str) -> None:
    if over:
        raise TooMuch(message, 400)


def _told(number: float) -> str:
    return f"{number:.0f}" if math.isfinite(number) and number < 1e12 else "far too many"
