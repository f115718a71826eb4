"""The contract of ledgers: each says of any history of runs what a plain look at all of them says."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sweepkit.backend.search import Ledger, MemoryLedger, Outcome, Settings
from sweepkit.backend.search import settings as sweep_settings
from sweepkit.backend.storage import projects, runs, sweeps
from sweepkit.backend.storage.database import Database, StoreError
from sweepkit.backend.study_ledger import StoreLedger
from sweepkit.space import canonical

BANDS = (1, 2, 4)
MOST = 6


class InMemory:
    """The ledger of a search without a store."""

    def __init__(self, config: dict[str, Any], settings: Settings, folder: Path) -> None:
        self.ledger: Ledger = MemoryLedger(settings)
        self._ended: set[str] = set()

    def start(self, name: str, config: Mapping[str, Any]) -> None: ...

    def reach(self, name: str, values: dict[int, float]) -> None:
        self.ledger.reach(name, values)

    def end(self, name: str, outcome: Outcome) -> None:
        self.ledger.end(name, outcome)
        self._ended.add(name)

    def delete(self, name: str) -> None:
        assert isinstance(self.ledger, MemoryLedger)
        self.ledger.remove(name) if name in self._ended else self.ledger.forget(name)

    def restart(self) -> None: ...

    def close(self) -> None: ...


class InStore:
    """The ledger of a sweep in a store, where runs are rows."""

    def __init__(self, config: dict[str, Any], settings: Settings, folder: Path) -> None:
        self._file = folder / f"{len(list(folder.iterdir()))}.sqlite3"
        self._config, self._settings = config, settings
        self._database = Database(self._file)
        self._sweep = self._database.write(self._make)
        self._alive: dict[str, int] = {}
        self.ledger: StoreLedger = self._begun()

    def _make(self, conn: sqlite3.Connection) -> sqlite3.Row:
        project = projects.ensure(conn, "e", "p")["id"]
        return sweeps.create(conn, project, user="e", config="", method="grid")

    def _begun(self) -> StoreLedger:
        ledger = StoreLedger(self._database, self._sweep["id"], self._settings, self._config)
        ledger.begin()
        return ledger

    def start(self, name: str, config: Mapping[str, Any]) -> None:
        """One in three has come by itself."""

        def change(conn: sqlite3.Connection) -> sqlite3.Row:
            run = runs.create(conn, 1, name, user="e", sweep_id=self._sweep["id"], state="running")
            if run["id"] % 3:
                same = "SELECT coalesce(max(copy) + 1, 0) FROM trials WHERE configuration = ?"
                copy = conn.execute(same, (canonical(config),)).fetchone()[0]
                insert = "INSERT INTO trials (run_id, sweep_id, configuration, copy) VALUES (?, ?, ?, ?)"
                conn.execute(insert, (run["id"], self._sweep["id"], canonical(config), copy))
            return run

        self._alive[name] = self._database.write(change)["id"]
        self.ledger.adopt(name, self._row(name), canonical(config))
        self.ledger.keep()

    def reach(self, name: str, values: dict[int, float]) -> None:
        self.ledger.reach(name, values)
        self.ledger.keep()

    def end(self, name: str, outcome: Outcome) -> None:
        pk = self._alive[name]
        self._database.write(lambda conn: runs.update(conn, pk, state="finished"))
        self.ledger.follow(name, self._row(name))
        self.ledger.end(name, outcome)
        self.ledger.keep()
        del self._alive[name]

    def delete(self, name: str) -> None:
        run = runs.find(self._database.read(), 1, name)
        assert run is not None
        self._database.write(lambda conn: runs.delete(conn, run["id"]))
        if self._alive.pop(name, None) is not None:
            self.ledger.forget(name)

    def restart(self) -> None:
        self.ledger = self._begun()
        for name in self._alive:
            self.ledger.follow(name, self._row(name))

    def _row(self, name: str) -> sqlite3.Row:
        rows = (row for page in self.ledger.open_runs() for row in page)
        return next(row for row in rows if row["name"] == name)

    def close(self) -> None:
        assert sweeps.run_count(self._database.read(), self._sweep["id"]) == len(runs_of(self._database, self._sweep))
        self._database.close()


def runs_of(database: Database, sweep: sqlite3.Row) -> list[sqlite3.Row]:
    return sweeps.runs(database.read(), sweep["id"])


NUMBERS = st.integers(-3, 3).map(float)
LIFE = st.fixed_dictionaries(
    {
        "x": st.integers(0, 4),
        "values": st.lists(NUMBERS, max_size=5),
        "ends": st.booleans(),
        "worth": st.booleans(),
        "deleted": st.sampled_from([False, False, False, True]),
        "restart": st.sampled_from([False, False, False, False, True]),
    }
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ledgers")


@pytest.mark.parametrize("kind", [InMemory, InStore])
@hypothesis_settings(max_examples=30, deadline=None)
@given(
    lives=st.lists(LIFE, min_size=1, max_size=16),
    goal=st.sampled_from(["minimize", "maximize"]),
    impute=st.sampled_from(["worst", "latest"]),
    eta=st.sampled_from([1.5, 2, 3]),
)
def test_it_says_what_a_look_at_all_runs_says(
    kind: Any, folder: Path, lives: list[dict[str, Any]], goal: str, impute: str, eta: float
) -> None:
    """Runs start one after the other, log, end and are deleted in a rolling way, so that several are alive at once."""
    config = {
        "method": "grid",
        "parameters": {"x": {"values": [0, 1, 2, 3, 4]}},
        "metric": {"name": "loss", "goal": goal, "impute": impute},
        "early_terminate": {"type": "hyperband", "min_iter": 1, "eta": eta},
    }
    settings = sweep_settings.read(config)
    one = kind(config, settings, folder)
    told: dict[str, dict[str, Any]] = {}
    for n, life in enumerate(lives):
        name = f"r{n}"
        one.start(name, {"x": life["x"]})
        told[name] = {"life": life, "reached": {}, "outcome": None}
        _go_on(one, told, f"r{n - 2}", settings)
        if life["restart"]:
            one.restart()
        _check(one.ledger, told, settings)
    one.close()


def _go_on(one: Any, told: dict[str, dict[str, Any]], name: str, settings: Settings) -> None:
    """A run logs its values one by one, ends, and is deleted, as its life has it."""
    if name not in told:
        return
    run, metric = told[name], settings.metric
    life = run["life"]
    assert metric is not None
    for length in range(1, len(life["values"]) + 1):
        if length in BANDS:
            run["reached"] = {band: life["values"][band - 1] for band in BANDS if band <= length}
            one.reach(name, run["reached"])
    if len(life["values"]) == 5:  # its history was cut: it has reached the first band only, and another value there
        run["reached"] = {1: life["values"][4]}
        one.reach(name, run["reached"])
    if life["ends"]:
        best, worst = metric.best(life["values"]), metric.worst(life["values"])
        x = {"x": life["x"]}
        run["outcome"] = Outcome(x, canonical(x), best, worst, best if life["worth"] else None)
        one.end(name, run["outcome"])
    if life["deleted"]:
        one.delete(name)
        run["deleted"] = True


def _check(ledger: Ledger, told: dict[str, dict[str, Any]], settings: Settings) -> None:
    metric, early = settings.metric, settings.early
    assert metric is not None and early is not None
    there = [run for run in told.values() if not run.get("deleted")]
    ended: list[Outcome] = [run["outcome"] for run in there if run["outcome"]]
    for band in BANDS:
        values = sorted((run["reached"][band] for run in there if band in run["reached"]), reverse=metric.maximize)
        assert ledger.threshold(band) == (values[early.rank(len(values))] if values else None)
    assert ledger.ended() == len(ended)
    assert ledger.best() == metric.best(one.best for one in ended if one.best is not None)
    assert ledger.worst() == metric.worst(one.worst for one in ended if one.worst is not None)
    for x in range(5):
        text = canonical({"x": x})
        assert ledger.tries(text) == sum(one.configuration == text for one in ended)
    assert ledger.newest() == (ended[-1].config if ended else None)
    _check_worths(ledger, ended, settings)
    deleted = {run["outcome"].configuration for run in told.values() if run.get("deleted") and run["outcome"]}
    assert deleted <= {canonical(config) for config in ledger.released()} | {
        canonical({"x": run["life"]["x"]}) for run in there
    }


def _check_worths(ledger: Ledger, ended: list[Outcome], settings: Settings) -> None:
    metric = settings.metric
    assert metric is not None
    known = [one for one in ended if metric.impute == "worst" or one.worth is not None]
    worths = ledger.worths(MOST)
    keys = [key for key, _ in worths]
    assert keys == sorted(set(keys))
    configs = ledger.configurations(keys)
    shown = [(configs[key], worth) for key, worth in worths]
    everything = [(one.config, one.worth) for one in known]
    if len(known) <= MOST:
        assert shown == everything
    else:
        assert MOST // 2 <= len(shown) <= MOST
        assert shown[-(MOST // 2) :] == everything[-(MOST // 2) :]
        best = sorted((one.worth for one in known if one.worth is not None), reverse=metric.maximize)[: MOST // 2]
        found = sorted((worth for _, worth in shown if worth is not None), reverse=metric.maximize)
        assert found[: len(best)] == best


def test_what_was_written_for_another_configuration_is_made_anew(tmp_path: Path) -> None:
    config = {"method": "grid", "parameters": {"x": {"values": [0, 1, 2]}}, "metric": {"name": "loss"}}
    one = InStore(config, sweep_settings.read(config), tmp_path)
    for n in range(3):
        one.start(f"r{n}", {"x": n})
        one.ledger.position += 1
        one.end(f"r{n}", Outcome({"x": n}, canonical({"x": n}), n, n, n))
    one.start("r3", {"x": 7})
    one.restart()
    assert (one.ledger.ended(), one.ledger.best(), one.ledger.position) == (3, 0.0, 3)
    one._config = {**config, "metric": {"name": "accuracy"}}
    one.restart()
    assert (one.ledger.ended(), one.ledger.best(), one.ledger.position) == (0, None, 0)
    assert [row["name"] for page in one.ledger.open_runs() for row in page] == ["r0", "r1", "r2", "r3"]
    one.close()


def test_a_run_that_changed_while_it_was_written_down_is_looked_at_again(tmp_path: Path) -> None:
    config = {"method": "grid", "parameters": {"x": {"values": [0, 1, 2]}}, "metric": {"name": "loss"}}
    one = InStore(config, sweep_settings.read(config), tmp_path)
    one.start("r0", {"x": 0})
    one._database.write(lambda conn: runs.update(conn, 1, state="finished"))
    one.ledger.follow("r0", one._row("r0"))
    one.ledger.end("r0", Outcome({"x": 0}, '{"x":0}', 1.0, 1.0, 1.0))
    one._database.write(lambda conn: runs.update(conn, 1, summary='{"loss": 0.5}'))
    one.ledger.keep()
    assert [row["name"] for page in one.ledger.open_runs() for row in page] == ["r0"]
    one.close()


def test_what_could_not_be_written_down_is_not_held_against_a_run_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {"method": "grid", "parameters": {"x": {"values": [0, 1, 2]}}, "metric": {"name": "loss"}}
    one = InStore(config, sweep_settings.read(config), tmp_path)

    def fail(change: Any) -> None:
        raise StoreError("the disk is full")

    one.start("r0", {"x": 0})
    one.ledger.end("r0", Outcome({"x": 0}, '{"x":0}', 1.0, 1.0, 1.0))
    with monkeypatch.context() as patch:
        patch.setattr(one._database, "write", fail)
        with pytest.raises(StoreError):
            one.ledger.keep()
    one.ledger.adopt("again", one._row("r0"), '{"x":0}')
    one.ledger.keep()
    assert (one.ledger.ended(), one.ledger.best()) == (0, None)
    one.close()
