"""Several metrics: the front in place of one best run, in every command that chooses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sweepkit.errors import SweepkitError, UsageError
from sweepkit.sweeps import front
from sweepkit.sweeps.best import best
from sweepkit.sweeps.compare import compare, write_page
from sweepkit.sweeps.metric import metrics_in
from sweepkit.sweeps.promote import promote
from sweepkit.sweeps.wandb_api import WandbApi

from ..browser import browser

CONFIG = {
    "method": "grid",  # so that the backend hands out the runs by itself
    "program": "train.py",
    "metrics": [{"name": "acc", "goal": "maximize"}, {"name": "size"}],
    "parameters": {"width": {"values": [1, 2, 3, 4, 5, 6, 7]}},
}
RUNS = [
    ("small", [{"acc": 0.99, "size": 50}, {"acc": 0.5, "size": 1}], 0),  # judged by its end
    ("middle", [{"acc": 0.8, "size": 2}], 0),
    ("beaten", [{"acc": 0.7, "size": 3}], 0),
    ("big", [{"acc": 0.9, "size": 9}], 0),
    ("the same", [{"acc": 0.9, "size": 9}], 0),
    ("failed", [{"acc": 1.0, "size": 0}], 1),
    ("half", [{"acc": 1.0}], 0),
]


def sweepkit(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sweepkit", *words, "--backend", "embedded"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_the_front_takes_the_place_of_the_best_run(record: Any, api: WandbApi, tmp_path: Path) -> None:
    ref, ids = record(CONFIG, RUNS)
    sweep = api.sweep(ref)
    found = front.front(api, sweep)
    assert [(each.run.name, each.values) for each in found] == [
        ("big", (0.9, 9)), ("the same", (0.9, 9)), ("middle", (0.8, 2)), ("small", (0.5, 1)),
    ]  # fmt: skip
    for choose in (best, lambda api, ref: promote(api, ref.path)):
        with pytest.raises(UsageError, match="has several metrics .acc, size., so there is no single best run"):
            choose(api, ref)

    told = json.loads(sweepkit("best", ref.path, "--format", "json").stdout)
    assert [each["id"] for each in told] == [ids[3], ids[4], ids[1], ids[0]]
    assert told[2]["values"] == {"acc": 0.8, "size": 2}
    assert told[2]["goals"] == {"acc": "maximize", "size": "minimize"}
    assert told[2]["config"]["width"] == 2
    assert sweepkit("best", ref.path, "--format", "value").stdout.split() == [each["id"] for each in told]
    assert "acc" in sweepkit("best", ref.path).stdout.splitlines()[0]
    status = json.loads(sweepkit("status", ref.path, "--format", "json").stdout)
    assert (status["best"], status["front"]) == (None, [each["id"] for each in told])
    refused = sweepkit("promote", ref.path)
    assert refused.returncode == 2
    assert f"`sweepkit best {ref.id}` lists the runs of the front" in refused.stderr

    comparison = compare(api, ref)
    rows = [(row["rank"], row["name"], row["value"], row["values"]) for row in comparison.records(api)]
    assert [row[:2] for row in rows] == [
        (1, "big"), (1, "the same"), (1, "middle"), (1, "small"), (2, "beaten"), (None, "failed"), (None, "half"),
    ]  # fmt: skip
    assert rows[-1][2:] == (None, {"acc": 1.0, "size": None})
    assert list(comparison.columns())[:4] == ["rank", "id", "values.acc", "values.size"]
    page = write_page(api, comparison, tmp_path / "compare.html")
    with browser(tmp_path / "profile") as driver:
        driver.get(page.as_uri())
        points = "return document.getElementById('front0').data.map(each => [each.name, each.x, each.y])"
        assert driver.execute_script(points) == [
            ["other runs", [0.7], [3]],
            ["front", [0.5, 0.8, 0.9, 0.9], [1, 2, 9, 9]],
        ]
        assert "4 runs" in driver.find_element("css selector", ".winner").text
        assert [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_why_there_is_no_front(record: Any, api: WandbApi) -> None:
    ref, _ = record(CONFIG, [])
    with pytest.raises(SweepkitError, match="no runs yet"):
        front.front(api, api.sweep(ref))
    ref, _ = record(CONFIG, [RUNS[5], RUNS[6]])
    with pytest.raises(SweepkitError, match=r"every metric \(acc, size\) at its end; they logged: acc"):
        front.front(api, api.sweep(ref))


def test_the_metrics_of_a_configuration() -> None:
    assert [metric.name for metric in metrics_in({"metrics": [{"name": "a"}, {"goal": "maximize"}, 3]})] == ["a"]
    assert [metric.name for metric in metrics_in({"metric": {"name": "b"}})] == ["b"]
    assert metrics_in({}) == metrics_in({"metrics": "a"}) == ()
