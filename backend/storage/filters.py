"""W&B's filters and orders of runs: MongoDB's language, parsed into a tree, turned into SQL with parameters.

Nothing of a filter becomes part of the SQL text: fields are looked up in a table of columns, and keys of
configurations and summaries are parameters (JSON paths) like every value.

Values have types, as in MongoDB: a number, a text and a boolean are never equal, and none is less than another. A key
that is missing equals null. A list or a dictionary as a whole equals nothing that can be asked for.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .. import clock
from . import plain_json

MOST_DEPTH = 20
MOST_CONDITIONS = 500
LONGEST_PATTERN = 200

_TEXTS = {
    "name": "runs.name",
    "display_name": "runs.display_name",
    "displayName": "runs.display_name",
    "state": "runs.state",
    "group": "runs.group_name",
    "groupName": "runs.group_name",
    "job_type": "runs.job_type",
    "jobType": "runs.job_type",
    "user": "runs.user",
    "username": "runs.user",
    "host": "runs.host",
    "commit": "runs.commit_hash",
    "description": "runs.description",
    "notes": "runs.notes",
}
_SWEEP = "(SELECT sweeps.name FROM sweeps WHERE sweeps.id = runs.sweep_id)"
DURATION = "round((julianday(runs.heartbeat_at) - julianday(runs.created_at)) * 86400.0, 3)"  # seconds
_TIMES = {
    "created_at": "runs.created_at",
    "createdAt": "runs.created_at",
    "updated_at": "runs.updated_at",
    "updatedAt": "runs.updated_at",
    "heartbeat_at": "runs.heartbeat_at",
    "heartbeatAt": "runs.heartbeat_at",
}
_JSON = {
    "config": ("runs.config", True),
    "summary_metrics": ("runs.summary", False),
    "summaryMetrics": ("runs.summary", False),
    "summary": ("runs.summary", False),
}
_NUMBERS, _BOOLEANS, _TEXT = "('integer', 'real')", "('true', 'false')", "('text')"  # SQLite's types in JSON
_COMPARISONS = {"$eq": "=", "$ne": "!=", "$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}


class FilterError(ValueError):
    """A filter or an order that cannot be understood; the message says what and what is allowed."""


@dataclass(frozen=True)
class Sql:
    """A piece of SQL and its parameters, in order."""

    text: str
    values: tuple[Any, ...] = ()


TRUE, FALSE = Sql("1"), Sql("0")


@dataclass(frozen=True)
class Field:
    """What a condition is about. ``kind`` is text, time, number, sweep, tags or json; ``type`` is a json value's type,
    NULL where the key is missing."""

    kind: str
    sql: Sql
    type: Sql = Sql("NULL")


@dataclass(frozen=True)
class Term:
    """One value to sort by."""

    sql: Sql
    descending: bool


@dataclass(frozen=True)
class Condition:
    """A comparison of one field."""

    field: Field
    operator: str
    operand: Any


@dataclass(frozen=True)
class Group:
    """Conditions joined: ``all``, ``any``, or ``none`` of them."""

    joined: str
    parts: tuple[Group | Condition, ...]


def condition(text: str | None) -> tuple[str, list[Any]]:
    """The SQL condition of a filter's JSON text (none or ``{}``: every run) with its parameters. Raises FilterError."""
    try:
        given = plain_json.loads(text) if text else {}
    except ValueError:
        raise FilterError("they are not JSON") from None
    sql = _sql(parse({} if given is None else given))
    if len(sql.values) > 20_000:
        raise FilterError("they hold too many values")
    return sql.text, list(sql.values)


def parse(given: Any) -> Group:
    """A filter as a tree. Raises FilterError."""
    budget = [MOST_CONDITIONS]
    return _parse(given, 0, budget)


def order(text: str | None) -> list[Term]:
    """W&B's order, for example ``-summary_metrics.val_acc``, as what to sort by. Raises FilterError.

    Runs without the value come last, ties in the order of creation.
    """
    return [_order_term(term.strip()) for term in (text or "+created_at").split(",")[:10]]


# --- parsing


def _parse(given: Any, depth: int, budget: list[int]) -> Group:
    if not isinstance(given, dict):
        raise FilterError("a JSON object is expected")
    if depth > MOST_DEPTH:
        raise FilterError("they are nested too deeply")
    return Group("all", tuple(_entry(key, value, depth, budget) for key, value in given.items()))


def _entry(key: str, value: Any, depth: int, budget: list[int]) -> Group | Condition:
    if key in {"$and", "$or", "$nor"}:
        if not isinstance(value, list) or (not value and key != "$and"):
            raise FilterError(f"{key} takes a list of filters")
        joined = {"$and": "all", "$or": "any", "$nor": "none"}[key]
        return Group(joined, tuple(_parse(part, depth + 1, budget) for part in value))
    if key == "$not":
        return Group("none", (_parse(value, depth + 1, budget),))
    if key.startswith("$"):
        raise FilterError(f"{key[:40]!r} is not known here; $and, $or, $nor and $not join filters")
    field = field_of(key)
    if isinstance(value, dict) and value and all(name.startswith("$") for name in value):
        return Group("all", tuple(_comparison(field, name, item, depth, budget) for name, item in value.items()))
    return _comparison(field, "$eq", value, depth, budget)


