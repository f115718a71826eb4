"""What a campaign left: every configuration finished exactly once, histories whole, nothing held, nothing alive."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from sweepkit.backend.storage import sweeps
from trial import ROWS, chain, row


def opened(home: Path) -> sqlite3.Connection:
    conn = sqlite3.connect(f"file:{home / 'store.sqlite3'}?mode=ro", uri=True)
    conn.row_factory = sqlite3.Row
    return conn


def of_store(home: Path, number: int) -> dict[str, Any]:
    """Figures, and in ``wrong`` a sentence for each thing that is not as it must be."""
    with closing(opened(home)) as conn:
        runs = conn.execute("SELECT runs.*, trials.configuration, trials.holder, trials.attempts FROM runs"
                            " LEFT JOIN trials ON trials.run_id = runs.id").fetchall()  # fmt: skip
        wrong = [*_checks(conn), *_configurations(runs, number), *_sweep(conn, runs)]
        histories = {run["name"]: [*_history(conn, run)] for run in runs if run["state"] == "finished"}
        return {
            "finished": sum(run["state"] == "finished" for run in runs),
            "lost": number - len({run["configuration"] for run in runs if run["state"] == "finished"}),
            "doubled": len(runs) - len({run["configuration"] for run in runs}),
            "bad_histories": sum(bool(found) for found in histories.values()),
            "handed_out_again": sum(max(0, (run["attempts"] or 1) - 1) for run in runs),
            "states": dict(Counter(run["state"] for run in runs)),
            "wrong": [*wrong, *(text for found in histories.values() for text in found)],
        }


def _checks(conn: sqlite3.Connection) -> Iterator[str]:
    for check in ("integrity_check", "foreign_key_check"):
        found = [tuple(line) for line in conn.execute(f"PRAGMA {check}")]
        if found not in ([], [("ok",)]):
            yield f"{check}: {found[:5]}"


def _configurations(runs: list[sqlite3.Row], number: int) -> Iterator[str]:
    """One run a grid point, finished, with the configuration that it was handed out with."""
    times = Counter(json.loads(run["configuration"] or '{"number": null}')["number"] for run in runs)
    for point in range(number):
        if times[point] != 1:
            yield f"configuration {point} has {times[point]} runs"
    for run in runs:
        told = json.loads(run["config"]).get("number", {}).get("value")
        if run["configuration"] and told != json.loads(run["configuration"])["number"]:
            yield f"run {run['name']} says that it has configuration {told}, not {run['configuration']}"
        if run["state"] != "finished":
            yield f"run {run['name']} is {run['state']} after {run['attempts']} leases ({run['notes']})"


def _history(conn: sqlite3.Connection, run: sqlite3.Row) -> Iterator[str]:
    """Each step once, none missing, every value as the program computes it."""
    number = json.loads(run["configuration"])["number"]
    found = [json.loads(text) for (text,) in conn.execute(
        "SELECT row FROM history WHERE run_id = ? ORDER BY line", (run["id"],))]  # fmt: skip
    steps = [line["_step"] for line in found]
    if steps != list(range(ROWS)):
        yield f"run {run['name']} (configuration {number}) has the steps {steps}"
        return
    state = ""
    for step, line in enumerate(found):
        state = chain(number, step, state)
        wanted = row(number, step, state)
        if {key: line.get(key) for key in wanted} != wanted:
            yield f"run {run['name']} (configuration {number}) has a wrong step {step}: {line}"
    if json.loads(run["summary"]).get("state") != state:
        yield f"run {run['name']} (configuration {number}) ends with a wrong summary"


def _sweep(conn: sqlite3.Connection, runs: list[sqlite3.Row]) -> Iterator[str]:
    if state(conn) != "FINISHED":
        yield f"the sweep is {state(conn)}"
    yield from (f"run {run['name']} is still held by agent {run['holder']}" for run in runs if run["holder"])


def state(conn: sqlite3.Connection) -> str:
    """The state of the campaign's sweep, as its users are told it."""
    row = conn.execute("SELECT * FROM sweeps").fetchone()
    return sweeps.state(conn, row)
