"""A sweep's ledger in the store: what its search is told is gathered, and kept with the next write."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import weakref
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .search import Outcome, Settings
from .storage import bands, outcomes
from .storage.database import Database

# What of a sweep's configuration the tables depend on. The number counts this file's ways to write them.
_VERSION = 1
_READ = ("method", "metric", "early_terminate", "parameters", "controller", "scheduler")


@dataclass
class _News:
    """What is new of one run."""

    seen: sqlite3.Row  # the run's row
    joined: str | None = None
    reopened: bool = False
    reached: Mapping[int, float] | None = None
    outcome: Outcome | None = None


class StoreLedger:
    """The ledger of one sweep (see ``search.ledger``). Runs have the engine's ids here, and their rows in the store.

    Ended runs' keys are their rows' ids.
    """

    def __init__(self, database: Database, sweep_id: int, settings: Settings, config: Mapping[str, Any]) -> None:
        self.position = 0
        self._database = weakref.ref(database)  # who keeps searches keeps them by their store
        self._sweep_id = sweep_id
        self._settings = settings
        self._key = _key(config)
        self._kept_position = 0
        self._rows: dict[str, sqlite3.Row] = {}
        self._news: dict[int, _News] = {}
        maximize = settings.metric is not None and settings.metric.maximize
        self._order = bands.Order(settings.early.rank, maximize) if settings.early else None

    def begin(self) -> None:
        """Go on where the sweep's search stood; from the beginning where it was another."""
        if not outcomes.is_of(self._read, self._sweep_id, self._key):
            self._store.write(lambda conn: outcomes.begin(conn, self._sweep_id, self._key))
        self.position = self._kept_position = outcomes.grid_position(self._read, self._sweep_id)

    def open_runs(self) -> Iterator[list[sqlite3.Row]]:
        """Pages of the rows of runs that are alive, or have changed since they ended."""
        return outcomes.open_runs(self._read, self._sweep_id)

    def follow(self, run_id: str, row: sqlite3.Row) -> None:
        """The engine's id of a run, and its row as it was seen last: the run's id is all that a new one must have."""
        self._rows[run_id] = row

    def adopt(self, run_id: str, row: sqlite3.Row, configuration: str) -> None:
        """A run that the engine had not proposed, or that had ended before, and what it tries."""
        self.follow(run_id, row)
        self._news.pop(row["id"], None)  # of a write that failed: all of it will be told again
        if row["configuration"] != configuration:
            self._of(run_id).joined = configuration
        if outcomes.has_outcome(self._read, row["id"]):
            self._of(run_id).reopened = True

    def keep(self) -> None:
        """Write down what is new."""
        if self._news:
            self._store.write(self._keep)
            self._news.clear()

    def reach(self, run_id: str, values: Mapping[int, float]) -> None:
        self._of(run_id).reached = values

    def end(self, run_id: str, outcome: Outcome) -> None:
        self._of(run_id).outcome = outcome
        del self._rows[run_id]

    def forget(self, run_id: str) -> None:
        row = self._rows.pop(run_id, None)  # one that was never made has none
        if row is not None:
            self._news.pop(row["id"], None)

    def tries(self, configuration: str) -> int:
        return outcomes.tries(self._read, self._sweep_id, configuration)

    def newest(self) -> Mapping[str, Any] | None:
        last = outcomes.latest(self._read, self._sweep_id, 1, unknown=True)
        return next(iter(outcomes.configurations(self._read, [key for key, _ in last]).values()), None)

    def ended(self) -> int:
        return outcomes.settled(self._read, self._sweep_id)

    def best(self) -> float | None:
        return outcomes.extreme(self._read, self._sweep_id, "best", self._maximizes)

    def worst(self) -> float | None:
        return outcomes.extreme(self._read, self._sweep_id, "worst", not self._maximizes)

    def worths(self, most: int) -> list[tuple[int, float | None]]:
        imputes = self._settings.metric is not None and self._settings.metric.impute == "worst"
        last = outcomes.latest(self._read, self._sweep_id, most + 1, imputes)
        if len(last) <= most:
            return last
        best = outcomes.best(self._read, self._sweep_id, most // 2, self._maximizes, imputes)
        return sorted({*best, *last[-(most // 2) :]}, key=lambda pair: pair[0])

    def configurations(self, keys: Collection[int]) -> dict[int, Mapping[str, Any]]:
        return dict(outcomes.configurations(self._read, keys))

    def threshold(self, band: int) -> float | None:
        return bands.threshold(self._read, self._sweep_id, band, self._order) if self._order else None

    def released(self) -> Iterator[Mapping[str, Any]]:
        return outcomes.released(self._read, self._sweep_id)

    @property
    def _store(self) -> Database:
        database = self._database()
        assert database is not None, "the store is gone"
        return database

    @property
    def _read(self) -> sqlite3.Connection:
        return self._store.read()

    @property
    def _maximizes(self) -> bool:
        return self._settings.metric is not None and self._settings.metric.maximize

    def _of(self, run_id: str) -> _News:
        row = self._rows[run_id]
        news = self._news.setdefault(row["id"], _News(row))
        news.seen = row
        return news

    def _keep(self, conn: sqlite3.Connection) -> None:
        if not outcomes.is_of(conn, self._sweep_id, self._key):
            return  # the sweep was edited meanwhile, or deleted: another search reads its runs anew
        for pk, news in self._news.items():
            row = conn.execute("SELECT sweep_id FROM runs WHERE id = ?", (pk,)).fetchone()
            if row is not None and row["sweep_id"] == self._sweep_id:
                self._keep_run(conn, pk, news)
        if self.position != self._kept_position:
            outcomes.set_grid_position(conn, self._sweep_id, self.position)
            self._kept_position = self.position

    def _keep_run(self, conn: sqlite3.Connection, pk: int, news: _News) -> None:
        if news.joined is not None:
            outcomes.join(conn, pk, news.joined)
        if news.reopened:
            outcomes.reopen(conn, pk)
        if news.reached is not None and self._order is not None:
            bands.keep(conn, pk, self._sweep_id, news.reached, self._order)
        if news.outcome is not None:
            told = news.outcome
            outcomes.settle(conn, pk, (told.best, told.worst, told.worth), news.seen)


def _key(config: Mapping[str, Any]) -> str:
    read = json.dumps([_VERSION, {name: config.get(name) for name in _READ}], sort_keys=True, default=str)
    return hashlib.sha256(read.encode()).hexdigest()
