"""Reading a history back: whole, thinned, by keys, in pages, from the real client."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sweepkit.backend import curves
from sweepkit.backend.filestream import CONSOLE, EVENTS, HISTORY

Make = Callable[..., Any]


@given(
    st.text(max_size=30)
    | st.dictionaries(
        st.sampled_from(["keys", "samples", "minStep", "maxStep"]),
        st.none() | st.booleans() | st.integers() | st.floats() | st.lists(st.text(max_size=3)),
    ).map(json.dumps)
)
def test_any_spec_is_read_or_refused(text: str) -> None:
    try:
        spec = curves.parse_spec(text)
    except (ValueError, TypeError, OverflowError):
        return
    assert abs(spec.samples) <= 2**61


@pytest.fixture
def logged(upsert: Make, stream: Make) -> str:
    """A run with 1,000 steps of x, every tenth with y, one NaN."""
    upsert(modelName="histories", name="long")
    rows: list[dict[str, float]] = [{"_step": n, "x": n, **({"y": n * 2} if n % 10 == 0 else {})} for n in range(1000)]
    rows[500]["x"] = float("nan")
    lines = [json.dumps(row) for row in rows]
    body = {
        "files": {HISTORY: {"offset": 0, "content": lines}, EVENTS: {"offset": 0, "content": ['{"system.cpu": NaN}']}}
    }
    assert stream("histories", "long", body).status_code == 200
    return "long"


def _run(ask: Make, run: str, fields: str, **variables: Any) -> Any:
    declared = "".join(f", ${name}: {kind}" for name, kind in (("specs", "[JSONString!]!"),) if name in variables)
    query = f'query ($r: String!{declared}) {{ project(name: "histories") {{ run(name: $r) {{ {fields} }} }} }}'
    return ask(query, r=run, **variables)["data"]["project"]["run"]


def test_history_by_steps_and_samples(ask: Make, logged: str) -> None:
    steps = [
        json.loads(line)["_step"]
        for line in _run(ask, logged, "history(minStep: 990, maxStep: 995, samples: 9)")["history"]
    ]
    assert steps == [990, 991, 992, 993, 994]
    assert len(_run(ask, logged, "history(samples: 7)")["history"]) == 7
    assert len(_run(ask, logged, "history")["history"]) == 500


def test_sampled_history_has_rows_with_all_keys(ask: Make, logged: str) -> None:
    specs = [
        {"keys": ["_step", "x", "y"], "samples": 5},
        {"keys": ["_step", "x"], "minStep": 499, "maxStep": 501, "samples": 10},
        {"keys": ["none"], "samples": 5},
    ]
    three = _run(ask, logged, "sampledHistory(specs: $specs)", specs=[json.dumps(spec) for spec in specs])[
        "sampledHistory"
    ]
    assert [row["_step"] for row in three[0]] == [0, 250, 500, 740, 990]
    assert [row["x"] for row in three[0]] == [0, 250, "NaN", 740, 990]
    assert [row["x"] for row in three[1]] == [499, "NaN", 501]
    assert three[2] == []


def test_keys_counts_and_system_metrics(ask: Make, logged: str) -> None:
    run = _run(ask, logged, "historyKeys historyLineCount eventsLineCount systemMetrics")
    assert run["historyKeys"]["lastStep"] == 999
    assert run["historyKeys"]["keys"]["y"]["typeCounts"] == [{"type": "number", "count": 100}]
    assert (run["historyLineCount"], run["eventsLineCount"]) == (1000, 1)
    assert json.loads(run["systemMetrics"]) == {"system.cpu": "NaN"}


def test_what_no_export_holds_is_live_and_known_by_its_two_ends(ask: Make, logged: str, script: Make) -> None:
    parquet = _run(ask, logged, 'parquetHistory(liveKeys: ["_step", "x"]) { parquetUrls liveData }')["parquetHistory"]
    assert parquet["parquetUrls"] == []
    assert parquet["liveData"] == [{"_step": 0, "x": 0}, {"_step": 999, "x": 999}]
    exported = script(
        """
        run = wandb.Api().run("histories/long")
        exported = run.download_history_exports(sys.argv[1], require_complete_history=False)
        try:
            run.download_history_exports(sys.argv[1])
        except Exception as error:
            print(json.dumps([len(exported.paths), exported.contains_live_data, type(error).__name__]))
    """,
        "exports",
    )
    assert exported == [0, True, "IncompleteRunHistoryError"]


def test_the_client_scans_all_of_it(script: Make, logged: str) -> None:
    seen = script("""
        run = wandb.Api().run("histories/long")
        print(json.dumps({
            "all": len(list(run.scan_history(page_size=300))),
            "keys": [row["_step"] for row in run.scan_history(keys=["y"], min_step=100, max_step=140)],
            "sampled": len(run.history(samples=50, pandas=False)),
            "nan": [row["x"] != row["x"] for row in run.scan_history(min_step=500, max_step=501)],
        }))
    """)
    assert seen == {"all": 1000, "keys": [100, 110, 120, 130], "sampled": 50, "nan": [True]}


@pytest.mark.parametrize(
    "fields", ['sampledHistory(specs: ["no json"])', 'sampledHistory(specs: ["[]"])', 'history(minStep: "x")']
)
def test_wrong_questions_get_400(ask: Make, logged: str, fields: str) -> None:
    query = f'{{ project(name: "histories") {{ run(name: "long") {{ {fields} }} }} }}'
    assert ask(query, status=400)["errors"]


def test_console_lines_in_pages_and_from_the_end(ask: Make, upsert: Make, stream: Make) -> None:
    upsert(modelName="histories", name="talks")
    lines = [json.dumps({"ts": "2026-01-01T00:00:00", "content": f"line {n}", "level": "error"}) for n in range(5)]
    stream(
        "histories",
        "talks",
        {"files": {CONSOLE: {"offset": 0, "content": [*lines, "plain {text}", '{"not": "ours"}']}}},
    )
    node = "edges { node { number line level } } pageInfo { endCursor hasNextPage }"
    page = _run(ask, "talks", f"logLineCount logLines(first: 3, useImprovedPagination: true) {{ {node} }}")
    assert page["logLineCount"] == 7
    assert [edge["node"]["line"] for edge in page["logLines"]["edges"]] == ["line 0", "line 1", "line 2"]
    cursor = page["logLines"]["pageInfo"]["endCursor"]
    rest = _run(ask, "talks", f'logLines(first: 9, after: "{cursor}") {{ {node} }}')["logLines"]
    assert [edge["node"]["number"] for edge in rest["edges"]] == [3, 4, 5, 6]
    assert not rest["pageInfo"]["hasNextPage"]
    last = _run(ask, "talks", f"logLines(last: 2) {{ {node} }}")["logLines"]["edges"]
    assert [edge["node"]["line"] for edge in last] == ["plain {text}", '{"not": "ours"}']
    assert last[0]["node"]["level"] is None
