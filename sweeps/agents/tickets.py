"""Tickets: trials that are to be started (again) by whichever slot of a command has the time.

A trial that is tried again keeps its lease: the agent that it was given to goes on saying that it lives, whichever slot
takes it up. So a *ticket* carries the agent's id along, and the backend gives the trial to nobody else meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...errors import SweepkitError
from ..wandb_api import WandbApi
from .leases import LEAVING

if TYPE_CHECKING:
    from .crew import Crew

OFFER = 60.0  # seconds for which a trial that failed on a doubtful slot is offered to others before that slot has it


@dataclass
class Ticket:
    """A trial to be started (again) here: W&B's command for it, and the agent that has its lease, if one has.

    ``avoid`` is the label of a slot that had better not have it.
    """

    command: Mapping[str, Any]
    agent: str | None = None
    avoid: str | None = None
    is_first: bool = True  # it has not been tried here yet
    since: float = field(default_factory=time.monotonic)

    def suits(self, label: str, alone: bool) -> bool:
        """Whether the slot ``label`` may have it now; ``alone`` there is no other."""
        return self.avoid != label or alone or time.monotonic() > self.since + OFFER

    @property
    def run_id(self) -> str:
        return str(self.command["run_id"])


def keep_leases(crew: Crew, api: WandbApi) -> None:
    """Say for every trial that waits to be tried again that it lives; one that the backend takes back is dropped."""
    for ticket in list(crew.tickets):
        if ticket.agent is None:
            continue
        states = crew.leases.states(ticket.agent)
        try:
            commands = api.heartbeat(ticket.agent, states or {ticket.run_id: True})
        except SweepkitError:
            continue  # the workers tell people about a backend that is away
        crew.leases.told(ticket.agent, states)
        stopped = any(each.get("type") == "stop" and each.get("run_id") == ticket.run_id for each in commands)
        if stopped and ticket in crew.tickets:  # else a slot has taken it up meanwhile, and hears it too
            crew.drop(ticket, "stopped")


def release(crew: Crew, api: WandbApi) -> None:
    """At the end: say of all trials that nobody has spoken for yet that they ended, so that nobody waits for them."""
    for agent in crew.leases.agents_with_news():
        with suppress(SweepkitError):
            api.heartbeat(agent, {**crew.leases.states(agent), LEAVING: True})
