"""The best run of a sweep: by the best value of the sweep's metric over each run's history."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import SweepkitError, UsageError
from .metric import Metric, metric_in, metrics_in

if TYPE_CHECKING:
    from .wandb_api import Run, Sweep, SweepRef, WandbApi

MAXIMIZE = "maximize"


@dataclass(frozen=True)
class Best:
    """A run with its best value of the metric; ``step`` is None where only the run's summary knows the value."""

    run: Run
    value: float
    step: int | None

    def record(self, metric: Metric, url: str) -> dict[str, Any]:
        """The documented keys of the best run."""
        return {
            "id": self.run.id,
            "path": self.run.path,
            "name": self.run.name,
            "state": self.run.state,
            "metric": metric.name,
            "goal": metric.goal,
            "value": self.value,
            "step": self.step,
            "config": self.run.config,
            "url": url,
        }


def metric_of(sweep: Sweep) -> Metric:
    """The sweep's metric.

    Raises:
        UsageError: the sweep has no metric (a grid or random search may leave it out), or several.
    """
    found = metric_in(sweep.config)
    if len(several := metrics_in(sweep.config)) > 1:
        raise UsageError(
            f"sweep {sweep.ref.path} has several metrics ({', '.join(each.name for each in several)}), so there is "
            "no single best run",
            f"`sweepkit best {sweep.ref.id}` lists the runs of the front; name one of them",
        )
    if found is None:
        raise UsageError(
            f"sweep {sweep.ref.path} has no metric, so there is no best run",
            "add `metric: {name: ..., goal: maximize}` to its YAML and create it again",
        )
    return found


def better(value: float, than: float, metric: Metric) -> bool:
    """Whether ``value`` is strictly better, so that the earlier one keeps a tie."""
    return value > than if metric.goal == MAXIMIZE else value < than


def best(api: WandbApi, ref: SweepRef) -> Best:
    """The best finished run.

    Ties go to the run that was created earlier, and within a run to the earlier step; NaN and infinities never win.

    Raises:
        SweepkitError: no run is finished, or none logged the metric; the message names what was logged.
        UsageError: the sweep has no metric.
    """
    sweep = api.sweep(ref)
    metric = metric_of(sweep)
    runs = api.runs(ref)
    finished = [run for run in runs if run.state == "finished"]
    found = winner(values(api, finished, metric), metric)
    if found is None:
        raise nothing(ref, metric, runs)
    return found


def nothing(ref: SweepRef, metric: Metric, runs: Sequence[Run]) -> SweepkitError:
    """Why there is no best run among ``runs``, and what to do."""
    finished = [run for run in runs if run.state == "finished"]
    if not runs:
        return SweepkitError(f"sweep {ref.path} has no runs yet", f"start them with `sweepkit agents {ref.id}`")
    if not finished:
        states = ", ".join(f"{count} {state}" for state, count in counts(runs).items())
        hint = f"see them with `sweepkit status {ref.id}`; a run that failed keeps its last lines in its log"
        return SweepkitError(f"no run of sweep {ref.path} has finished ({states})", hint)
    if any(metric.name in run.summary for run in finished):
        what = "is no finite number in any finished run"
        return SweepkitError(f"the metric {metric.name!r} {what} of sweep {ref.path}", "check what the program logs")
    names = ", ".join(logged(finished)) or "nothing"
    return SweepkitError(
        f"the metric {metric.name!r} was never logged by the runs of sweep {ref.path}; they logged: {names}",
        "set metric.name in the YAML to one of these, or log it with wandb.log in the program",
    )


def values(api: WandbApi, runs: Sequence[Run], metric: Metric) -> list[Best]:
    """The best value of each run that has one, in the order of ``runs``."""
    found = zip(runs, api.values(runs, metric.name), strict=True)
    return [best for run, history in found if (best := best_in(run, history, metric)) is not None]


def winner(candidates: Iterable[Best], metric: Metric) -> Best | None:
    """The best of ``candidates``, which are in the order of the runs' creation."""
    leader: Best | None = None
    for candidate in candidates:
        if leader is None or better(candidate.value, leader.value, metric):
            leader = candidate
    return leader


def best_in(run: Run, history: Iterable[Mapping[str, Any]], metric: Metric) -> Best | None:
    """The best finite value of ``history`` (rows in the order of their steps), or the summary's if it has none."""
    leader: Best | None = None
    for row in history:
        value = finite(at(row, metric.name))
        if value is not None and (leader is None or better(value, leader.value, metric)):
            leader = Best(run, value, row["_step"])
    if leader is None and (value := in_summary(run.summary, metric)) is not None:
        leader = Best(run, value, None)
    return leader


def at(values: Any, name: str) -> Any:
    """The value of a dotted name in nested ``values``; the name may also be a key as it stands. None if not there."""
    if isinstance(values, Mapping) and name in values:
        return values[name]
    head, dot, rest = name.partition(".")
    return at(values[head], rest) if dot and isinstance(values, Mapping) and head in values else None


def finite(value: Any) -> float | None:
    """``value`` if it is a finite number; a boolean is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return value


def logged(runs: Sequence[Run]) -> list[str]:
    """The numbers that ``runs`` have in their summaries, by name."""
    return sorted({name for run in runs for name, value in run.summary.items() if _is_metric(name, value)})


def counts(runs: Iterable[Run]) -> dict[str, int]:
    """How many runs are in which state."""
    states = [run.state for run in runs]
    return {state: states.count(state) for state in sorted(set(states))}


def _is_metric(name: str, value: Any) -> bool:
    return not name.startswith("_") and isinstance(value, (int, float)) and not isinstance(value, bool)


def in_summary(summary: Mapping[str, Any], metric: Metric) -> float | None:
    """The summary's value: under the metric's name, or below it where ``define_metric(summary="min")`` asked for it."""
    value = at(summary, metric.name)
    if isinstance(value, Mapping):
        wanted = "max" if metric.goal == MAXIMIZE else "min"
        value = next((value[key] for key in (wanted, "best", "last") if key in value), None)
    return finite(value)
