"""W&B's filters of runs: what they select, and that nothing of them becomes SQL."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sweepkit.backend.storage import filters, projects, runs
from sweepkit.backend.storage.database import Database

ROWS: list[dict[str, Any]] = [
    {
        "name": "a",
        "config": {"lr": 0.1, "opt": {"name": "sgd"}, "flag": True},
        "summary": {"acc": 0.9},
        "tags": ["x", "y"],
    },
    {"name": "b", "config": {"lr": 0.2, "opt.name": "adam"}, "summary": {"acc": 0.5, "deep": {"v": 1}}, "tags": ["x"]},
    {"name": "c", "config": {"lr": "0.1", "flag": False}, "summary": {"acc": "NaN"}, "tags": []},
    {
        "name": "d",
        "config": {},
        "summary": {},
        "state": "failed",
        "group_name": "g",
        "created_at": "2020-01-01T00:00:00.000000Z",
    },
]


def _fill(conn: sqlite3.Connection) -> None:
    project = projects.ensure(conn, "e", "p")["id"]
    for row in ROWS:
        config = json.dumps({key: {"value": value} for key, value in row["config"].items()})
        texts = {"config": config, "summary": json.dumps(row["summary"]), "tags": json.dumps(row.get("tags", []))}
        rest = {key: row[key] for key in ("group_name", "created_at") if key in row}
        runs.create(conn, project, row["name"], user="e", state=row.get("state", "finished"), **texts, **rest)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Any:
    store = Database(Path(tmp_path_factory.mktemp("filters")) / "s.sqlite3")
    store.write(_fill)
    yield store.read()
    store.close()


Select = Callable[..., str]


@pytest.fixture(scope="module")
def select(rows: sqlite3.Connection) -> Select:
    """The names of the runs that a filter selects, in an order."""

    def names(condition: Any, order: str | None = None) -> str:
        found = runs.page(rows, filters.condition(json.dumps(condition)), filters.order(order), 100)
        assert len(found) == runs.count(rows, *filters.condition(json.dumps(condition)))
        return "".join(row["name"] for row, _ in found)

    return names


CASES: list[tuple[Any, str]] = [
    ({}, "dabc"),
    (None, "dabc"),
    ({"$and": []}, "dabc"),
    ({"$or": [{"$and": []}]}, "dabc"),
    ({"name": "a"}, "a"),
    ({"state": {"$ne": "finished"}}, "d"),
    ({"state": {"$in": ["failed", "crashed"]}}, "d"),
    ({"name": {"$in": []}}, ""),
    ({"name": {"$nin": ["a", "b"]}}, "dc"),
    ({"group": "g"}, "d"),
    ({"group": None}, "abc"),
    ({"config.lr": 0.1}, "a"),
    ({"config.lr": "0.1"}, "c"),
    ({"config.lr.value": 0.1}, "a"),
    ({"config.lr": {"$gte": 0.1}}, "ab"),
    ({"config.lr": {"$gt": 0.1, "$lt": 0.3}}, "b"),
    ({"config.lr": {"$exists": True}}, "abc"),
    ({"config.lr": {"$exists": False}}, "d"),
    ({"config.lr": {"$ne": 0.1}}, "dbc"),
    ({"config.lr": {"$not": {"$gt": 0.1}}}, "dac"),
    ({"$not": {"config.lr": {"$gt": 0.1}}}, "dac"),
    ({"$nor": [{"name": "a"}, {"name": "b"}]}, "dc"),
    ({"config.flag": True}, "a"),
    ({"config.flag": False}, "c"),
    ({"config.opt.name": "sgd"}, "a"),
    ({"config.opt.value.name": "sgd"}, "a"),
    ({"config.opt.name": "adam"}, "b"),
    ({"summary_metrics.acc": {"$gt": 0.1}}, "ab"),
    ({"summary_metrics.deep.v": 1}, "b"),
    ({"summaryMetrics.acc": {"$lt": 0.6}}, "b"),
    ({"tags": "x"}, "ab"),
    ({"tags": {"$in": ["y", "z"]}}, "a"),
    ({"tags": {"$nin": ["y"]}}, "dbc"),
    ({"tags": {"$ne": "x"}}, "dc"),
    ({"tags": {"$exists": False}}, "dc"),
    ({"created_at": {"$lt": "2021-01-01"}}, "d"),
    ({"createdAt": {"$gt": "2021-01-01T00:00:00+01:00"}}, "abc"),
    ({"display_name": {"$regex": "^[ab]$"}}, "ab"),
    ({"config.flag": 1}, ""),
    ({"config.lr": {"$gte": None}}, "d"),
    ({"config.lr": {"$in": [0.1, "0.1", None]}}, "dac"),
    ({"name": {"$in": ["a", *map(str, range(3000))]}}, "a"),
    ({"config.lr": {"$nin": [*range(3000), 0.1]}}, "dbc"),
    ({"group": 5}, ""),
    ({"duration": {"$gt": 3600}}, "d"),
    ({"duration": {"$lt": "1"}}, ""),
    ({"sweepName": {"$ne": "s"}}, "dabc"),
    ({"sweep": None}, "dabc"),
    ({"sweep": "s"}, ""),
    ({"$or": [{"name": "a"}, {"$and": [{"name": "b"}, {"config.lr": 0.2}]}]}, "ab"),
]


@pytest.mark.parametrize(("condition", "names"), CASES, ids=[json.dumps(case[0])[:60] for case in CASES])
def test_what_a_filter_selects(select: Select, condition: Any, names: str) -> None:
    assert select(condition) == names


@pytest.mark.parametrize(
    ("order", "names"),
    [
        ("+created_at", "dabc"),
        ("-created_at", "cbad"),
        ("created_at", "dabc"),
        ("-summary_metrics.acc", "cabd"),
        ("+summary_metrics.acc", "bacd"),
        ("config.lr.value", "abcd"),
        ("-state,name", "abcd"),
        ("name", "abcd"),
    ],
)
def test_orders(select: Select, order: str, names: str) -> None:
    assert select({}, order) == names


WRONG: list[Any] = [
    [],
    "x",
    {"nosuch": 1},
    {"config": 1},
    {"config.": 1},
    {'config.a"b': 1},
    {"config.a\\b": 1},
    {"name": {"$where": "1"}},
    {"$where": "1"},
    {"$or": []},
    {"$or": {}},
    {"name": {"$in": "a"}},
    {"name": {"$gt": [1]}},
    {"name": {"$eq": {"a": 1}}},
    {"name": {"$regex": "("}},
    {"name": {"$regex": "(a+)+$"}},
    {"name": {"$regex": ".*a.*b.*c.*d"}},
    {"name": {"$regex": "x" * 500}},
    {"name": {"$exists": "yes"}},
    {"created_at": {"$gt": "yesterday"}},
    {"config.a": 10**30},
    {"$and": [{"name": "a"}] * 600},
]


@pytest.mark.parametrize("condition", WRONG, ids=range(len(WRONG)))
def test_what_is_no_filter_is_told(condition: Any) -> None:
    with pytest.raises(filters.FilterError) as caught:
        filters.condition(json.dumps(condition))
    assert str(caught.value)


def test_deep_nesting_is_refused_and_not_followed() -> None:
    deep: Any = {"name": "a"}
    for _ in range(100):
        deep = {"$not": deep}
    for text in (json.dumps(deep), '{"$and":[' * 50_000):
        with pytest.raises(filters.FilterError):
            filters.condition(text)


def test_the_slowest_pattern_that_is_allowed_is_over_soon(rows: sqlite3.Connection) -> None:
    filters.check_pattern(".*a.*b.*c")
    begun = time.monotonic()
    rows.execute("SELECT ? REGEXP ?", ("ab" * 500, ".*a.*b.*c")).fetchone()
    assert time.monotonic() - begun < 2


KEYS = (
    st.sampled_from(
        [
            "name",
            "config.lr",
            "summary_metrics.acc",
            "tags",
            "created_at",
            "$and",
            "$or",
            "$not",
            "$in",
            "$gt",
            "$regex",
            "sweep",
        ]
    )
    | st.text(max_size=12).map(lambda key: "config." + key)
    | st.text(max_size=8)
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=500, deadline=None)
@given(condition=VALUES, order=st.text(max_size=20) | KEYS)
def test_any_input_is_parameters_or_an_error(rows: sqlite3.Connection, condition: Any, order: str) -> None:
    marker = "Zq7"  # no part of the SQL's own text
    text = json.dumps(condition).replace("lr", marker)
    try:
        where = filters.condition(text)
        by = filters.order(order.replace("lr", marker))
    except filters.FilterError as error:
        assert str(error)
        return
    texts = [where[0], *(term.sql.text for term in by)]
    assert not any(marker in sql for sql in texts)
    assert all(set(sql) <= set(ALLOWED) for sql in texts)
    runs.page(rows, where, by, 10)


ALLOWED = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.,()?=!<>*-' "


def test_the_client_filters_and_orders(script: Callable[..., Any]) -> None:
    seen = script("""
        for n in range(3):
            with wandb.init(project="filtered", name=f"run{n}", config={"lr": n / 10}, tags=["odd"] * (n % 2)) as run:
                run.log({"acc": n})
        api = wandb.Api()
        def names(**asked): return [run.name for run in api.runs("filtered", **asked)]
        print(json.dumps([
            names(), names(order="-summary_metrics.acc"), names(filters={"config.lr": {"$gte": 0.1}}),
            names(filters={"tags": {"$in": ["odd"]}}), names(filters={"display_name": "run2"}, per_page=1),
            len(api.runs("filtered", filters={"state": "finished"}, per_page=2)), names(per_page=1),
        ]))
    """)
    everything = ["run0", "run1", "run2"]
    assert seen == [everything, everything[::-1], ["run1", "run2"], ["run1"], ["run2"], 3, everything]
