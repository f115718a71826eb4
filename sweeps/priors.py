"""Prior runs: runs from before a sweep that its search learns from, found and looked at before the sweep is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from ..errors import SweepkitError, UsageError
from ..output import message
from . import best
from .finding import find_run

if TYPE_CHECKING:
    from ..space import Space
    from .metric import Metric
    from .spec import Spec
    from .wandb_api import Run, SweepRef, WandbApi

OVER = ("finished", "failed", "crashed", "killed")


@dataclass(frozen=True)
class _Asked:
    """What one ``--prior`` names: a run, or the runs of a sweep, of which those that do not serve are left out."""

    text: str
    runs: tuple[Run, ...]
    is_sweep: bool


def find(api: WandbApi, spec: Spec, project: str, texts: Sequence[str]) -> list[Run]:
    """The runs that ``texts`` name, each once. A sweep (``entity/project/sweeps/ID``) stands for its finished runs.

    A run without the project is looked for in ``project`` first.

    Raises:
        UsageError: a run or sweep does not exist, a run is not over, has not logged the metric or does not fit the
            space, nothing of a sweep serves, or the search does not learn.
    """
    if not texts:
        return []
    if spec.method in ("grid", "random"):
        raise UsageError(
            f"{spec.path}: prior runs are for a search that learns, and {spec.method} does not", "write `method: bayes`"
        )
    found: dict[str, Run] = {}
    for text in texts:
        asked = _asked(api, project, text)
        serving, reasons = _serving(api, asked, spec.space, spec.metric)
        if reasons and not (serving and asked.is_sweep):
            raise UsageError(f"--prior {text}: {reasons[0]}", _hint(asked, spec))
        if reasons:
            message(f"note: {len(reasons)} of {len(asked.runs)} finished runs of {text} are left out: {reasons[0]}")
        found |= {run.path: run for run in serving}
    return list(found.values())


def names(runs: Sequence[Run], entity: str, project: str) -> list[str]:
    """What a sweep of ``project`` calls them: W&B knows its own project's runs by their ids; the others by paths."""
    return [run.id if (run.entity, run.project) == (entity, project) else run.path for run in runs]


def check_taken(api: WandbApi, ref: SweepRef, runs: Sequence[Run]) -> None:
    """Say which runs the backend has passed over: W&B's servers know those of the sweep's own project only.

    The sweep is there by now, so nothing is raised where the backend does not tell.
    """
    if not runs:
        return
    try:
        taken = api.prior_runs(ref)
    except SweepkitError as error:
        message(f"warning: it is not known whether the prior runs were taken: {error.message}")
        return
    missing = [run.path for run in runs if run.id not in taken]
    if missing:
        message(
            f"warning: {api.backend.url} passes over {len(missing)} of {len(runs)} prior runs, as W&B's servers do "
            f"with those of other projects: {', '.join(missing[:3])}{', ...' * (len(missing) > 3)}"
        )


def _asked(api: WandbApi, project: str, text: str) -> _Asked:
    from .wandb_api import NotFound

    parts = text.rstrip("/").split("/")
    if len(parts) > 2 and parts[-2] == "sweeps":
        return _of_sweep(api, text, text if "://" in text else "/".join([*parts[:-2], parts[-1]]))
    try:
        return _Asked(text, (_run(api, project, text),), is_sweep=False)
    except UsageError as missing:
        try:
            return _of_sweep(api, text, text)
        except NotFound:
            raise missing from None


def _run(api: WandbApi, project: str, text: str) -> Run:
    from .wandb_api import NotFound

    if "/" not in text:
        try:
            return api.run(f"{project}/{text}")
        except NotFound:
            pass
    return find_run(api, text)


def _of_sweep(api: WandbApi, text: str, name: str) -> _Asked:
    runs = tuple(run for run in api.runs(api.find_sweep(name)) if run.state == "finished")
    if not runs:
        raise UsageError(f"--prior {text}: no run of this sweep has finished", "see it with `sweepkit status`")
    return _Asked(text, runs, is_sweep=True)


def _serving(api: WandbApi, asked: _Asked, space: Space, metric: Metric | None) -> tuple[list[Run], list[str]]:
    """The runs that a search over ``space`` can learn from, and why each of the others does not serve."""
    serving, reasons = [], []
    logged = _with_metric(api, asked.runs, metric)
    for run in asked.runs:
        reason = None if run.state in OVER else f"run {run.id} is {run.state}; wait until it has ended"
        reason = reason or misfit(run, space)
        if reason is None and metric is not None and run.path not in logged:
            values = ", ".join(best.logged([run])) or "nothing"
            reason = f"run {run.id} has no value of the metric {metric.name}; it logged: {values}"
        if reason is None:
            serving.append(run)
        else:
            reasons.append(reason)
    return serving, reasons


def _with_metric(api: WandbApi, runs: Sequence[Run], metric: Metric | None) -> set[str]:
    if metric is None:
        return set()
    found: set[str] = set()
    for _, some in groupby(runs, key=lambda run: (run.entity, run.project)):
        found |= {each.run.path for each in best.values(api, list(some), metric)}
    return found


def misfit(run: Run, space: Space) -> str | None:
    """Why a search over ``space`` cannot learn from a run; None where it can. What the space holds fast may differ."""
    flat = space.flat(run.config)
    for parameter in space.parameters:
        if parameter.size() == 1:
            continue
        if parameter.name not in flat:
            return f"run {run.id} does not fit the space: it has no {parameter.name}"
        if not parameter.holds(flat[parameter.name]):
            value = str(flat[parameter.name])[:40]
            return f"run {run.id} does not fit the space: its {parameter.name} is {value}, which is not in it"
    return None


def _hint(asked: _Asked, spec: Spec) -> str:
    if asked.is_sweep:
        return f"no finished run of it serves; a prior run has the parameters of {spec.path} and its metric"
    return f"a prior run is over, has a value of each parameter that {spec.path} searches, and its metric"
