"""The whole story in order: create the sweep, run its trials, choose, promote, compare."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import SweepkitError
from ..home import make_home
from ..output import message
from . import best as choosing
from . import front as fronts
from .agents.options import AgentOptions
from .compare import Comparison, compare, write_page
from .metric import metrics_in
from .promote import Promotion, promote_run

if TYPE_CHECKING:
    from .agents.devices import Slot
    from .best import Best
    from .metric import Metric
    from .spec import Spec
    from .wandb_api import SweepRef, WandbApi

PROJECT = "wandb_demo"
T = TypeVar("T")


@dataclass(frozen=True)
class Options:
    """What the user may choose about a run of a sweep."""

    agents: AgentOptions = AgentOptions()
    priors: tuple[str, ...] = ()  # runs that the search learns from
    count: int | None = None  # trials of this call; the sweep may have more
    promote: bool = True
    report: str | None = None
    html: Path | None = None


@dataclass
class Result:
    """What came of it, filled in as the story goes on. ``problems`` are told when they happen and set the exit code."""

    ref: SweepRef
    metric: Metric | None = None
    failed: int = 0
    interrupted: bool = False
    over: bool = False  # the sweep has no more trials
    best: Best | None = None
    front: list[dict[str, Any]] | None = None  # of a sweep with several metrics, in place of one best run
    promotion: Promotion | None = None
    comparison: Comparison | None = None
    page: Path | None = None
    problems: list[SweepkitError] = field(default_factory=list)

    @property
    def searched(self) -> tuple[str, ...]:
        return self.comparison.parameters if self.comparison else ()

    @property
    def exit_code(self) -> int:
        """0 all well, 1 some runs failed or a step did, 3 the backend was lost, 130 interrupted."""
        if self.interrupted:
            return 130
        lost = [problem.exit_code for problem in self.problems if problem.exit_code == 3]
        return 3 if lost else int(bool(self.failed or self.problems))

    def record(self, api: WandbApi) -> dict[str, Any]:
        """The documented keys of a run."""
        url = self.best.run.url(api.backend) if self.best else ""
        return {
            "id": self.ref.id,
            "path": self.ref.path,
            "url": self.ref.url(api.backend),
            "failed": self.failed,
            "interrupted": self.interrupted,
            "best": self.best.record(self.metric, url) if self.best and self.metric else None,
            **({} if self.front is None else {"front": self.front}),
            "promotion": self.promotion.record() if self.promotion else None,
            "comparison": self.comparison.records(api) if self.comparison else None,
            "html": str(self.page) if self.page else None,
            "problems": [problem.message for problem in self.problems],
        }


def prepare(
    name_or_path: str,
    constants: Mapping[str, Any] | None = None,
    trials: int | None = None,
    order: Mapping[str, Any] | None = None,
) -> Spec:
    """The sweep of that name or file with what of it is to be changed (see ``Spec.changed``), and its warnings said.

    Raises UsageError for a file that is not there or no valid sweep.
    """
    from .spec import load

    spec = load(name_or_path)
    for warning in spec.warnings:
        message(f"warning: {spec.path}:{warning.line}:{warning.column}: {warning.message}; {warning.fix}")
    if not constants and trials is None and not order:
        return spec
    known = [parameter.name for parameter in spec.space.parameters]
    for name in set(constants or ()) - set(known):
        message(f"note: {spec.path.name} has no parameter {name!r}; it is added")
    return spec.changed(dict(constants or {}), trials, order)


def project_of(spec: Spec, chosen: str | None) -> str:
    """The project: the one that is asked for, the sweep's own, WANDB_PROJECT, or the trainer's default."""
    import os

    return chosen or spec.project or os.environ.get("WANDB_PROJECT") or PROJECT


def create(api: WandbApi, spec: Spec, project: str | None, priors: Sequence[str] = ()) -> SweepRef:
    """Create the sweep on the backend; its search learns from the runs that ``priors`` name.

    Raises UsageError for a command that cannot start and for prior runs that do not serve, before anything is made.
    """
    import os

    from . import priors as before
    from .agents.command import check

    check(spec.config, os.environ)
    home = project_of(spec, project)
    runs = before.find(api, spec, home, priors)
    names = before.names(runs, spec.entity or api.entity, home) if runs else []
    ref = api.create_sweep(spec.config, home, spec.entity, names)
    before.check_taken(api, ref, runs)
    return ref


def run(api: WandbApi, spec: Spec, project: str | None, slots: list[Slot], options: Options) -> Result:
    """The story from a sweep to its promoted, compared winner. What fails after the trials is told and goes by."""
    from .agents.searcher import check

    if options.agents.search:
        check(spec.config)
    ref = create(api, spec, project, options.priors)
    message(f"sweep {ref.path} at {ref.url(api.backend)}")
    result = Result(ref, spec.metric)
    _trials(api, slots, options, result)
    metrics = metrics_in(spec.config)
    if not metrics:
        message("note: the sweep has no metric, so there is no best run to choose, promote and compare")
        return result
    if spec.metric is None:
        found = _attempt(result, lambda: fronts.front(api, api.sweep(ref))) or []
        result.front = [each.record(metrics, api.backend) for each in found]
        if found:
            message("note: the sweep has several metrics, so no one winner to promote; choose one of the front")
    else:
        result.best = _attempt(result, lambda: choosing.best(api, ref))
    if result.best and options.promote and not result.interrupted:
        winner = result.best.run
        message(f"promoting {winner.name} ({winner.id})")
        result.promotion = _attempt(result, lambda: promote_run(api.backend, winner, options.report))
    comparison = _attempt(result, lambda: compare(api, ref))
    if comparison:
        result.comparison = comparison
        file = options.html or make_home() / "reports" / f"{ref.id}.html"
        result.page = _attempt(result, lambda: write_page(api, comparison, file))
    return result


def _trials(api: WandbApi, slots: list[Slot], options: Options, result: Result) -> None:
    from .agents.pool import run_agents

    outcome = run_agents(api, result.ref, slots, options.agents, count=options.count)
    result.failed, result.interrupted = outcome.failed, outcome.interrupted
    with suppress(SweepkitError):  # the next step tells of a backend that went away
        result.over = api.sweep(result.ref).is_over


def _attempt(result: Result, step: Callable[[], T]) -> T | None:
    """What ``step`` gives; where it fails, the reason is said and the story goes on."""
    try:
        return step()
    except KeyboardInterrupt:
        result.interrupted = True
    except SweepkitError as error:
        if not result.interrupted or error.exit_code == 3:  # whoever interrupts knows that things are missing
            message(f"error: {error.message}" + (f"\n  {error.hint}" if error.hint else ""))
            result.problems.append(error)
    return None
