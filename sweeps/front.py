"""The best runs of a sweep with several metrics: its front, the runs that no other run beats.

A run is judged by its summary, where all values are of one moment, and by which W&B's engines judge it
(`wandb/sdk/sweeps/scheduler/optimizer.py`, ``objective_values``): the best values on the way may never have met.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import SweepkitError
from ..pareto import fronts
from .best import MAXIMIZE, counts, in_summary, logged
from .metric import Metric, metrics_in

if TYPE_CHECKING:
    from .backends import Backend
    from .wandb_api import Run, Sweep, WandbApi


@dataclass(frozen=True)
class Judged:
    """A run with its value of each metric; ``front`` counts from 1, the front of all runs."""

    run: Run
    values: tuple[float, ...]
    front: int

    def record(self, metrics: Sequence[Metric], backend: Backend) -> dict[str, Any]:
        """The documented keys of a run of the front."""
        return {
            "id": self.run.id,
            "path": self.run.path,
            "name": self.run.name,
            "state": self.run.state,
            "values": dict(zip((metric.name for metric in metrics), self.values, strict=True)),
            "goals": {metric.name: metric.goal for metric in metrics},
            "config": self.run.config,
            "url": self.run.url(backend),
        }


def has_front(sweep: Sweep) -> bool:
    """Whether the sweep has several metrics, and so a front rather than one best run."""
    return len(metrics_in(sweep.config)) > 1


def front(api: WandbApi, sweep: Sweep) -> list[Judged]:
    """The runs of the front, by the first metric; of equal ones the earlier first.

    Raises SweepkitError when no run is finished, or none has a finite value of every metric.
    """
    metrics, runs = metrics_in(sweep.config), api.runs(sweep.ref)
    found = on_front(judged(runs, metrics), metrics)
    if not found:
        raise _nothing(sweep, metrics, runs)
    return found


def judged(runs: Sequence[Run], metrics: Sequence[Metric]) -> list[Judged]:
    """The finished ``runs`` that have a finite value of every metric, in their order."""
    values = [(run, tuple(in_summary(run.summary, metric) for metric in metrics)) for run in runs]
    whole = [(run, found) for run, found in values if run.state == "finished" and None not in found]
    points = [[value for value in found if value is not None] for _, found in whole]
    numbers = fronts(points, [metric.goal == MAXIMIZE for metric in metrics])
    return [Judged(run, tuple(p), n) for (run, _), p, n in zip(whole, points, numbers, strict=True)]


def on_front(runs: Sequence[Judged], metrics: Sequence[Metric]) -> list[Judged]:
    sign = -1 if metrics and metrics[0].goal == MAXIMIZE else 1
    return sorted((each for each in runs if each.front == 1), key=lambda each: sign * each.values[0])


def columns(metrics: Sequence[Metric]) -> dict[str, str]:
    """What a terminal shows of ``shown``."""
    return {"name": "run", "id": "id", **{f"values.{each.name}": each.name for each in metrics}, "config": "config"}


def shown(runs: Sequence[Judged], metrics: Sequence[Metric], backend: Backend) -> list[dict[str, Any]]:
    """The records of ``runs``, flat, as a person reads them."""
    records = [run.record(metrics, backend) for run in runs]
    return [{**record, **{f"values.{name}": value for name, value in record["values"].items()}} for record in records]


def _nothing(sweep: Sweep, metrics: Sequence[Metric], runs: Sequence[Run]) -> SweepkitError:
    """Why there is no front, and what to do."""
    finished = [run for run in runs if run.state == "finished"]
    if not runs:
        return SweepkitError(f"sweep {sweep.ref.path} has no runs yet", f"start them: `sweepkit agents {sweep.ref.id}`")
    if not finished:
        states = ", ".join(f"{count} {state}" for state, count in counts(runs).items())
        return SweepkitError(f"no run of sweep {sweep.ref.path} has finished ({states})")
    names = ", ".join(metric.name for metric in metrics)
    return SweepkitError(
        f"no finished run of sweep {sweep.ref.path} has a finite value of every metric ({names}) at its end; "
        f"they logged: {', '.join(logged(finished)) or 'nothing'}",
        "log all metrics of the YAML with the last step of the program",
    )
