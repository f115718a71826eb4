"""A YAML file with the position of everything in it, so that every fault can be told with its line and column."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

LARGEST = 1_000_000  # characters; a sweep has a few thousand at most

# What JSON can carry; W&B's server keeps a sweep as JSON.
_TAGS = {
    f"tag:yaml.org,2002:{kind}" for kind in ("map", "seq", "str", "int", "float", "bool", "null", "merge", "timestamp")
}


class _Loader(yaml.SafeLoader):
    """Reads 1e-4 as a number, as YAML 1.2, JSON and W&B's servers do; PyYAML's YAML 1.1 takes it for a text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


class Fault(Exception):
    """Something wrong in a document: where (line and column from 1), what was found, and the edit that mends it."""

    def __init__(self, message: str, line: int, column: int, fix: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.column = column
        self.fix = fix


@dataclass(frozen=True)
class Document:
    """A YAML text, read: its value as plain Python data, and where each part of it stands."""

    text: str
    value: Any
    root: yaml.Node | None

    def position(self, path: Sequence[str | int], key: bool = False) -> tuple[int, int]:
        """Line and column, from 1, of what stands at ``path``; of its key rather than its value where ``key`` is true.

        Where the path leads nowhere (a key that is missing), the position of the last part that is there.
        """
        node, mark = self.root, None
        for part in path:
            found = _child(node, part)
            if found is None:
                break
            mark, node = found
        if node is None:
            return 1, 1
        start = mark if key and mark is not None else node.start_mark
        return start.line + 1, start.column + 1


def read(text: str) -> Document:
    """Read one YAML document. Raises Fault for what is no YAML, has a key twice, or asks for Python objects."""
    if len(text) > LARGEST:
        raise Fault(f"this is no sweep: it has more than {LARGEST} characters", 1, 1)
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is None:
            raise Fault("the file is empty", 1, 1, "start from a file of the library: `sweepkit list`")
        _check(root)
        return Document(text, loader.construct_document(root), root)
    except yaml.MarkedYAMLError as error:
        raise _no_yaml(error, text) from error
    except yaml.YAMLError as error:  # a character that YAML does not allow, which has no mark
        line, column = _place(text, getattr(error, "position", 0))
        raise Fault(f"this is no YAML: {getattr(error, 'reason', error)}", line, column) from error
    except RecursionError as error:
        raise Fault("this is nested too deeply to be a sweep", 1, 1) from error
    except (ValueError, LookupError, AttributeError, TypeError) as error:
        # PyYAML's own slips over a date such as 2025-13-45, an int of thousands of digits, `!!int` with no number
        raise Fault(f"this is no YAML: {error}", 1, 1) from error


def _child(node: yaml.Node | None, part: str | int) -> tuple[yaml.Mark | None, yaml.Node] | None:
    """The node below ``node`` at a key or index, and the mark of its key."""
    if isinstance(node, yaml.MappingNode):
        for key, value in reversed(node.value):  # what `<<` merged in stands first, and what overrides it later
            if isinstance(key, yaml.ScalarNode) and key.value == str(part):
                return key.start_mark, value
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return None, node.value[part]
    return None


def _check(root: yaml.Node) -> None:
    """Refuse tags that are not plain data, and keys that come twice, which YAML readers pass over in silence."""
    nodes, seen = [root], {id(root)}
    while nodes:
        node = nodes.pop()
        if node.tag not in _TAGS:
            raise _at(node, f"the tag {node.tag} is not allowed; a sweep holds plain values only", "remove the tag")
        below = node.value if isinstance(node, yaml.SequenceNode) else []
        if isinstance(node, yaml.MappingNode):
            _check_keys(node)
            below = [part for pair in node.value for part in pair]
        for child in below:
            if id(child) not in seen:
                seen.add(id(child))
                nodes.append(child)


def _check_keys(node: yaml.MappingNode) -> None:
    first: dict[str, int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _at(key, "a key must be a single word", None)
        if key.value in first:
            message = f"the key `{key.value}` stands here a second time, after line {first[key.value]}"
            raise _at(key, message, "remove one of the two")
        first[key.value] = key.start_mark.line + 1


def _at(node: yaml.Node, message: str, fix: str | None) -> Fault:
    return Fault(message, node.start_mark.line + 1, node.start_mark.column + 1, fix)


def _no_yaml(error: yaml.MarkedYAMLError, text: str) -> Fault:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    problem = error.problem or error.context or "it cannot be read"
    return Fault(f"this is no YAML: {problem}", line, column, _likely_slip(text, line))


def _likely_slip(text: str, line: int) -> str | None:
    lines = text.splitlines()
    near = lines[max(line - 2, 0) : line]
    if any("\t" in part for part in near):
        return "indent with spaces; YAML allows no tabs"
    return "check the indentation and the brackets, quotes and colons on this line and the one before"


def _place(text: str, offset: int) -> tuple[int, int]:
    before = text[:offset]
    return before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1
