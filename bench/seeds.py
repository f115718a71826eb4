"""Stores that are filled before the servers are asked: 10,000 runs to choose from, and a run of a million rows.

Both are written straight into the stores, with the same values: making them through the clients would take hours with
MLflow, and how fast rows come in is measured elsewhere.
"""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import agents
from sweepkit.backend import process
from sweepkit.backend.storage import history, projects, runs, sweeps, trials, users
from sweepkit.backend.storage.database import Database

_CHUNK = 10_000


def drawn(count: int) -> Iterator[tuple[str, dict[str, Any], dict[str, float]]]:
    """Name, parameters and last metrics of runs: the same ones for each server."""
    source = random.Random(7)
    for n in range(count):
        config = {f"p{i}": source.random() for i in range(8)}
        config |= {"optimizer": source.choice(["adam", "sgd"]), "depth": source.randint(1, 9)}
        yield f"run{n:05}", config, {key: source.random() for key in ("loss", "accuracy", "lr", "grad_norm", "epoch")}


def fill_sweepkit(folder: Path, count: int, rows: int) -> None:
    """Project ``many`` with ``count`` runs; project ``long`` with two runs of ``rows`` rows.

    All rows of the run ``sampled`` have the same keys; in ``sampled_mixed`` a validation comes every tenth row, alone.
    """
    with _store(folder) as (store, name):
        store.write(lambda conn: _many(conn, name, count))
        for run, every in (("sampled", 0), ("sampled_mixed", 10)):
            pk = store.write(lambda conn, run=run: _run(conn, name, "long", run))
            for first in range(0, rows, _CHUNK):
                texts = [_line(n, every) for n in range(first, min(rows, first + _CHUNK))]
                store.write(lambda conn, pk=pk, texts=texts, first=first: _stream(conn, pk, texts, first))


@contextmanager
def _store(folder: Path) -> Iterator[tuple[Database, str]]:
    """The store that a server will find in ``folder``, and its owner's name."""
    folder.mkdir(parents=True, exist_ok=True)
    name, key = process.account(folder)
    store = Database(folder / "store.sqlite3")
    store.write(lambda conn: users.ensure(conn, name, key))
    yield store, name
    store.close()


def _run(conn: sqlite3.Connection, user: str, project: str, name: str, **columns: Any) -> int:
    pk = projects.ensure(conn, user, project)["id"]
    return int(runs.create(conn, pk, name, user=user, state="finished", **columns)["id"])


def _many(conn: sqlite3.Connection, user: str, count: int) -> None:
    for name, config, metrics in drawn(count):
        wrapped = {key: {"value": value} for key, value in config.items()}
        _run(conn, user, "many", name, config=json.dumps(wrapped), summary=json.dumps(metrics))


def _stream(conn: sqlite3.Connection, pk: int, texts: list[str], first: int) -> None:
    run = runs.by_id(conn, pk)
    assert run is not None
    runs.update(conn, pk, **history.add_history(conn, run, history.parse(texts, first)))


def _line(n: int, every: int) -> str:
    stamp = f'"_step": {n}, "_runtime": {n / 100}, "_timestamp": {1.7e9 + n / 100}'
    if every and n % every == every - 1:
        return f'{{"val_loss": {1 / (n + 1)}, "val_accuracy": {1 - 1 / (n + 2)}, {stamp}}}'
    return f'{{"loss": {1 / (n + 1)}, "accuracy": {1 - 1 / (n + 2)}, "lr": 0.001, "epoch": {n // 1000}, {stamp}}}'


def fill_sweep(folder: Path, count: int) -> None:
    """A sweep with ``count`` finished runs of 20 rows each."""
    with _store(folder) as (store, name):
        store.write(lambda conn: _sweep(conn, name, count))


def _sweep(conn: sqlite3.Connection, user: str, count: int) -> None:
    project = projects.ensure(conn, user, agents.PROJECT)["id"]
    sweep = sweeps.create(conn, project, user=user, config=agents.CONFIG, method="random")
    texts = [json.dumps({"loss": 1 / (n + 1), "_step": n}) for n in range(20)]
    for n in range(count):
        run = trials.enqueue(conn, sweep, {"x": n / count}, f"trial-{n}")
        assert run is not None
        columns = history.add_history(conn, run, history.parse(texts, 0))
        runs.update(conn, run["id"], state="finished", summary=texts[-1], **columns)


def fill_mlflow(database: Path, count: int, rows: int) -> None:
    """The same runs in MLflow's experiment 0, and the run ``long`` with ``rows`` values of ``loss``.

    MLflow keeps one row a metric: only the one that is asked for is written. Its server must have made the tables.
    """
    with sqlite3.connect(database, timeout=60) as conn:
        for name, config, metrics in drawn(count):
            _mlflow_run(conn, name)
            conn.executemany(
                "INSERT INTO params (key, value, run_uuid) VALUES (?, ?, ?)",
                [(key, str(value), name) for key, value in config.items()],
            )
            for table in ("metrics", "latest_metrics"):
                conn.executemany(
                    f"INSERT INTO {table} (key, value, timestamp, run_uuid, step, is_nan) VALUES (?, ?, 0, ?, 0, 0)",
                    [(key, value, name) for key, value in metrics.items()],
                )
        _mlflow_run(conn, "long")
        conn.execute(
            "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ? - 1)"
            " INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan)"
            " SELECT 'loss', 1.0 / (i + 1), i * 10, 'long', i, 0 FROM n",
            (rows,),
        )


def _mlflow_run(conn: sqlite3.Connection, name: str) -> None:
    conn.execute(
        "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time,"
        " end_time, source_version, lifecycle_stage, artifact_uri, experiment_id)"
        " VALUES (?, ?, 'LOCAL', '', '', 'me', 'FINISHED', 0, 1, '', 'active', ?, 0)",
        (name, name, f"/tmp/none/{name}"),
    )
