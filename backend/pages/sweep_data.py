"""What the pages show of sweeps, read from the store."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ... import figures
from ..search import settings
from ..search.metric import Metric
from ..storage import sweeps as stored_sweeps
from . import data, early_stopping, sweep_front
from .data import Rows, Run
from .early_stopping import EarlyStopping
from .sweep_front import Front

ENDED = ("finished", "failed", "crashed", "killed")


@dataclass(frozen=True)
class Sweep:
    """A sweep with its runs. ``best`` is the best finished run with its value, ``parameters`` the searched ones.

    With several metrics there is a ``front`` instead.
    """

    name: str
    title: str
    state: str
    method: str
    metric: Metric | None
    parameters: Sequence[str]
    expected: int | None
    runs: Sequence[Run]
    values: Mapping[str, float]
    best: Run | None
    early: EarlyStopping | None
    front: Front | None
    row: sqlite3.Row

    @property
    def goal(self) -> str:
        return "maximize" if self.metric and self.metric.maximize else "minimize"

    @property
    def ended(self) -> int:
        """How many runs are over."""
        return sum(run.state in ENDED for run in self.runs)

    @property
    def counts(self) -> dict[str, int]:
        """How many runs are in which state."""
        states = [run.state for run in self.runs]
        return {state: states.count(state) for state in sorted(set(states))}

    @property
    def live(self) -> bool:
        return self.state in ("PENDING", "RUNNING") or any(run.live for run in self.runs)

    def trials(self) -> list[dict[str, Any]]:
        """The runs as rows for figures: name, searched parameters, best value of the metric."""
        key = self.metric.name if self.metric else ""
        return [
            {
                **{parameter: run.config.get(parameter) for parameter in self.parameters},
                key: self.values.get(run.name),
                "name": run.display_name,
            }
            for run in self.runs
        ]


def sweep(rows: Rows, row: sqlite3.Row) -> Sweep:
    """A sweep of the store with all that its page needs."""
    config, asked = _settings(row["config"])
    runs = data.sweep_runs(rows, row["id"])
    metric = asked.metric if asked else None
    values = {run.name: data.best_value(rows, run, metric) for run in runs} if metric else {}
    finite = {name: value for name, value in values.items() if value is not None}
    title = row["display_name"] or config.get("name") or row["name"]
    return Sweep(
        name=row["name"],
        title=figures.text_of(title),
        state=stored_sweeps.state(rows, row),
        method=row["method"],
        metric=metric,
        parameters=(_searched(asked) if asked else []) or _differing(runs),
        expected=stored_sweeps.expected(rows, row, asked.expected_runs) if asked else row["run_cap"],
        runs=runs,
        values=finite,
        best=best(runs, finite, metric),
        early=early_stopping.shown(rows, row["id"], asked),
        front=sweep_front.front(config, runs),
        row=row,
    )


def best(runs: Sequence[Run], values: Mapping[str, float], metric: Metric | None) -> Run | None:
    """The finished run with the best value; of equal ones the earlier."""
    finished = [run for run in runs if run.state == "finished" and run.name in values]
    if metric is None or not finished:
        return None
    sign = -1 if metric.maximize else 1
    return min(finished, key=lambda run: sign * values[run.name])


def _settings(text: str) -> tuple[dict[str, Any], settings.Settings | None]:
    """The configuration and what it asks; one that cannot be read is still shown, as text."""
    try:
        config = settings.load(text)
    except settings.SettingsError:
        return {}, None
    try:
        return config, settings.read(config)
    except settings.SettingsError:
        return config, None


def _differing(runs: Sequence[Run]) -> list[str]:
    """The parameters that are not the same in all runs: those of a search that alone knows its space."""
    names = {name: None for run in runs for name in run.config if not name.startswith("_")}
    return [name for name in names if len({repr(run.config.get(name)) for run in runs}) > 1]


def _searched(asked: settings.Settings) -> list[str]:
    return [parameter.name for parameter in asked.space.parameters if parameter.size() != 1]
