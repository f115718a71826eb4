"""The file stream under near-valid, mutated and random bodies."""

from __future__ import annotations

import gzip
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from . import values

FUZZ = settings.get_profile("fuzz-4")
LINES = st.one_of(
    st.builds(
        json.dumps,
        st.fixed_dictionaries({}, optional={"_step": values.NUMBERS, "loss": values.PLAIN, "x": values.ANYTHING}),
    ),
    st.builds(json.dumps, values.OBJECTS),
    values.JSON_TEXTS,
)
CHUNKS = st.one_of(
    st.fixed_dictionaries(
        {},
        optional={
            "offset": st.one_of(st.integers(0, 200), values.NUMBERS, values.PLAIN),
            "content": st.one_of(st.lists(LINES, max_size=6), LINES, values.ANYTHING),
        },
    ),
    values.ANYTHING,
)
NAMES = ("wandb-history.jsonl", "wandb-summary.json", "wandb-events.jsonl", "output.log", "other.txt", "../x")
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "files": st.one_of(st.dictionaries(st.sampled_from(NAMES), CHUNKS, max_size=4), values.ANYTHING),
        "uploaded": values.ANYTHING,
        "preempting": values.PLAIN,
        "complete": values.PLAIN,
        "exitcode": st.one_of(values.NUMBERS, values.PLAIN),
        "dropped": values.PLAIN,
    },
)
RUNS = st.sampled_from(["r1", "r2", "none", "%00", "..", "a%2Fb", "%F0%9F"])


@FUZZ
@given(run=RUNS, body=BODIES, packed=st.booleans())
def test_bodies_of_the_right_shape(target: Any, run: str, body: dict[str, Any], packed: bool) -> None:
    written = json.dumps(body).encode()
    _send(target, run, gzip.compress(written, 1) if packed else written, packed)


@FUZZ
@given(body=BODIES.map(json.dumps).flatmap(values.mutated), packed=st.booleans())
def test_mutated_bodies(target: Any, body: bytes, packed: bool) -> None:
    """``packed``: the bytes only claim to be gzip."""
    _send(target, "r1", body, packed)


@FUZZ
@given(whole=BODIES.map(lambda body: gzip.compress(json.dumps(body).encode(), 1)), data=st.data())
def test_mutated_gzip(target: Any, whole: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(whole)))
    _send(target, "r1", whole[:at] + data.draw(st.binary(max_size=8)) + whole[at:], True)


def _send(target: Any, run: str, body: bytes, packed: bool) -> None:
    headers = {"Content-Encoding": "gzip"} if packed else {}
    status, _ = target.send("POST", f"/files/{target.entity}/fuzz/{run}/file_stream", body, **headers)
    assert status in {200, 400, 404, 405}


@FUZZ
@given(keys=st.lists(values.SPECS, max_size=3), samples=st.sampled_from([-1, 0, 1, 10, 2**31 - 1]))
def test_what_was_streamed_can_be_read(target: Any, keys: list[str], samples: int) -> None:
    """Whatever the others left in the runs."""
    query = """query ($e: String, $s: Int, $k: [JSONString!]!) { project(name: "fuzz", entityName: $e) {
        runs { edges { node { summaryMetrics history(samples: $s) events historyKeys historyTail systemMetrics
        sampledHistory(specs: $k) logLines(first: 50) { edges { node { line timestamp level label } } } } } } } }"""
    target.graphql(query, {"e": target.entity, "s": samples, "k": keys})
