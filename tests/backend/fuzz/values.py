"""What fuzzers send: values of the right shape, of nearly the right shape, and of none."""

from __future__ import annotations

import base64
import json
from typing import Any

from hypothesis import strategies as st

KINDS = (
    "Run",
    "Project",
    "Sweep",
    "Agent",
    "Artifact",
    "ArtifactSequence",
    "ArtifactPortfolio",
    "ArtifactManifest",
    "RunFile",
)
NUMBERS = st.one_of(
    st.integers(-3, 60),
    st.sampled_from([2**31 - 1, 2**31, -(2**31), 2**53, 2**62, 2**63 - 1, 2**63, -(2**63) - 1, 2**64, 10**9, 10**30]),
    st.floats(width=64),
    st.sampled_from([0.5, 1e308, -0.0, 5.0]),
)
ODD_TEXTS = st.sampled_from(
    [
        "",
        "\x00",
        "a\x00b",
        "\ud800",
        "x\udfffy",
        "../../etc/passwd",
        "C:\\x",
        "%",
        "%" * 300,
        "_%" * 500,
        "'; DROP TABLE runs; --",
        '"',
        "\\",
        "<script>alert(1)</script>",
        "ａ／ｂ",
        "\u202e",
        "x" * 5000,
        "NaN",
        "null",
        "[" * 3000,
        '{"a":' * 3000,
        "é" * 200,
    ]
)
TEXTS = st.one_of(st.text(max_size=20), ODD_TEXTS)
PLAIN = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
ANYTHING = st.recursive(
    PLAIN, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)), max_leaves=8
)
OBJECTS = st.dictionaries(TEXTS, ANYTHING, max_size=5)
BROKEN_JSON = st.sampled_from(
    ["", "{", "nul", "[1,]", '{"a": 1e999}', '{"a": -1e999}', '{"a": NaN}', '{"a": 1, "a": 2}', "1" * 5000]
    + ["[" * 900 + "]" * 900, '{"a":' * 300 + "1" + "}" * 300, '{"\\ud800": "\\udc00"}', '{"a": "\\u0000"}', "0", "[]"]
)
JSON_TEXTS = st.one_of(st.builds(json.dumps, st.one_of(OBJECTS, ANYTHING)), BROKEN_JSON)
FIELDS = st.one_of(
    st.sampled_from(
        ["name", "display_name", "displayName", "state", "tags", "tag", "created_at", "user", "sweep", "group", "alias"]
        + ["config.lr", "config.lr.value", "summary_metrics.loss", "metadata.x", "version", "size", "digest", "type"]
        + ["config.", "summary_metrics.a\x00b", 'config."', "config.\ud800", "metadata.a b", "heartbeatAt", "method"]
    ),
    st.builds("config.{}".format, TEXTS),
    TEXTS,
)
_KNOWN_OPERATORS = ["$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$exists", "$regex", "$contains", "$not"]
_OPERATORS = st.sampled_from([*_KNOWN_OPERATORS, "$and"]) | TEXTS
PATTERNS = st.sampled_from(
    ["a.*b", "(a+)+$", "(", "[a", "a{1,99999}", "x" * 300, "(?P<a>a)", "\\1", "^r", "%r%", "a|b"]
)
_OPERANDS = st.one_of(PLAIN, PATTERNS, st.lists(PLAIN, max_size=5), OBJECTS, st.just("2024-01-01"))
CONDITIONS = st.one_of(_OPERANDS, st.dictionaries(_OPERATORS, _OPERANDS, max_size=3))
FILTERS = st.recursive(
    st.dictionaries(FIELDS, CONDITIONS, max_size=3),
    lambda inner: st.one_of(
        st.builds(
            lambda key, parts: {key: parts}, st.sampled_from(["$and", "$or", "$nor"]), st.lists(inner, max_size=4)
        ),
        st.builds(lambda part: {"$not": part}, inner),
    ),
    max_leaves=6,
)
WIDE = st.builds(
    lambda count, field, key: json.dumps({key: [{field: n} for n in range(count)]}),
    st.sampled_from([400, 600, 1100, 3000]),
    st.sampled_from(["name", "config.lr", "size"]),
    st.sampled_from(["$or", "$and"]),
) | st.builds(
    lambda count, field, key: json.dumps({field: {key: [str(n) for n in range(count)]}}),
    st.sampled_from([900, 1100, 40_000]),
    st.sampled_from(["name", "config.lr", "tags", "tag"]),
    st.sampled_from(["$in", "$nin"]),
)
DEEP = st.builds(
    lambda depth, key: f'{{"{key}":[' * depth + "{}" + "]}" * depth,
    st.sampled_from([5, 19, 25, 200, 2000]),
    st.sampled_from(["$and", "$or", "$not"]),
)
FILTER_TEXTS = st.one_of(st.builds(json.dumps, FILTERS), WIDE, DEEP, JSON_TEXTS)
ORDERS = st.one_of(
    st.builds(
        lambda terms: ",".join(terms), st.lists(st.builds("{}{}".format, st.sampled_from("+- "), FIELDS), max_size=12)
    ),
    TEXTS,
    st.just("+created_at," * 3000),
)
SPECS = st.one_of(
    st.builds(
        json.dumps,
        st.fixed_dictionaries(
            {},
            optional={
                "keys": st.one_of(
                    st.lists(st.sampled_from(["loss", "nested.x", "_step", "\x00"]), max_size=3), ANYTHING
                ),
                "samples": st.one_of(NUMBERS, ANYTHING),
                "minStep": st.one_of(NUMBERS, ANYTHING),
                "maxStep": st.one_of(NUMBERS, ANYTHING),
            },
        ),
    ),
    JSON_TEXTS,
)


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode("utf-8", "surrogatepass")).decode()


