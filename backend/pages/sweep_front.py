"""The front of a sweep with several metrics: its finished runs that no other run beats, by their summaries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ... import figures
from ...pareto import fronts
from .data import Run

_PICTURED = 4  # metrics whose pairs are pictured


@dataclass(frozen=True)
class Front:
    """``goals``: the metrics, each with maximize or minimize. ``rows``: the runs that have a value of each, front 1
    first; each has its ``front``, ``name``, ``run`` and its values by the metrics' names."""

    goals: Mapping[str, str]
    rows: Sequence[dict[str, Any]]

    @property
    def leaders(self) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["front"] == 1]

    def pictures(self) -> list[figures.Figure]:
        """A figure of each two metrics."""
        names = list(self.goals)[:_PICTURED] if self.rows else []
        pairs = [(x, y) for n, x in enumerate(names) for y in names[n + 1 :]]
        joined = len(self.goals) == 2
        return [figures.front_figure(self.rows, x, y, (self.goals[x], self.goals[y]), joined) for x, y in pairs]


def front(config: Mapping[str, Any], runs: Sequence[Run]) -> Front | None:
    """The front of these runs; None for a sweep with one metric or none."""
    goals = _goals(config.get("metrics"))
    if len(goals) < 2:
        return None
    values = [(run, [_value(run, *goal) for goal in goals.items()]) for run in runs]
    whole = [(run, found) for run, found in values if run.state == "finished" and None not in found]
    points = [[value for value in found if value is not None] for _, found in whole]
    numbers = fronts(points, [goal == "maximize" for goal in goals.values()])
    rows = [
        {"front": n, "name": run.display_name, "run": run, **dict(zip(goals, point, strict=True))}
        for (run, _), point, n in zip(whole, points, numbers, strict=True)
    ]
    first, goal = next(iter(goals.items()))
    sign = -1 if goal == "maximize" else 1
    return Front(goals, sorted(rows, key=lambda row: (row["front"], sign * row[first])))


def _value(run: Run, name: str, goal: str) -> float | None:
    """The summary's value, or what `define_metric` made of it: its names are joined by dots here."""
    keys = (name, f"{name}.{goal[:3]}", f"{name}.best", f"{name}.last")
    found = (run.summary[key] for key in keys if key in run.summary)
    return next((float(value) for value in found if figures.is_number(value)), None)


def _goals(metrics: Any) -> dict[str, str]:
    entries = [entry for entry in metrics if isinstance(entry, Mapping)] if isinstance(metrics, list) else []
    named = [entry for entry in entries if isinstance(entry.get("name"), str)]
    return {entry["name"]: "maximize" if entry.get("goal") == "maximize" else "minimize" for entry in named}
