"""What the search of a large sweep holds in memory, and what a heartbeat reads, do not grow with its runs."""

from __future__ import annotations

import gc
import json
import sqlite3
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sweepkit.backend import studies
from sweepkit.backend.scheduler import Scheduler
from sweepkit.backend.search import Settings
from sweepkit.backend.storage import agents, history, projects, runs, sweeps, trials
from sweepkit.backend.storage.database import Database
from sweepkit.space import canonical, parse

METRIC = {"name": "loss", "goal": "minimize", "target": -1.0}
SPACE = {"a": {"min": 0, "max": 999}, "b": {"min": 0, "max": 123}}  # 124,000
CONFIGS: dict[str, dict[str, Any]] = {
    "grid": {"method": "grid", "parameters": SPACE, "run_cap": 100_000},
    "random": {
        "method": "random",
        "parameters": SPACE,
        "metric": METRIC,
        "early_terminate": {"type": "hyperband", "min_iter": 1},
    },
    "bayes": {"method": "bayes", "parameters": SPACE, "metric": METRIC},
}
FEW, MANY = 2_000, 20_000


class Large:
    """A sweep with so many ended runs, and an agent that works on it."""

    def __init__(self, database: Database, config: dict[str, Any], ended: int) -> None:
        self.database = database

        def make(conn: sqlite3.Connection) -> tuple[int, int]:
            project = projects.ensure(conn, "e", f"p{ended}")["id"]
            sweep = sweeps.create(
                conn,
                project,
                user="e",
                config=json.dumps(config),
                method=config["method"],
                run_cap=config.get("run_cap"),
            )
            space = parse(config["parameters"])
            for n in range(ended):
                _ended_run(conn, sweep, n, space.configuration(space.grid_at(n)))
            return sweep["id"], agents.create(conn, sweep["id"], "host")["id"]

        self.pk, self.agent = database.write(make)
        self.studies = studies.Studies()
        self.scheduler = Scheduler(database, self.studies)

    @property
    def study(self) -> studies.Study:
        sweep = sweeps.by_id(self.database.read(), self.pk)
        assert sweep is not None
        return self.studies.of(sweep, self.database)

    def work(self) -> dict[str, Any]:
        """The agent is given a run, which logs two values; a heartbeat while it runs; and it ends."""
        (command,) = self.scheduler.heartbeat(self.agent, ())
        assert command["type"] == "run", command
        name = command["run_id"]
        self._change(name, lambda conn, run: _log(conn, run, [0.5, 0.4]))
        self.scheduler.heartbeat(self.agent, (name,))
        self._change(name, lambda conn, run: runs.update(conn, run["id"], state="finished"))
        arguments: dict[str, Any] = command["args"]
        return trials.plain(json.dumps(arguments))

    def _change(self, name: str, change: Callable[[sqlite3.Connection, sqlite3.Row], Any]) -> None:
        def write(conn: sqlite3.Connection) -> None:
            sweep = sweeps.by_id(conn, self.pk)
            assert sweep is not None
            run = runs.find(conn, sweep["project_id"], name)
            assert run is not None
            change(conn, run)

        self.database.write(write)


def _ended_run(conn: sqlite3.Connection, sweep: sqlite3.Row, n: int, config: dict[str, Any]) -> None:
    run = runs.create(
        conn, sweep["project_id"], f"r{n}", user="e", sweep_id=sweep["id"], state="pending", config=canonical(config)
    )
    insert = "INSERT INTO trials (run_id, sweep_id, configuration) VALUES (?, ?, ?)"
    conn.execute(insert, (run["id"], sweep["id"], canonical(config)))
    _log(conn, run, [n * 7919 % 10_007 / 10_007])
    runs.update(conn, run["id"], state="crashed" if n % 10 == 0 else "finished")


def _log(conn: sqlite3.Connection, run: sqlite3.Row, values: list[float]) -> None:
    lines = history.parse([json.dumps({"loss": value}) for value in values], run["history_lines"])
    runs.update(conn, run["id"], state="running", **history.add_history(conn, run, lines))


@pytest.fixture(scope="module", params=CONFIGS)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Large, Large]]:
    """A small and a large sweep, each with 50 runs more that its agent has worked on."""
    database = Database(tmp_path_factory.mktemp("large") / "store.sqlite3")
    small, large = (Large(database, CONFIGS[request.param], ended) for ended in (FEW, MANY))
    tried = [[canonical(sweep.work()) for _ in range(50)] for sweep in (small, large)]
    assert all(len(set(configs)) == 50 for configs in tried)
    yield small, large
    database.close()


def test_what_is_held_in_memory_does_not_grow(both: tuple[Large, Large]) -> None:
    small, large = (_held(sweep.study) for sweep in both)
    # Bayes holds the best and the latest 500, which are seldom the same ones where there are many.
    assert large < small * 1.3, f"{small} bytes with {FEW} ended runs, {large} with {MANY}"
    assert large < 400_000


def test_what_a_heartbeat_reads_does_not_grow(both: tuple[Large, Large]) -> None:
    small, large = (_steps(sweep) for sweep in both)
    assert large < small * 1.1 + 100, f"{small} steps with {FEW} ended runs, {large} with {MANY}"


def _held(study: studies.Study) -> int:
    """Bytes of all that a study refers to, but for code and for what the configuration says."""
    gc.collect()
    seen: dict[int, Any] = {}
    found = [study]
    while found:
        one = found.pop()
        if id(one) in seen or isinstance(one, (type, types.ModuleType, types.FunctionType, Database, Settings)):
            continue
        seen[id(one)] = one
        found += gc.get_referents(one)
    return sum(map(sys.getsizeof, seen.values()))


def _steps(sweep: Large) -> int:
    """SQLite's steps, in tens, of the heartbeats of an agent that gets a run, works on it, and ends it."""
    steps = [0]
    connections = [sweep.database.read(), sweep.database._connection]
    for connection in connections:
        connection.set_progress_handler(lambda: steps.__setitem__(0, steps[0] + 1), 10)
    for _ in range(5):
        sweep.work()
    for connection in connections:
        connection.set_progress_handler(None, 0)
    return steps[0]
