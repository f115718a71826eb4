"""What a sweep's search keeps in memory: little, and not for ever."""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from sweepkit.backend import studies
from sweepkit.backend.storage import history, opening, projects, runs, sweeps
from sweepkit.backend.storage.database import Database
from sweepkit.backend.studies import Studies, Study

CONFIG = {
    "method": "random",
    "metric": {"name": "loss", "goal": "minimize"},
    "parameters": {"x": {"min": 0.0, "max": 1.0}},
    "early_terminate": {"type": "hyperband", "min_iter": 3},
}


@pytest.fixture
def sweep(store: Database) -> sqlite3.Row:
    return store.write(_make_sweep)


def _make_sweep(conn: sqlite3.Connection) -> sqlite3.Row:
    project = projects.ensure(conn, "e", "p")["id"]
    return sweeps.create(conn, project, user="e", config=json.dumps(CONFIG), method="random")


def _log(store: Database, sweep: sqlite3.Row, name: str, values: list[float], **columns: Any) -> None:
    def change(conn: sqlite3.Connection) -> None:
        run = runs.find(conn, sweep["project_id"], name)
        if run is None:
            run = runs.create(conn, sweep["project_id"], name, user="e", sweep_id=sweep["id"], state="running")
        lines = history.parse([json.dumps({"loss": value}) for value in values], run["history_lines"])
        runs.update(conn, run["id"], **history.add_history(conn, run, lines), **columns)

    store.write(change)


def test_a_run_is_followed_by_a_digest_of_its_metric(store: Database, sweep: sqlite3.Row) -> None:
    study = Study(sweep, store)
    for name, value in (("good", 1.0), ("bad", 9.0)):
        _log(store, sweep, name, [value] * 500)
        _log(store, sweep, name, [value + 1] * 500)
    stopped = study.follow(store.read())
    bad = runs.find(store.read(), sweep["project_id"], "bad")
    assert bad is not None
    assert list(stopped) == [bad["id"]]
    kept = [run.log.values for run in study._alive.values()]
    assert [len(values) for values in kept] == [1000, 1000]
    assert all(len(list(values)) < 20 for values in kept)


def test_a_run_that_was_started_over_is_read_anew(store: Database, sweep: sqlite3.Row) -> None:
    study = Study(sweep, store)
    _log(store, sweep, "again", [5.0] * 10)
    study.follow(store.read())
    store.write(lambda conn: conn.execute("DELETE FROM history"))
    store.write(lambda conn: runs.update(conn, 1, history_lines=0, history_keys="{}"))
    _log(store, sweep, "again", [7.0] * 2)
    study.follow(store.read())
    (run,) = study._alive.values()
    assert (len(run.log.values), min(run.log.values)) == (2, 7.0)


def test_a_sweep_from_before_this_version_is_looked_through_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Version 3 of the store kept nothing for a search: it was in memory."""
    before = tmp_path / "migrations"
    before.mkdir()
    for file in sorted(opening.MIGRATIONS.glob("*.sql"))[:2]:
        (before / file.name).write_text(file.read_text())
    with monkeypatch.context() as patch:
        patch.setattr(opening, "MIGRATIONS", before)
        old = Database(tmp_path / "old.sqlite3")
    sweep = old.write(_make_sweep)
    for n in range(5):
        _log(old, sweep, f"r{n}", [float(n)] * 3, state="running" if n == 4 else "finished")
    old.write(lambda conn: conn.execute("UPDATE sweeps SET state = 'FINISHED'"))
    old.close()
    store = Database(tmp_path / "old.sqlite3")
    assert (sweeps.run_count(store.read(), 1), sweeps.unfinished(store.read(), 1)) == (5, 1)
    again = sweeps.by_id(store.read(), 1)
    assert again is not None
    study = Study(again, store)
    assert list(study.follow(store.read())) == [5]
    assert study.engine.ledger.ended() == 4 and study.engine.ledger.best() == 0.0
    assert study.engine.ledger.threshold(3) == 1.0
    store.close()


def test_studies_that_nobody_asks_for_are_dropped(
    store: Database, sweep: sqlite3.Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Studies()
    study = kept.of(sweep, store)
    assert kept.of(sweep, store) is study
    other = store.write(
        lambda conn: sweeps.create(conn, sweep["project_id"], user="e", config=json.dumps(CONFIG), method="random")
    )
    study.good_until -= studies.IDLE + 1
    kept.of(other, store)
    assert kept.of(sweep, store) is not study


def test_the_study_of_a_sweep_that_is_over_is_dropped_soon(store: Database, sweep: sqlite3.Row) -> None:
    kept = Studies()
    over = store.write(lambda conn: sweeps.update(conn, sweep["id"], state="FINISHED"))
    study = kept.of(over, store)
    assert kept.of(over, store) is study  # its agents come one after the other
    assert study.good_until < time.monotonic() + studies.IDLE_WHEN_OVER + 1
