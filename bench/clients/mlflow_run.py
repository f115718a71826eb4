"""Rows through MLflow's client for a while: a request a row (``log_metrics``), or 200 rows (``log_batch``)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import turn
from mlflow import MlflowClient
from mlflow.entities import Metric

BATCH = 200  # rows of five metrics: MLflow takes at most 1,000 metrics a request


def prepare(url: str, way: str, seconds: float, threads: int) -> Callable[[], int]:
    client = MlflowClient(tracking_uri=url)
    runs = [client.create_run("0").info.run_id for _ in range(threads)]
    counts = [0] * threads

    def log(thread: int, until: float) -> None:
        while time.monotonic() < until:
            counts[thread] += _step(client, runs[thread], counts[thread], way)

    def work() -> int:
        until = time.monotonic() + seconds
        workers = [threading.Thread(target=log, args=(n, until)) for n in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return sum(counts)

    return work


def _step(client: MlflowClient, run: str, row: int, way: str) -> int:
    if way == "log_metrics":
        _log_metrics(client, run, row)
        return 1
    now = int(time.time() * 1000)
    rows = range(row, row + BATCH)
    client.log_batch(run, [Metric(key, value, now, n) for n in rows for key, value in turn.metrics(n).items()])
    return BATCH


def _log_metrics(client: MlflowClient, run: str, row: int) -> None:
    """What ``mlflow.log_metrics`` does: one request with the metrics of a step."""
    now = int(time.time() * 1000)
    client.log_batch(run, [Metric(key, value, now, row) for key, value in turn.metrics(row).items()])


if __name__ == "__main__":
    turn.take(prepare)
