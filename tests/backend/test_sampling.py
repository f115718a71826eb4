"""Rows picked by their place are those that reading the whole history and thinning it would give."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sweepkit.backend import curves
from sweepkit.backend.storage import history, projects, runs, sampling
from sweepkit.backend.storage.database import Database
from sweepkit.backend.storage.sampling import Span

KEYS = ["loss", "val", "a", "a.b", "a.c", "ü", 'q"', "*[?", "no"]
NUMBERS = st.none() | st.integers(0, 3) | st.just(float("nan")) | st.just("val")
VALUES = NUMBERS | st.dictionaries(st.sampled_from(["b", "c", "_type"]), NUMBERS, max_size=2)
MOSTLY = st.fixed_dictionaries({"loss": st.integers(0, 9)}, optional=dict.fromkeys(KEYS[1:], VALUES))
ROWS = st.lists(MOSTLY | st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=3), min_size=1, max_size=40)


@given(st.integers(0, 300), st.integers(-5, 400))
def test_places_are_evenly_spread_with_both_ends(length: int, most: int) -> None:
    places = list(sampling.places(length, most))
    assert len(places) == max(0, min(most, length))
    assert places == sorted(set(places))
    if most >= 2 and length:
        assert (places[0], places[-1]) == (0, length - 1)
        gaps = [after - before for before, after in zip(places, places[1:], strict=False)]
        assert max(gaps, default=0) - min(gaps, default=0) <= 1


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Database:
    return Database(tmp_path_factory.mktemp("sampling") / "store.sqlite3")


def _fill(store: Database, chunks: Sequence[tuple[int, list[dict[str, Any]]]], ascii_only: bool = True) -> int:
    """A new run that streamed these chunks, each at its offset."""

    def change(conn: sqlite3.Connection) -> int:
        project = projects.ensure(conn, "e", "p")["id"]
        run = runs.create(conn, project, runs.new_name(conn, project), user="e")
        for offset, rows in chunks:
            lines = history.parse([json.dumps(row, ensure_ascii=ascii_only) for row in rows], offset)
            run = runs.update(conn, run["id"], **history.add_history(conn, run, lines))
        return int(run["id"])

    return store.write(change)


def _all(chunks: Sequence[tuple[int, list[dict[str, Any]]]]) -> list[tuple[int, dict[str, Any]]]:
    """(step, row) of what is there in the end, in order."""
    lines: dict[int, dict[str, Any]] = {}
    for offset, rows in chunks:
        lines |= {offset + n: row for n, row in enumerate(rows)}
    return [(step, row) for step, _, row in sorted((row.get("_step", n), n, row) for n, row in lines.items())]


def _thinned(items: list[Any], most: int) -> list[Any]:
    if len(items) <= most or most <= 0:
        return items[: max(0, most)]
    return [items[-1]] if most == 1 else [items[round(n * ((len(items) - 1) / (most - 1)))] for n in range(most)]


CHUNKS = st.lists(st.tuples(st.integers(0, 60), ROWS), min_size=1, max_size=3)


@settings(max_examples=400, deadline=None)
@given(
    CHUNKS,
    st.booleans(),
    st.lists(st.sampled_from(KEYS), max_size=3),
    st.integers(0, 12),
    st.tuples(st.none() | st.integers(-3, 60), st.none() | st.integers(-3, 60)),
    st.data(),
)
def test_samples_are_those_of_the_whole_history(
    shared: Database, chunks: Any, ascii_only: bool, keys: list[str], most: int, steps: Any, data: Any
) -> None:
    shuffled = data.draw(st.booleans())
    if shuffled:  # steps that do not rise with the lines, some of them more than once
        for _, rows in chunks:
            for row in rows:
                row["_step"] = data.draw(st.integers(0, 50))
    else:  # as the client sends it: one chunk after the other
        ends = [sum(len(rows) for _, rows in chunks[:n]) for n in range(len(chunks))]
        chunks = [(end, rows) for end, (_, rows) in zip(ends, chunks, strict=True)]
    run_id = _fill(shared, chunks, ascii_only)
    low, high = steps
    found = [row for step, row in _all(chunks) if (low is None or step >= low) and (high is None or step <= high)]
    spec = curves.Spec(tuple(keys), most, low, high)
    if keys:
        picked = [{key: history.value_at(row, key) for key in keys} for row in found]
        found = [row for row in picked if all(value is not None for value in row.values())]
    expected = [curves.named_numbers(row) for row in _thinned(found, most)]
    for narrow in (0, 10**9):  # as if the run were long, and as if it were short
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sampling, "_NARROW", narrow)
            assert curves.sampled(shared.read(), run_id, spec) == expected


@pytest.mark.parametrize("key", ["loss", "val"])
def test_a_key_of_nearly_all_rows_is_sampled_without_parsing_them(
    shared: Database, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    rows = [{"val": n} if n % 10 == 9 else {"loss": n} for n in range(2_000)]
    run_id = _fill(shared, [(0, rows)])
    monkeypatch.setattr(sampling, "_NARROW", 100)
    parsed: list[str] = []
    monkeypatch.setattr(history, "objects", lambda texts, known=history.objects: parsed.extend(texts) or known(texts))
    found = sampling.pick_with(shared.read(), Span(run_id), [key], 50)
    having = [row for row in rows if key in row]
    assert found == _thinned(having, 50)
    assert len(parsed) <= 50 + (len(having) if key == "val" else 0)


def test_a_line_that_is_sent_again_with_other_keys_is_counted_once(shared: Database) -> None:
    run_id = _fill(shared, [(0, [{"a": 1}, {"a": 2}, {"a": 3}]), (1, [{"b": 5}, {"a": "x"}, {"a": None}])])
    run = runs.by_id(shared.read(), run_id)
    assert run is not None
    assert json.loads(run["history_keys"]) == {"a": {"number": 1, "string": 1, "nil": 1}, "b": {"number": 1}}


def test_more_keys_than_a_statement_takes(shared: Database) -> None:
    keys = [f"k{n}" for n in range(3_000)]
    run_id = _fill(shared, [(0, [dict.fromkeys(keys, 1), {"k0": 1}])])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "_NARROW", 0)
        assert sampling.pick_with(shared.read(), Span(run_id), keys, 9) == [dict.fromkeys(keys, 1)]
    assert sampling.pick_with(shared.read(), Span(run_id), ["k0", "\ud800"], 9) == []


def test_system_metrics_are_thinned_too(store: Database) -> None:
    def change(conn: sqlite3.Connection) -> None:
        run = runs.create(conn, projects.ensure(conn, "e", "p")["id"], "r", user="e")
        history.add_events(conn, run, 0, [json.dumps({"n": n}) for n in range(100)])

    store.write(change)
    assert [json.loads(text)["n"] for text in curves.events(store.read(), 1, 4)] == [0, 33, 66, 99]
    assert len(curves.events(store.read(), 1, 1000)) == 100