def _comparison(field: Field, operator: str, operand: Any, depth: int, budget: list[int]) -> Group | Condition:
    budget[0] -= 1
    if budget[0] < 0:
        raise FilterError(f"they hold more than {MOST_CONDITIONS} conditions")
    if operator == "$not":
        if depth > MOST_DEPTH or not isinstance(operand, dict):
            raise FilterError("$not takes a comparison")
        inner = tuple(_comparison(field, name, item, depth + 1, budget) for name, item in operand.items())
        return Group("none", (Group("all", inner),))
    _check_operand(operator, operand)
    return Condition(field, operator, operand)


def _check_operand(operator: str, operand: Any) -> None:
    if operator in {"$in", "$nin"}:
        if not isinstance(operand, list) or not all(_is_plain(item) for item in operand):
            raise FilterError(f"{operator} takes a list of texts, numbers, booleans or null")
    elif operator == "$exists":
        if not isinstance(operand, (bool, int)):
            raise FilterError("$exists takes true or false")
    elif operator == "$regex":
        check_pattern(operand)
    elif operator not in _COMPARISONS:
        known = ", ".join([*_COMPARISONS, "$in", "$nin", "$exists", "$regex", "$not"])
        raise FilterError(f"{operator[:40]!r} is not known here; there are {known}")
    elif not _is_plain(operand):
        raise FilterError(f"{operator} takes a text, a number, a boolean or null")


def _is_plain(value: Any) -> bool:
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) < 2**63
    if isinstance(value, str):
        return "\x00" not in value and _is_unicode(value)
    return value is None or isinstance(value, (bool, float))


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def field_of(name: str) -> Field:
    """A field by the client's name for it. Raises FilterError."""
    if name in _TEXTS:
        return Field("text", Sql(_TEXTS[name]))
    if name in _TIMES:
        return Field("time", Sql(_TIMES[name]))
    if name in {"tags", "tag"}:
        return Field("tags", Sql("runs.tags"))
    if name in {"sweep", "sweepName"}:
        return Field("sweep", Sql(_SWEEP))
    if name == "duration":
        return Field("number", Sql(DURATION))
    head, _, key = name.partition(".")
    if head in _JSON and key:
        return _json(head, key)
    known = ", ".join([*_TEXTS, *_TIMES, "sweep", "duration", "tags", "config.KEY", "summary_metrics.KEY"])
    raise FilterError(f"{name[:80]!r} is not a field of runs; there are {known}")


def _json(head: str, key: str) -> Field:
    """A key's value. A key may hold dots itself, or name a place in nested dictionaries: the first that is there."""
    column, wrapped = _JSON[head]
    paths = tuple(json_paths(key, wrapped))
    if len(paths) == 1:
        return Field("json", Sql(f"json_extract({column}, ?)", paths), Sql(f"json_type({column}, ?)", paths))
    whole, nested = paths
    extract, kind = f"json_extract({column}, ?)", f"json_type({column}, ?)"
    found = Sql(f"CASE WHEN {kind} IS NULL THEN {extract} ELSE {extract} END", (whole, nested, whole))
    return Field("json", found, Sql(f"coalesce({kind}, {kind})", paths))


def json_paths(key: str, wrapped: bool) -> list[str]:
    """SQLite's JSON paths of a key; ``wrapped`` ones have their value under ``value``. Raises FilterError."""
    if '"' in key or "\\" in key or not key.isprintable() or len(key) > 500 or not _is_unicode(key):
        raise FilterError(f"{key[:80]!r} cannot be asked for: no quotes, backslashes and control characters")
    parts = key.split(".")
    value = []
    if wrapped:
        value = ["value"]
        if len(parts) > 1 and "value" in (parts[1], parts[-1]):  # config.lr.value, config.optimizer.value.lr
            parts.remove("value")
            key = ".".join(parts)
    whole = [key, *value]
    nested = [parts[0], *value, *parts[1:]]
    return list(dict.fromkeys("$" + "".join(f'."{part}"' for part in path) for path in (whole, nested)))


