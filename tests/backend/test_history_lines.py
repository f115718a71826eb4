"""Lines of a history are parsed many at a time: what comes out is what one after the other would give."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sweepkit.backend.storage import history, insert, projects, repeats, runs
from sweepkit.backend.storage.database import Database

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4) | st.just("_type"), inner),
    max_leaves=6,
)
ROWS = st.dictionaries(st.sampled_from(["a", "b", "a.b", "ü", "_step"]), VALUES, max_size=4)
STEPPED = ROWS.map(lambda row: {**row, "_step": 3} if "_step" in row else row)


def _types(value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """What types a row has, said in the plainest way."""
    for key, item in value.items():
        if isinstance(item, dict) and not isinstance(item.get("_type"), str) and prefix.count(".") < 8:
            yield from _types(item, f"{prefix}{key}.")
        elif isinstance(item, dict):
            yield prefix + key, item["_type"] if isinstance(item.get("_type"), str) else "map"
        elif item is None or isinstance(item, bool):
            yield prefix + key, "nil" if item is None else "boolean"
        else:
            yield prefix + key, {str: "string", list: "list"}.get(type(item), "number")


def _distinct_types(row: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """A name with dots of the row's own hides what is nested under the same name."""
    own = dict(_types({k: v for k, v in row.items() if not isinstance(v, dict)}))
    yield from {**dict(_types(row)), **own}.items()


@settings(max_examples=300)
@given(st.lists(STEPPED, min_size=1, max_size=12), st.integers(0, 9), st.booleans())
def test_many_lines_are_what_each_of_them_is(rows: list[dict[str, Any]], offset: int, ascii_only: bool) -> None:
    texts = [json.dumps(row, ensure_ascii=ascii_only) for row in rows]
    lines = history.parse(texts, offset)
    assert lines.texts == texts
    assert lines.steps == [row.get("_step", offset + n) for n, row in enumerate(rows)]
    assert lines.types == Counter(pair for row in rows for pair in _distinct_types(row))


@pytest.mark.parametrize(
    "pieces",
    [
        ['{"a": 1', '"b": 2}'],
        ['{"a": [1', "2]}"],
        ['{"a": 1}, {"b": 2}'],
        ['{"a": 1}', ""],
        ['{"a":"', '"}'],
        ["{}\n{}"],
    ],
    ids=range(6),
)
def test_lines_that_are_objects_only_together_are_refused(pieces: list[str]) -> None:
    with pytest.raises(history.BadLine):
        history.parse(pieces, 0)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "123456789012345678901234567890", "-0.0"])
def test_numbers_that_strict_json_does_not_have_are_numbers(number: str) -> None:
    lines = history.parse([f'{{"loss": {number}, "_step": 7}}', '{"loss": 1}'], 0)
    assert lines.types == {("loss", "number"): 2, ("_step", "number"): 1}
    assert lines.steps == [7, 1]


def test_a_lone_surrogate_in_a_line_is_kept(store: Database) -> None:
    text = '{"a": "\\ud800"}'
    store.write(lambda conn: _streamed(conn, [text]))
    assert next(history.texts(store.read(), 1)) == text


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 127, 128, 129, 300])
def test_many_rows_are_each_there_once(store: Database, count: int) -> None:
    def fill(conn: sqlite3.Connection) -> None:
        _streamed(conn, [])
        for text in ("first", "second"):  # the second time replaces
            rows = [(1, line, f"{text} {line}") for line in range(count)]
            insert.many(conn, "console", ("run_id", "line", "text"), rows, count)

    store.write(fill)
    assert [row["text"] for row in history.console(store.read(), 1)] == [f"second {n}" for n in range(count)]


def _streamed(conn: sqlite3.Connection, texts: list[str]) -> None:
    run = runs.create(conn, projects.ensure(conn, "e", "p")["id"], "r", user="e")
    if texts:
        runs.update(conn, run["id"], **history.add_history(conn, run, history.parse(texts, 0)))


def test_a_rewind_counts_anew_what_is_left(store: Database) -> None:
    def stream_and_cut(conn: sqlite3.Connection) -> dict[str, Any]:
        texts = [json.dumps({"_step": n, "x": n, **({"y": "late"} if n == 2_500 else {})}) for n in range(3_000)]
        _streamed(conn, texts)
        return history.cut(conn, 1, 2_400)

    changed = store.write(stream_and_cut)
    assert (changed["history_lines"], changed["last_step"]) == (2_401, 2_400)
    assert json.loads(changed["history_keys"]) == {"_step": {"number": 2_401}, "x": {"number": 2_401}}
    assert json.loads(changed["summary"]) == {"_step": 2_400, "x": 2_400}


def test_what_a_line_that_is_sent_again_costs_does_not_grow_with_the_run(store: Database) -> None:
    """A sync that begins anew sends all of a long run again: by its number of rows squared, it would never end."""
    texts = [json.dumps({"_step": n, "x": n}) for n in range(8_000)]
    spent = {}

    def again(conn: sqlite3.Connection) -> None:
        run = runs.find(conn, 1, "r")
        assert run is not None
        for begin in (0, 7_000):
            steps = [0]
            conn.set_progress_handler(lambda steps=steps: steps.__setitem__(0, steps[0] + 1), 100)
            kept = repeats.add_history(conn, run, history.parse(texts[begin : begin + 500], 8_000))
            conn.set_progress_handler(None, 0)
            assert kept["last_step"] == 7_999
            spent[begin] = steps[0]

    store.write(lambda conn: _streamed(conn, texts))
    store.write(again)
    assert sum(1 for _ in history.texts(store.read(), 1)) == 8_000
    assert max(spent.values()) < 500, f"more than a hundred of SQLite's steps a line: {spent}"


def test_the_last_words_of_a_killed_client_come_after_the_next_one_began(store: Database) -> None:
    """The next client numbers its lines from 8 on; under these numbers lie the killed one's when they arrive."""
    texts = [json.dumps({"_step": n, "x": n}) for n in range(300)]

    def change(conn: sqlite3.Connection) -> None:
        _streamed(conn, texts[:8])
        for offset, begin, end in ((8, 8, 290), (8, 0, 100), (108, 100, 300)):
            run = runs.find(conn, 1, "r")
            assert run is not None
            runs.update(conn, run["id"], **repeats.add_history(conn, run, history.parse(texts[begin:end], offset)))

    store.write(change)
    assert [json.loads(text)["x"] for text in history.texts(store.read(), 1)] == list(range(300))
    run = runs.find(store.read(), 1, "r")
    assert run is not None and json.loads(run["history_keys"])["x"] == {"number": 300}
