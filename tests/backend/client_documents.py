"""Every GraphQL document that a wandb client can send, read out of an installed wandb package.

Its Python modules hold documents as texts, some with holes that are filled at run time; wandb-core, a binary, holds
those of its own. Nothing of the client is run or imported.
"""

from __future__ import annotations

import ast
import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from graphql import GraphQLSyntaxError, Lexer, Source, TokenKind

_OPERATION = re.compile(r"\A(?:\s|#[^\n]*\n)*(?:query|mutation|subscription)\s*(\w*)\s*[({]")
_IN_BINARY = re.compile(rb"\n(?:query|mutation|subscription) \w+ ?[({]")
_LONGEST = 20_000  # bytes of a document
_ELSEWHERE = {"vendor", "proto"}
Fillings = dict[str, list[list[str]]]


@dataclass(frozen=True)
class Document:
    """One document: its operation's name, its text, and the file and line where it is."""

    name: str
    text: str
    where: str


class UnknownHole(ValueError):
    """A document is put together at run time in a way that ``fillings`` does not tell."""


def documents(package: Path, fillings: Fillings, markers: dict[str, str]) -> list[Document]:
    """All documents of the wandb package in a folder.

    ``fillings`` has, by the operation's name, what the holes of a text may be filled with, one list a variant;
    ``markers`` what stands for words that the client replaces. Raises UnknownHole for a hole without fillings.
    """
    found = [document for file in _modules(package) for document in _in_module(package, file, fillings)]
    for marker, text in markers.items():
        found = [replace(document, text=document.text.replace(marker, text)) for document in found]
    return found + list(_in_binary(package / "bin" / "wandb-core"))


def _modules(package: Path) -> list[Path]:
    return sorted(file for file in package.rglob("*.py") if not _ELSEWHERE & set(file.relative_to(package).parts))


def _in_module(package: Path, file: Path, fillings: Fillings) -> Iterator[Document]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    constants = _constants(tree)
    for node, pieces in _texts(tree):
        match = _OPERATION.match("0".join(pieces))
        if match is None:
            continue
        where = f"{file.relative_to(package)}:{node.lineno}"
        for holes in _filled(node, match[1], pieces, constants, fillings, where):
            text = "".join(piece + hole for piece, hole in zip(pieces, [*holes, ""], strict=True))
            yield Document(match[1], text, where)


def _constants(tree: ast.Module) -> dict[str, str]:
    """The module's own texts by their names."""
    return {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _texts(tree: ast.Module) -> Iterator[tuple[ast.expr, list[str]]]:
    """Each text of the module, cut at its holes: plain ones, those for ``format``, f-strings."""
    inside: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            inside |= {id(part) for part in node.values}
            yield node, _around_holes(node)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
            template = node.func.value
            if isinstance(template, ast.Constant) and isinstance(template.value, str):
                inside.add(id(template))
                yield node, [part.replace("{{", "{").replace("}}", "}") for part in template.value.split("{}")]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node, [node.value]


def _around_holes(node: ast.JoinedStr) -> list[str]:
    pieces = [""]
    for part in node.values:
        if isinstance(part, ast.Constant):
            pieces[-1] += str(part.value)
        else:
            pieces.append("")
    return pieces


def _filled(
    node: ast.expr,
    name: str,
    pieces: list[str],
    constants: dict[str, str],
    fillings: Fillings,
    where: str,
) -> list[list[str]]:
    """What the holes hold: nothing to fill, the module's own texts, or what ``fillings`` tells."""
    if len(pieces) == 1:
        return [[]]
    names = [_name(hole) for hole in _holes(node)]
    if all(hole in constants for hole in names):
        return [[constants[hole] for hole in names]]
    if name not in fillings or any(len(holes) != len(pieces) - 1 for holes in fillings[name]):
        raise UnknownHole(f"{where}: {name} is put together from {names}: tell the fillings")
    return fillings[name]


def _holes(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.JoinedStr):
        return [part.value for part in node.values if isinstance(part, ast.FormattedValue)]
    return list(node.args) if isinstance(node, ast.Call) else []


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else ast.unparse(node)


def _in_binary(binary: Path) -> Iterator[Document]:
    """Go keeps its texts end to end, with no mark where one ends."""
    data = binary.read_bytes()
    for match in _IN_BINARY.finditer(data):
        text = _first_definitions(data[match.start() : match.start() + _LONGEST].decode("latin-1"))
        named = _OPERATION.match(text)
        assert named is not None
        yield Document(named[1], text, f"wandb-core:{match.start()}")


def _first_definitions(text: str) -> str:
    """The operation that the text begins with, and the fragments that follow it."""
    lexer, end = Lexer(Source(text)), 0
    with contextlib.suppress(GraphQLSyntaxError):  # other texts of the binary follow
        while not end or lexer.lookahead().value == "fragment":
            end = _definition(lexer)
    return text[:end]


def _definition(lexer: Lexer) -> int:
    """Read one definition, and tell where it ends. Raises GraphQLSyntaxError where there is none."""
    braces = parentheses = 0
    while (token := lexer.advance()).kind is not TokenKind.EOF:
        parentheses += {TokenKind.PAREN_L: 1, TokenKind.PAREN_R: -1}.get(token.kind, 0)
        braces += {TokenKind.BRACE_L: 1, TokenKind.BRACE_R: -1}.get(token.kind, 0)
        if token.kind is TokenKind.BRACE_R and not braces and not parentheses:
            return token.end
    raise GraphQLSyntaxError(lexer.source, token.start, "a definition without an end")