_ROWS = st.one_of(
    st.integers(-1, 5), st.sampled_from([2**63, 10**30, -(2**63) - 1]), st.sampled_from(["", "x", "１", "1_0"])
)
IDS = st.one_of(
    st.builds(lambda kind, row: _encoded(f"{kind}:v1:{row}"), st.sampled_from(KINDS), _ROWS),
    st.builds(lambda row, name: _encoded(f"RunFile:{row}:{name}"), _ROWS, TEXTS),
    TEXTS,
)


def ids_of(kind: str) -> st.SearchStrategy[str]:
    """Ids of things that are likely to be there."""
    return st.builds(lambda row: _encoded(f"{kind}:v1:{row}"), st.integers(1, 8))


CURSORS = st.one_of(st.builds(lambda row: _encoded(f"after:{row}"), _ROWS), TEXTS)
MANIFESTS = st.one_of(
    st.builds(
        lambda contents, more: json.dumps({"version": 1, "contents": contents, **more}),
        st.dictionaries(
            TEXTS,
            st.one_of(
                ANYTHING,
                st.fixed_dictionaries(
                    {"digest": st.one_of(st.just("1B2M2Y8AsgTpgAmY7PhCfg=="), ANYTHING)},
                    optional={"size": PLAIN, "ref": PLAIN, "birthArtifactID": st.one_of(IDS, PLAIN), "extra": ANYTHING},
                ),
            ),
            max_size=4,
        ),
        OBJECTS,
    ),
    JSON_TEXTS,
)


def mutated(text: str) -> st.SearchStrategy[bytes]:
    """``text`` as bytes with a few of them cut, doubled or replaced."""
    whole = text.encode()

    def change(cuts: list[tuple[int, bytes]]) -> bytes:
        body = whole
        for where, piece in cuts:
            at = where % (len(body) + 1)
            body = body[:at] + piece + body[at + len(piece) // 2 :]
        return body

    pieces = st.one_of(st.binary(max_size=4), st.sampled_from([b'"', b"{", b"]", b",", b"\\u0000", b"\xff", b"1e999"]))
    return st.lists(st.tuples(st.integers(0, 100_000), pieces), max_size=4).map(change)


def json_bytes(value: Any) -> bytes:
    return json.dumps(value).encode()