def check_pattern(pattern: Any) -> None:
    """Refuse a regular expression that is none, or that some text could keep busy for minutes. Raises FilterError."""
    if not isinstance(pattern, str) or len(pattern) > LONGEST_PATTERN:
        raise FilterError(f"$regex takes a text of at most {LONGEST_PATTERN} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise FilterError(f"$regex: {error}") from None
    repeats = re.sub(r"\\.|\[[^]]*\]", "x", pattern)
    if len(re.findall(r"[*+}]", repeats)) > 3 or re.search(r"\)\s*[*+{]|\(\?[P=]|\\[1-9]", pattern):
        raise FilterError("$regex: repeated groups, references and more than three repetitions are not allowed")


# --- SQL


def _sql(node: Group | Condition) -> Sql:
    if isinstance(node, Condition):
        return _compare(node)
    parts = sorted((_sql(part) for part in node.parts), key=lambda part: "json" in part.text)  # columns first: cheap
    if not parts:
        return TRUE
    text = joined("AND" if node.joined == "all" else "OR", [part.text for part in parts])
    values = tuple(value for part in parts for value in part.values)
    return _not(Sql(f"({text})", values)) if node.joined == "none" else Sql(text, values)


def joined(word: str, terms: Sequence[str]) -> str:
    """Terms with AND or OR between them, as a tree of little depth: SQLite refuses expressions 1,000 deep."""
    if len(terms) == 1:
        return f"({terms[0]})"
    half = len(terms) // 2
    return f"({joined(word, terms[:half])} {word} {joined(word, terms[half:])})"


def _compare(node: Condition) -> Sql:
    field, operator, operand = node.field, node.operator, node.operand
    if field.kind == "tags":
        return _tags(node)
    if operator in {"$ne", "$nin"}:
        return _not(_compare(Condition(field, {"$ne": "$eq", "$nin": "$in"}[operator], operand)))
    if operator == "$eq":
        return _member(field, [operand])
    if operator == "$in":
        return _member(field, operand)
    if operator == "$exists":
        there = field.type if field.kind == "json" else field.sql
        return Sql(f"{there.text} IS {'NOT ' if operand else ''}NULL", there.values)
    if operator == "$regex":
        return _typed(field, operand, "REGEXP ?", (operand,))
    if operand is None:  # nothing is less or greater than null, and it equals itself
        return _member(field, [None]) if operator in {"$gte", "$lte"} else FALSE
    return _typed(field, operand, f"{_COMPARISONS[operator]} ?", (_value(field, operand),))


def _not(sql: Sql) -> Sql:
    """The opposite. A comparison with a missing value is unknown to SQL, and not true to MongoDB."""
    return Sql(f"NOT coalesce({sql.text}, 0)", sql.values)


def _member(field: Field, operands: list[Any]) -> Sql:
    """Whether the value is one of several, each compared with its like."""
    tests = [Sql(f"{field.sql.text} IS NULL", field.sql.values)] if None in operands else []
    for kind in (str, bool, (int, float)):
        alike = [item for item in operands if isinstance(item, kind) and (kind is bool or not isinstance(item, bool))]
        if alike:
            marks = ", ".join("?" * len(alike))
            tests.append(_typed(field, alike[0], f"IN ({marks})", tuple(_value(field, item) for item in alike)))
    if not tests:
        return FALSE
    return Sql(" OR ".join(f"({test.text})" for test in tests), tuple(value for test in tests for value in test.values))


def _typed(field: Field, operand: Any, test: str, values: tuple[Any, ...]) -> Sql:
    """A test of the field's value that holds only for values of the operand's type."""
    if field.kind == "json":
        if isinstance(operand, bool):
            kinds = _BOOLEANS
        else:
            kinds = _TEXT if isinstance(operand, str) else _NUMBERS
        alike = Sql(f"{field.type.text} IN {kinds}", field.type.values)
        holds = Sql(f"{field.sql.text} {test}", (*field.sql.values, *values))
        first, then = (alike, holds) if test.startswith("REGEXP") else (holds, alike)  # the cheaper test first
        return Sql(f"{first.text} AND {then.text}", (*first.values, *then.values))
    is_alike = isinstance(operand, (int, float)) if field.kind == "number" else isinstance(operand, str)
    if not is_alike or isinstance(operand, bool):
        return FALSE
    if field.kind == "sweep" and test.startswith("IN "):  # by the index of a sweep's runs
        return Sql(f"runs.sweep_id IN (SELECT sweeps.id FROM sweeps WHERE sweeps.name {test})", values)
    return Sql(f"{field.sql.text} {test}", (*field.sql.values, *values))


def _tags(node: Condition) -> Sql:
    """A run has several tags: a condition holds when one of them fits; the opposites when none does."""
    if node.operator == "$exists":
        return Sql(f"json_array_length(runs.tags) {'>' if node.operand else '='} 0")
    opposite = {"$ne": "$eq", "$nin": "$in"}.get(node.operator)
    inner = _compare(Condition(Field("text", Sql("tag.value")), opposite or node.operator, node.operand))
    text = f"EXISTS (SELECT 1 FROM json_each(runs.tags) AS tag WHERE {inner.text})"
    return Sql(f"NOT {text}" if opposite else text, inner.values)


def _value(field: Field, operand: Any) -> Any:
    if field.kind == "time" and isinstance(operand, str):
        try:
            return clock.text(clock.parse(operand))
        except (ValueError, OverflowError):
            raise FilterError(f"{operand[:40]!r} is not a time in ISO 8601") from None
    return operand


def _order_term(term: str) -> Term:
    field = field_of(term[1:] if term[:1] in {"+", "-"} else term)
    return Term(field.sql, term.startswith("-"))
