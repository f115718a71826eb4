"""The comparison: ranks, and a page that stands alone, escapes hostile names and works in a real browser."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from sweepkit.errors import SweepkitError, UsageError
from sweepkit.sweeps.compare import Comparison, compare, write_page
from sweepkit.sweeps.wandb_api import WandbApi

from ..browser import browser

HOSTILE = "</script><script>document.title='stolen'</script><img src=x onerror=\"document.title='stolen'\">{{7*7}}"
CONFIG = {
    "name": HOSTILE,
    "method": "grid",
    "program": "train.py",
    "metric": {"name": "val.acc", "goal": "maximize"},
    "parameters": {"lr": {"values": [0.1, 0.2, 0.3]}, "optimizer": {"values": ["Adam", "SGD"]}, "epochs": {"value": 3}},
}
RUNS = [
    ("first", [{"val.acc": 0.5, "loss": 1.0}, {"val.acc": 0.7, "loss": 0.5}], 0),
    (HOSTILE, [{"val.acc": 0.9, "loss": 1.0}, {"val.acc": 0.8, "loss": 0.4}], 0),
    ("failed", [{"val.acc": 0.99, "loss": 0.1}], 1),
    ("nan", [{"val.acc": "nan", "loss": "nan"}], 0),
    ("twin", [{"val.acc": 0.6, "loss": 0.7}], 0),
    ("twin", [{"val.acc": 0.65, "loss": 0.7}], 0),
]


def test_the_rows_and_the_page(record: Any, api: WandbApi, tmp_path: Path) -> None:
    ref, _ = record(CONFIG, RUNS)
    comparison = compare(api, ref)
    rows = comparison.records(api)
    ranks = [(row["rank"], row["name"], row["value"]) for row in rows]
    assert ranks[:4] == [(1, HOSTILE, 0.9), (2, "first", 0.7), (3, "twin", 0.65), (4, "twin", 0.6)]
    assert ranks[4:] == [(None, "failed", 0.99), (None, "nan", None)]
    assert rows[0]["step"] == 0
    assert set(rows[0]["parameters"]) == {"lr", "optimizer"}  # epochs is no choice
    assert all(row["runtime"] >= 0 for row in rows)

    page = write_page(api, comparison, tmp_path / "deep" / "compare.html")
    assert [file.name for file in page.parent.iterdir()] == ["compare.html"]
    text = page.read_text(encoding="utf-8")
    assert "<img src=x" not in text
    assert "</script><script>document" not in text
    assert 'src="http' not in text
    _in_the_browser(page, tmp_path)
    _on_a_full_disk(comparison, api, tmp_path / "disk")


def _in_the_browser(page: Path, tmp_path: Path) -> None:
    """Every figure is drawn, no name ran as a script, and a click on a heading sorts the runs by it."""
    with browser(tmp_path / "profile") as driver:
        driver.get(page.as_uri())
        assert driver.title == f"{HOSTILE} · comparison"
        drawn = "return [...document.querySelectorAll('.js-plotly-plot')].map(each => each.id)"
        assert set(driver.execute_script(drawn)) == {"parallel", "importance", "curve0", "curve1"}
        names = "return JSON.stringify([...document.querySelectorAll('#runs tbody tr')].map(r => r.cells[0].innerText))"
        click = "document.querySelectorAll('#runs th button')[arguments[0]].click()"
        assert json.loads(driver.execute_script(names)) == ["1", "2", "3", "4", "", ""]
        driver.execute_script(click, 2)  # the metric, ascending: what is missing stays below
        assert json.loads(driver.execute_script(names)) == ["4", "3", "2", "1", "", ""]
        driver.execute_script(click, 2)
        assert json.loads(driver.execute_script(names)) == ["", "1", "2", "3", "4", ""]
        assert [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"] == []


def _on_a_full_disk(comparison: Comparison, api: WandbApi, disk: Path) -> None:
    """A page that cannot be written leaves the old one."""
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode != 0:
        assert not os.environ.get("CI"), "mounting a small tmpfs must be permitted in CI"
        pytest.skip("mounting a small tmpfs is not permitted here")
    try:
        page = disk / "compare.html"
        page.write_text("the old one")
        with pytest.raises(UsageError, match="cannot write .*compare.html: No space left"):
            write_page(api, comparison, page)
        assert [file.name for file in disk.iterdir()] == ["compare.html"]
        assert page.read_text() == "the old one"
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_sweep_without_runs_has_nothing_to_compare(record: Any, api: WandbApi) -> None:
    ref, _ = record(CONFIG, [])
    with pytest.raises(SweepkitError, match="no runs to compare"):
        compare(api, ref)
