"""What a sweep's search knows, in step with the store's rows: in memory are the runs that are alive, and no others.

Nothing here is worth keeping: a study that was dropped, or a restarted server, goes on from the store.
"""

from __future__ import annotations

import json
import math
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import search
from .ahead import Ahead
from .search import RunWithMetrics, StopDecision
from .search import settings as sweep_settings
from .search.digest import Digest
from .search.interface import ALIVE
from .storage import sweeps, trials
from .storage.database import Database
from .study_ledger import StoreLedger

MOST = 64  # studies in memory
IDLE = 600.0  # s: a study that nobody asked for so long is dropped,
IDLE_WHEN_OVER = 30.0  # s: or only so long, when its sweep gives out no more; its last agents come for their leave


@dataclass
class _Log:
    """The metric in one run's history, read up to ``lines``."""

    values: Digest
    lines: int = 0


@dataclass
class _Alive:
    """A run that is alive: the engine's id of it, and what the engine was told last."""

    engine_id: str
    log: _Log
    mark: tuple[Any, ...] | None = None
    data: RunWithMetrics | None = None


class Study:
    """One sweep's search. Hold ``lock`` while using it."""

    def __init__(self, sweep: sqlite3.Row, database: Database) -> None:
        self.lock = threading.Lock()
        self.good_until = 0.0  # by the monotonic clock
        self.config = str(sweep["config"])
        loaded = sweep_settings.load(self.config)
        self.settings = sweep_settings.read(loaded)
        self._sweep_id = int(sweep["id"])
        self._ledger = StoreLedger(database, self._sweep_id, self.settings, loaded)
        self.engine = search.make(self.settings, self.settings.seed or sweep["name"], self._ledger)
        self.ahead = Ahead(self.engine)
        self._alive: dict[int, _Alive] = {}  # by the runs' rows
        self._primed = False

    def is_of(self, sweep: sqlite3.Row) -> bool:
        """Whether it searches the sweep as it is: whether nobody has edited its configuration since."""
        return bool(self.config == sweep["config"])

    def follow(self, conn: sqlite3.Connection) -> dict[int, StopDecision]:
        """Tell the search what has changed in the rows. Returns which runs (by row) to stop early, and why."""
        if not self._primed:
            self._ledger.begin()
            self._tell_priors(conn)
            self._primed = True
        gone = set(self._alive)
        is_news = False
        for rows in self._ledger.open_runs():
            for row in rows:
                gone.discard(row["id"])
                is_news |= self._learn(conn, row)
            self._ledger.keep()
        self._forget(gone)
        return self._stops() if is_news else {}  # a new value of one moves the threshold of all

    def made(self, run: sqlite3.Row, suggestion: search.RunSuggestion) -> None:
        """The search's suggestion has become a run."""
        self._alive[run["id"]] = _Alive(suggestion.run_id, self._new_log())
        self._ledger.follow(suggestion.run_id, run)

    def _tell_priors(self, conn: sqlite3.Connection) -> None:
        for row in sweeps.priors(conn, self._sweep_id):
            config = trials.plain(row["config"])
            told = self._data(conn, row, config, self._new_log(), stopped=False)
            self.engine.tell_existing_finished_run(told)

    def _forget(self, gone: set[int]) -> None:
        """Runs that were deleted, or left the sweep."""
        for pk in gone:
            self.engine.forget_run(self._alive.pop(pk).engine_id)

    def _learn(self, conn: sqlite3.Connection, row: sqlite3.Row) -> bool:
        """Tell the search of one run; whether there was something to tell."""
        mark = (row["state"], row["updated_at"], row["history_lines"], row["stopped_at"])
        run = self._alive.get(row["id"]) or self._adopt(conn, row)
        if run.mark == mark:
            return False
        run.data = self._data(conn, row, {}, run.log, stopped=bool(row["stopped_at"]))  # its config is known by now
        run.mark = mark
        self._ledger.follow(run.engine_id, row)
        self.engine.tell_run(run.engine_id, run.data)
        if row["state"] not in ALIVE:
            del self._alive[row["id"]]
        return True

    def _adopt(self, conn: sqlite3.Connection, row: sqlite3.Row) -> _Alive:
        """A run that is new here: handed out before a restart, enqueued, come by itself, or alive again."""
        config = json.loads(row["configuration"]) if row["configuration"] else _config(conn, row["id"])
        engine_id = self.engine.tell_existing_active_run(search.Run(config, row["state"], row["name"]))
        self._ledger.adopt(engine_id, row, self.engine.configuration(engine_id))
        run = self._alive[row["id"]] = _Alive(engine_id, self._new_log())
        return run

    def _stops(self) -> dict[int, StopDecision]:
        running = {
            run.engine_id: (pk, run.data)
            for pk, run in self._alive.items()
            if run.data is not None and run.data.state == "running"
        }
        stopped = self.engine.prune_runs(list(running), [data for _, data in running.values()])
        decisions = ((running[engine_id][0], self.engine.decision(engine_id)) for engine_id in stopped)
        return {pk: decision for pk, decision in decisions if decision is not None}

    def _data(
        self, conn: sqlite3.Connection, row: sqlite3.Row, config: Mapping[str, Any], log: _Log, stopped: bool
    ) -> RunWithMetrics:
        metric = self.settings.metric
        if metric is None:
            return RunWithMetrics(config, row["state"], row["name"], stopped_early=stopped)
        history = self._history(conn, row["id"], row["history_lines"], metric.name, log)
        return RunWithMetrics(
            config, row["state"], row["name"], history, _summary(conn, row["id"], metric.name), stopped
        )

    def _new_log(self) -> _Log:
        return _Log(Digest(self.settings.early.bands if self.settings.early else ()))

    def _history(self, conn: sqlite3.Connection, pk: int, lines: int, name: str, log: _Log) -> Digest:
        """The metric's finite values in order; only lines that were not read before are read."""
        if lines < log.lines:  # it was started over
            log.values, log.lines = self._new_log().values, 0
        query = "SELECT row FROM history WHERE run_id = ? AND line >= ? AND line < ? ORDER BY line"
        for row in conn.execute(query, (pk, log.lines, lines)):
            value = _number(sweeps.dig(json.loads(row["row"]), name))
            if value is not None:
                log.values.add(value)
        log.lines = lines
        return log.values


