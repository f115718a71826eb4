"""Runs that failed, run again: same run id, same configuration, resumed from where they were.

It needs nothing of a backend but runs that can be resumed, so it works on W&B's servers too, and on a sweep that is
over. There is no lease for such a run: it is refused while it is alive, and looked at again just before it starts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..output import message
from .agents.options import AgentOptions
from .agents.pool import Outcome, run_agents
from .agents.tickets import Ticket

if TYPE_CHECKING:
    from .agents.devices import Slot
    from .wandb_api import Run, Sweep, SweepRef, WandbApi

STATES = ("failed", "crashed", "killed", "preempted")


def failed(api: WandbApi, ref: SweepRef) -> list[Run]:
    """The runs of a sweep that ended, and not well."""
    return [run for run in api.runs(ref) if run.state in STATES]


def named(api: WandbApi, names: Sequence[str]) -> tuple[SweepRef, list[Run]]:
    """The runs of these names, and the sweep of all of them.

    Raises UsageError for runs that are alive or have finished, that are of no sweep or of several, and NotFound.
    """
    runs = [api.run(name) for name in dict.fromkeys(names)]
    for run in runs:
        if run.state not in STATES:
            raise UsageError(f"run {run.id} {_cannot(run)}", f"runs that are {', '.join(STATES)} can be run again")
        if not run.sweep:
            raise UsageError(f"run {run.id} is of no sweep", "start its program again with WANDB_RESUME=allow")
    places = {(run.entity, run.project, run.sweep) for run in runs}
    if len(places) > 1:
        sweeps = ", ".join(sorted(str(sweep) for *_, sweep in places))
        raise UsageError(f"these runs are of several sweeps: {sweeps}", "give the runs of one sweep at a time")
    entity, project, sweep = places.pop()
    return api.find_sweep(f"{entity}/{project}/{sweep}"), runs


def _cannot(run: Run) -> str:
    return "has finished" if run.state == "finished" else f"is alive: it is {run.state}"


def retry(
    api: WandbApi, ref: SweepRef, runs: Sequence[Run], slots: Sequence[Slot], options: AgentOptions, quiet: bool = False
) -> Outcome:
    """Run ``runs`` of the sweep again on ``slots``; how they ended. Raises what ``run_agents`` raises."""
    if not runs:
        message(f"no run of sweep {ref.path} has failed")
        return Outcome(0, 0, 0, interrupted=False)
    sweep = api.sweep(ref)
    tickets = [Ticket({"type": "resume", "run_id": run.id, "args": arguments(sweep, run)}) for run in runs]
    return run_agents(api, ref, slots, options, quiet=quiet, tickets=tickets)


def arguments(sweep: Sweep, run: Run) -> Mapping[str, Any]:
    """The configuration that the run was given: what its program has added since is left out."""
    names = sweep.config.get("parameters") or run.config
    return {name: {"value": run.config[name]} for name in names if name in run.config}
