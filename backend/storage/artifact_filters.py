"""Filters and orders of artifact listings: W&B's MongoDB-style JSON, compiled to SQL with parameters.

Only the columns named here can be asked for; every value becomes a parameter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..graphql.errors import ClientError
from . import plain_json
from .filters import MOST_CONDITIONS, joined

Where = tuple[str, list[Any]]

# A field as the client may write it -> an SQL expression over the listing's tables (see artifact_listings).
COLLECTION = {
    "id": "c.id", "name": "c.name", "description": "c.description", "state": "c.state",
    "created_at": "c.created_at", "updated_at": "c.updated_at", "type": "t.name",
    "tag": "(SELECT group_concat(name, char(10)) FROM artifact_collection_tags WHERE collection_id = c.id)",
}  # fmt: skip
VERSION = {
    "id": "a.id", "state": "a.state", "digest": "a.digest", "description": "a.description", "size": "a.size",
    "created_at": "a.created_at", "updated_at": "a.updated_at", "file_count": "a.file_count",
    "version_index": "m.version_index", "version": "'v' || m.version_index", "ttl_duration_seconds": "a.ttl_seconds",
    "alias": "(SELECT group_concat(alias, char(10)) FROM artifact_aliases WHERE membership_id = m.id)",
    "tag": "(SELECT group_concat(name, char(10)) FROM artifact_tags WHERE artifact_id = a.id)",
}  # fmt: skip
_LISTS = {"alias", "tag"}
_PLURALS = {"aliases": "alias", "tags": "tag"}
_COMPARISONS = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_DEEPEST = 20
_MOST_KEYS = 10  # of an order
LONGEST_PATTERN = 200


def where(text: str | None, columns: Mapping[str, str]) -> Where:
    """An SQL condition and its parameters. Raises ClientError for a filter that is none, or for an unknown field."""
    if not text:
        return "1", []
    try:
        given = plain_json.loads(text) or {}
    except ValueError as error:
        raise ClientError(f"the filters are no JSON: {error}") from None
    sql, values = _all(given, columns, 0)
    if sql.count("?") + sql.count("NULL") > MOST_CONDITIONS:
        raise ClientError(f"the filters hold more than {MOST_CONDITIONS} conditions")
    return sql, values


def order(text: str | None, columns: Mapping[str, str], default: str) -> str:
    """An ORDER BY for ``name``, ``+name`` or ``-name``, several with commas between."""
    if not text:
        return default
    keys = [_key(part.strip(), columns) for part in text.split(",")[:_MOST_KEYS]]
    return ", ".join([*keys, default])


def _key(part: str, columns: Mapping[str, str]) -> str:
    return f"{_column(part.lstrip('+-'), columns)[0]} {'DESC' if part.startswith('-') else 'ASC'}"


def _column(name: str, columns: Mapping[str, str]) -> tuple[str, str]:
    """The SQL of a field in camelCase or snake_case, and its plain name."""
    plain = re.sub(r"(?<=[a-z])([A-Z])", r"_\1", name).lower()
    plain = _PLURALS.get(plain, plain)
    if plain in columns:
        return columns[plain], plain
    if plain.startswith("metadata.") and "digest" in columns and re.fullmatch(r"[\w. -]+", name):
        path = "".join(f'."{part}"' for part in name.split(".")[1:])
        return f"json_extract(a.metadata, '${path}')", plain
    raise ClientError(f"{name[:80]!r} cannot be filtered or ordered by; known are {', '.join(sorted(columns))}")


def _all(filters: Any, columns: Mapping[str, str], depth: int) -> Where:
    if not isinstance(filters, dict) or depth > _DEEPEST:
        raise ClientError("filters are a JSON object")
    return _joined("AND", [_one(name, value, columns, depth) for name, value in filters.items()], "1")


def _joined(word: str, parts: list[Where], empty: str) -> Where:
    if not parts:
        return empty, []
    return joined(word, [sql for sql, _ in parts]), [value for _, values in parts for value in values]


def _one(name: str, value: Any, columns: Mapping[str, str], depth: int) -> Where:
    if name in ("$and", "$or", "$nor"):
        if not isinstance(value, list):
            raise ClientError(f"{name} wants a list of filters")
        parts = [_all(item, columns, depth + 1) for item in value]
        sql, values = _joined("AND" if name == "$and" else "OR", parts, "1" if name == "$and" else "0")
        return (f"NOT ({sql})" if name == "$nor" else sql), values
    if name == "$not":
        sql, values = _all(value, columns, depth + 1)
        return f"NOT ({sql})", values
    column, plain = _column(name, columns)
    if not isinstance(value, dict):
        value = {"$eq": value}
    return _joined("AND", [_compare(column, plain, op, wanted) for op, wanted in value.items()], "1")


def _compare(column: str, plain: str, op: str, wanted: Any) -> Where:
    if op == "$not" and isinstance(wanted, dict):
        sql, values = _joined("AND", [_compare(column, plain, inner, item) for inner, item in wanted.items()], "1")
        return f"NOT coalesce({sql}, 0)", values
    if op in ("$ne", "$nin"):
        sql, values = _compare(column, plain, "$eq" if op == "$ne" else "$in", wanted)
        return f"NOT coalesce({sql}, 0)", values
    if op == "$in" and isinstance(wanted, list):
        return _joined("OR", [_equal(column, plain, item) for item in wanted], "0")
    if op == "$exists":
        return f"{column} IS {'NOT ' if wanted else ''}NULL", []
    if op == "$eq":
        return _equal(column, plain, wanted)
    if op in _COMPARISONS:
        return f"{column} {_COMPARISONS[op]} ?", [_plain(wanted)]
    if op in ("$regex", "$contains"):  # the client writes SQL's wildcard into $regex
        if len(str(wanted)) > LONGEST_PATTERN:
            raise ClientError(f"{op} takes at most {LONGEST_PATTERN} characters")
        return f"{column} LIKE ?", [f"%{str(wanted).strip('%')}%"]
    raise ClientError(f"{op[:40]!r} is no operator of filters")


def _equal(column: str, plain: str, wanted: Any) -> Where:
    if wanted is None:
        return f"{column} IS NULL", []
    wanted = _plain(wanted)
    if plain in _LISTS:
        return f"instr(char(10) || {column} || char(10), char(10) || ? || char(10)) > 0", [wanted]
    return f"{column} = ?", [wanted]


def _plain(wanted: Any) -> Any:
    """What a column can be compared with. Raises ClientError."""
    if isinstance(wanted, (list, dict)) or (isinstance(wanted, int) and abs(wanted) >= 2**63):
        raise ClientError("a filter compares with a text, a number of 64 bits, a boolean or null")
    return wanted