class Studies:
    """The studies in memory, the least recently used one dropped first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, Study] = OrderedDict()

    def of(self, sweep: sqlite3.Row, database: Database) -> Study:
        """The sweep's study; a new one when its configuration was edited. Raises SettingsError."""
        with self._lock:
            study = self._kept.get(sweep["id"])
            if study is None or not study.is_of(sweep):
                study = self._kept[sweep["id"]] = Study(sweep, database)
            self._kept.move_to_end(sweep["id"])
            now = time.monotonic()
            study.good_until = now + (IDLE if sweep["state"] in sweeps.OPEN else IDLE_WHEN_OVER)
            self._drop_old(now)
            return study

    def kept(self, sweep: sqlite3.Row) -> Study | None:
        """The sweep's study, where it is in memory and nobody has edited the sweep since."""
        with self._lock:
            study = self._kept.get(sweep["id"])
            return study if study is not None and study.is_of(sweep) else None

    def _drop_old(self, now: float) -> None:
        for key in [key for key, study in self._kept.items() if study.good_until < now]:
            del self._kept[key]
        while len(self._kept) > MOST:
            self._kept.popitem(last=False)


def _config(conn: sqlite3.Connection, pk: int) -> dict[str, Any]:
    return trials.plain(conn.execute("SELECT config FROM runs WHERE id = ?", (pk,)).fetchone()["config"])


def _summary(conn: sqlite3.Connection, pk: int, name: str) -> float | None:
    row = conn.execute("SELECT summary FROM runs WHERE id = ?", (pk,)).fetchone()
    value = sweeps.dig(json.loads(row["summary"] or "{}"), name)
    if isinstance(value, dict):  # define_metric with a summary of its own: {"min": ..., "max": ...}
        value = next((value[kind] for kind in ("best", "min", "max", "last", "mean") if kind in value), None)
    return _number(value)


def _number(value: Any) -> float | None:
    """``value`` where it is a finite number; True is no metric."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None
