"""What a sweep's search knows, kept in memory and in step with the store's rows.

Nothing here is worth keeping: a study that was dropped, or a restarted server, reads the rows again.
"""

from __future__ import annotations

import json
import math
import sqlite3
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from . import search
from .search import RunWithMetrics, StopDecision
from .search import settings as sweep_settings
from .search.digest import Digest
from .storage import sweeps, trials

MOST = 64  # studies in memory
IDLE = 600.0  # s: a study that nobody asked for so long is dropped,
IDLE_WHEN_OVER = 30.0  # s: or only so long, when its sweep gives out no more; its last agents come for their leave
_LONG = 0.02  # s of work: a look at the rows that takes longer is not taken all the time,
_SHARE = 0.1  # but for this share of the time at most

_CHANGED = """
    SELECT runs.id, runs.name, runs.state, runs.updated_at, runs.history_lines, trials.configuration, trials.stopped_at
    FROM runs LEFT JOIN trials ON trials.run_id = runs.id WHERE runs.sweep_id = ? ORDER BY runs.id
"""


@dataclass
class _Log:
    """The metric in one run's history, read up to ``lines``."""

    values: Digest
    lines: int = 0


class Study:
    """One sweep's search. Hold ``lock`` while using it."""

    def __init__(self, sweep: sqlite3.Row) -> None:
        self.lock = threading.Lock()
        self.good_until = 0.0  # by the monotonic clock
        self.config = str(sweep["config"])
        self.settings = sweep_settings.read(sweep_settings.load(self.config))
        self.engine = search.make(self.settings, sweep["name"])
        self._sweep_id = int(sweep["id"])
        self._ids: dict[int, str] = {}  # run row -> the engine's id
        self._marks: dict[int, tuple[Any, ...]] = {}
        self._logs: dict[int, _Log] = {}
        self._running: dict[int, RunWithMetrics] = {}
        self._primed = False
        self._look_again = 0.0  # by the monotonic clock

    def follow_if_due(self, conn: sqlite3.Connection) -> dict[int, StopDecision]:
        """``follow``, but passed over where it would take too much of the time: a look at 10,000 runs takes long.

        Agents ask every few seconds, and a hundred of them all the time; what one misses, the next one sees.
        """
        if time.monotonic() < self._look_again:
            return {}
        before = time.thread_time()
        found = self.follow(conn)
        took = time.thread_time() - before
        if took > _LONG:
            self._look_again = time.monotonic() + took * (1 / _SHARE - 1)
        return found

    def follow(self, conn: sqlite3.Connection) -> dict[int, StopDecision]:
        """Tell the search what has changed in the rows. Returns which runs (by row) to stop early, and why."""
        if not self._primed:
            self._tell_priors(conn)
        rows = conn.execute(_CHANGED, (self._sweep_id,)).fetchall()
        self._forget(self._ids.keys() - {row["id"] for row in rows})
        changed = [row for row in rows if self._marks.get(row["id"]) != _mark(row)]
        learned = {row["id"]: self._learn(conn, row) for row in changed}
        found = {**self._running, **learned} if learned else {}  # a new value of one moves the threshold of all
        self._running = {pk: data for pk, data in {**self._running, **learned}.items() if data.state == "running"}
        stopped = self.engine.prune_runs([self._ids[pk] for pk in found], list(found.values()))
        rows_by_id = {engine_id: pk for pk, engine_id in self._ids.items()}
        decisions = ((rows_by_id[engine_id], self.engine.decision(engine_id)) for engine_id in stopped)
        return {pk: decision for pk, decision in decisions if decision is not None}

    def made(self, run: sqlite3.Row, suggestion: search.RunSuggestion) -> None:
        """The search's suggestion has become a run."""
        self._ids[run["id"]] = suggestion.run_id

    def _tell_priors(self, conn: sqlite3.Connection) -> None:
        for row in sweeps.priors(conn, self._sweep_id):
            config = trials.plain(row["config"])
            self.engine.tell_existing_finished_run(self._data(conn, row, config, stopped=False))
        self._primed = True

    def _forget(self, gone: set[int]) -> None:
        for pk in gone:
            self.engine.forget_run(self._ids.pop(pk))
            self._marks.pop(pk, None)
            self._logs.pop(pk, None)
            self._running.pop(pk, None)

    def _learn(self, conn: sqlite3.Connection, row: sqlite3.Row) -> RunWithMetrics:
        pk = row["id"]
        config = json.loads(row["configuration"]) if row["configuration"] else _config(conn, pk)
        data = self._data(conn, row, config, stopped=bool(row["stopped_at"]))
        if pk not in self._ids:
            self._ids[pk] = self.engine.tell_existing_active_run(data)
        self._marks[pk] = _mark(row)
        return data

    def _data(
        self, conn: sqlite3.Connection, row: sqlite3.Row, config: dict[str, Any], stopped: bool
    ) -> RunWithMetrics:
        metric = self.settings.metric
        if metric is None:
            return RunWithMetrics(config, row["state"], row["name"], stopped_early=stopped)
        history = self._history(conn, row["id"], row["history_lines"], metric.name)
        return RunWithMetrics(
            config, row["state"], row["name"], history, _summary(conn, row["id"], metric.name), stopped
        )

    def _history(self, conn: sqlite3.Connection, pk: int, lines: int, name: str) -> Digest:
        """The metric's finite values in order; only lines that were not read before are read."""
        log = self._logs.get(pk)
        if log is None or lines < log.lines:  # it is new, or was started over
            bands = self.settings.early.bands if self.settings.early else ()
            log = self._logs[pk] = _Log(Digest(bands))
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

    def of(self, sweep: sqlite3.Row) -> Study:
        """The sweep's study; a new one when its configuration was edited. Raises SettingsError."""
        with self._lock:
            study = self._kept.get(sweep["id"])
            if study is None or study.config != sweep["config"]:
                study = self._kept[sweep["id"]] = Study(sweep)
            self._kept.move_to_end(sweep["id"])
            now = time.monotonic()
            study.good_until = now + (IDLE if sweep["state"] in sweeps.OPEN else IDLE_WHEN_OVER)
            self._drop_old(now)
            return study

    def _drop_old(self, now: float) -> None:
        for key in [key for key, study in self._kept.items() if study.good_until < now]:
            del self._kept[key]
        while len(self._kept) > MOST:
            self._kept.popitem(last=False)


def _mark(row: sqlite3.Row) -> tuple[Any, ...]:
    return row["state"], row["updated_at"], row["history_lines"], row["stopped_at"]


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
