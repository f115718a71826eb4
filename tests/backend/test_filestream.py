"""The file stream: idempotent by offset, durable when answered, and 400 for whatever is no stream."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sweepkit.backend import filestream
from sweepkit.backend.storage import history, projects, runs, sampling
from sweepkit.backend.storage.database import Database

Make = Callable[..., Any]
HISTORY, SUMMARY, CONSOLE, EVENTS = filestream.HISTORY, filestream.SUMMARY, filestream.CONSOLE, filestream.EVENTS


def _lines(first: int, count: int, **more: Any) -> dict[str, Any]:
    return {"offset": first, "content": [json.dumps({"_step": first + n, **more}) for n in range(count)]}


@pytest.fixture
def run(store: Database) -> Iterator[Any]:
    """A run in a store, and ``run(body)`` that streams to it."""
    store.write(lambda conn: runs.create(conn, projects.ensure(conn, "e", "p")["id"], "r", user="e", state="running"))

    def send(**body: Any) -> Any:
        update = filestream.parse(json.dumps(body).encode())
        assert store.write(lambda conn: filestream.apply(conn, "e", "p", "r", update)) is not None
        return runs.by_path(store.read(), "e", "p", "r")

    yield send


def test_a_chunk_sent_again_changes_nothing(store: Database, run: Any) -> None:
    for _ in range(2):
        run(files={HISTORY: _lines(0, 5, loss=1)})
    row = run(files={HISTORY: _lines(3, 4, loss=1)})
    assert [json.loads(text)["_step"] for text in history.texts(store.read(), row["id"])] == list(range(7))
    assert (row["history_lines"], row["last_step"]) == (7, 6)
    assert json.loads(row["history_keys"])["loss"] == {"number": 7}


def test_a_line_sent_again_replaces_itself(store: Database, run: Any) -> None:
    run(files={CONSOLE: {"offset": 0, "content": ["10%", "done"]}})
    row = run(files={CONSOLE: {"offset": 0, "content": ["100%"]}})
    assert [line["text"] for line in history.console(store.read(), row["id"])] == ["100%", "done"]


def test_nan_and_infinities_stay_in_the_history_and_are_texts_in_the_summary(store: Database, run: Any) -> None:
    line = '{"_step": 0, "a": NaN, "b": -Infinity, "c": 1}'
    row = run(files={HISTORY: {"offset": 0, "content": [line]}, SUMMARY: {"offset": 0, "content": [line]}})
    assert next(history.texts(store.read(), row["id"])) == line
    assert json.loads(row["summary"]) == {"_step": 0, "a": "NaN", "b": "-Infinity", "c": 1}
    assert sampling.metric(store.read(), row["id"], "a") == []
    assert sampling.metric(store.read(), row["id"], "c") == [(0, 1.0)]


def test_nested_and_dotted_keys_are_found(store: Database, run: Any) -> None:
    lines = ['{"_step": 0, "a": {"b": 1}}', '{"_step": 1, "a.b": 2}', '{"_step": 2, "a": 5, "\\u00fc": 3}']
    row = run(files={HISTORY: {"offset": 0, "content": lines}})
    assert sampling.metric(store.read(), row["id"], "a.b") == [(0, 1.0), (1, 2.0)]
    assert sampling.metric(store.read(), row["id"], "ü") == [(2, 3.0)]


@pytest.mark.parametrize(
    ("before", "code", "state"),
    [
        ({}, 0, "finished"),
        ({}, 1, "failed"),
        ({}, 255, "failed"),
        ({}, -9, "failed"),
        ({"preempting": True}, 1, "preempted"),
    ],
)
def test_how_a_run_ends(run: Any, before: dict[str, Any], code: int, state: str) -> None:
    run(**before)
    row = run(complete=True, exitcode=code)
    assert (row["state"], row["exit_code"]) == (state, code)


def test_a_run_that_was_asked_to_stop_was_killed(store: Database, run: Any) -> None:
    row = run()
    store.write(lambda conn: runs.update(conn, row["id"], stop_requested=1))
    update = filestream.parse(b"{}")
    assert store.write(lambda conn: filestream.apply(conn, "e", "p", "r", update)) is True
    assert run(complete=True, exitcode=255)["state"] == "killed"


def test_a_late_heartbeat_does_not_revive_an_ended_run(run: Any) -> None:
    run(complete=True, exitcode=0)
    assert run()["state"] == "finished"


def test_a_silent_run_crashed_until_it_reports_again(store: Database, run: Any) -> None:
    row = run()
    future = "9999-01-01T00:00:00.000000Z"
    assert store.write(lambda conn: runs.mark_silent(conn, "2000-01-01T00:00:00.000000Z")) == 0
    assert store.write(lambda conn: runs.mark_silent(conn, future)) == 1
    crashed = runs.by_id(store.read(), row["id"])
    assert crashed is not None and crashed["state"] == "crashed"
    assert run(files={HISTORY: _lines(0, 1)})["state"] == "running"
    run(preempting=True)
    store.write(lambda conn: runs.mark_silent(conn, future))
    assert runs.by_path(store.read(), "e", "p", "r")["state"] == "preempted"  # type: ignore[index]


BAD: list[Any] = [
    b"nonsense",
    b"\xff\xfe",
    b"[" * 200_000,
    [],
    {"files": []},
    {"files": {HISTORY: []}},
    {"files": {HISTORY: {"offset": -1, "content": []}}},
    {"files": {HISTORY: {"offset": "0", "content": []}}},
    {"files": {HISTORY: {"offset": 1e3, "content": []}}},
    {"files": {HISTORY: {"offset": 0, "content": [1]}}},
    {"files": {HISTORY: {"offset": 0, "content": ["no json"]}}},
    {"files": {HISTORY: {"offset": 0, "content": ["[1]"]}}},
    {"files": {HISTORY: {"offset": 0, "content": ['{"_step": "x"}']}}},
    {"files": {HISTORY: {"offset": 0, "content": ['{"_step": 1e300}']}}},
    {"files": {EVENTS: {"offset": 0, "content": ["3"]}}},
    {"files": {SUMMARY: {"offset": 0, "content": ["null"]}}},
    {"complete": True, "exitcode": "0"},
    {"complete": True, "exitcode": 10**30},
]


@pytest.mark.parametrize("body", BAD, ids=range(len(BAD)))
def test_what_is_no_stream_gets_400(upsert: Make, stream: Make, body: Any) -> None:
    upsert(modelName="streams", name="bad")
    answer = stream("streams", "bad", body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]


def test_a_run_that_is_not_there_gets_404(stream: Make) -> None:
    assert stream("streams", "nobody", {}).status_code == 404


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
NAMES = st.sampled_from([HISTORY, SUMMARY, CONSOLE, EVENTS, "other"])
CHUNKS = st.fixed_dictionaries(
    {}, optional={"offset": JSONS, "content": JSONS | st.lists(st.text(max_size=12) | JSONS.map(json.dumps))}
)
BODIES = st.fixed_dictionaries(
    {}, optional={"files": st.dictionaries(NAMES, CHUNKS | JSONS) | JSONS, "complete": JSONS, "exitcode": JSONS}
)


@settings(max_examples=300, deadline=None)
@given(BODIES | JSONS)
def test_any_body_is_kept_or_refused(body: Any) -> None:
    try:
        update = filestream.parse(json.dumps(body).encode())
    except (filestream.BadStream, history.BadLine) as error:
        assert str(error)
        return
    store = _shared_store()

    def change(conn: Any) -> None:
        if runs.by_path(conn, "e", "p", "r") is None:
            runs.create(conn, projects.ensure(conn, "e", "p")["id"], "r", user="e")
        filestream.apply(conn, "e", "p", "r", update)

    try:
        store.write(change)
    except history.BadLine as error:
        assert str(error)


_STORES: list[Database] = []


def _shared_store() -> Database:
    import tempfile

    if not _STORES:
        _STORES.append(Database(Path(tempfile.mkdtemp()) / "s.sqlite3"))
    return _STORES[0]


def test_gzip_and_the_answer_that_the_client_reads(upsert: Make, stream: Make) -> None:
    import gzip

    upsert(modelName="streams", name="packed")
    body = gzip.compress(json.dumps({"files": {HISTORY: _lines(0, 3)}}).encode())
    answer = stream("streams", "packed", body, **{"Content-Encoding": "gzip"})
    assert answer.status_code == 200
    assert answer.json() == {"limits": {}, "stopped": False}
    assert upsert(modelName="streams", name="packed")["historyLineCount"] == 3


def test_what_the_server_acknowledged_survives_its_sigkill(launch: Make) -> None:
    server = launch()
    server.ask('mutation { upsertBucket(input: {modelName: "p", name: "r"}) { bucket { id } } }')
    for n in range(20):
        body = {"files": {HISTORY: _lines(n, 1)}}
        assert server.post(f"/files/{server.entity}/p/r/file_stream", body).status_code == 200
    server.process.kill()
    server.process.wait()
    again = launch()
    assert again.key == server.key
    run = again.ask('{ project(name: "p") { run(name: "r") { historyLineCount history(samples: 100) } } }')["project"][
        "run"
    ]
    assert (len(run["history"]), run["historyLineCount"]) == (20, 20)


def test_a_silent_run_is_marked_by_the_server_itself(launch: Make) -> None:
    server = launch(SWEEPKIT_CRASH_AFTER="0.3")
    server.ask('mutation { upsertBucket(input: {modelName: "p", name: "r"}) { bucket { id } } }')
    deadline, state = time.monotonic() + 15, "running"
    while state == "running" and time.monotonic() < deadline:
        time.sleep(0.1)
        state = server.ask('{ project(name: "p") { run(name: "r") { state } } }')["project"]["run"]["state"]
    assert state == "crashed"
