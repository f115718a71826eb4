"""What the workers of one command share: how trials ended, which are to be tried again, and which slots are out.

A trial that is to be tried again is a ticket (``tickets.py``).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...errors import SweepkitError, Unreachable
from ..backends import Backend
from ..wandb_api import Run, SweepRef
from . import breaker as guard
from .devices import Slot
from .launching import Launcher
from .leases import Leases
from .options import DEFAULTS, AgentOptions
from .outcomes import Ending
from .policy import retry_policy
from .tickets import Ticket
from .trial import Trial

if TYPE_CHECKING:
    from .packer import Packer
    from .view import View


@dataclass(frozen=True)
class Ended:
    """A try of a trial that is over. ``retry`` numbers the try that follows; 0 means that there is none here.

    ``left`` means that the next try is left to other agents: this one leaves.
    """

    trial: Trial
    ending: Ending
    run: Run | None = None
    retry: int = 0
    left: bool = False

    @property
    def kind(self) -> str:
        """finished, failed or stopped."""
        return "failed" if self.ending.failed else "finished" if self.ending.kind == "finished" else "stopped"

    @property
    def why(self) -> str:
        """A few words for people."""
        return self.ending.why


@dataclass
class Crew:
    """What the workers of one command share. Every change is made under ``lock``.

    Without ``leased`` no agent is registered and nothing but ``tickets`` is run.
    """

    ref: SweepRef
    config: Mapping[str, Any]
    backend: Backend
    view: View
    options: AgentOptions = DEFAULTS
    count: int | None = None
    leased: bool = True
    tickets: list[Ticket] = field(default_factory=list)
    taken: int = 0
    closing: bool = False
    verdict: str | None = None
    error: SweepkitError | None = None
    down_since: float | None = None
    news: int = 0
    slots: dict[str, Slot] = field(default_factory=dict)
    launchers: Mapping[str, Launcher] = field(default_factory=dict)
    breaker: guard.Breaker = field(default_factory=guard.from_environment)
    packers: list[Packer] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self._policy = retry_policy(self.options.retries, self.options.retry_on)
        self._results: dict[str, str] = {}  # run id -> how it ended here
        self._failures: dict[str, int] = {}  # run id -> failed tries
        self._commands: dict[str, Mapping[str, Any]] = {}  # of trials that failed for good
        self.leases = Leases(self.lock)
        self._hopeless = False  # the program fails everywhere: nobody needs to try more
        self._told_of_openings = False
        self._spared: set[str] = set()  # trials that a bad slot was to blame for

    # Slots

    def join(self, slot: Slot) -> None:
        """``slot`` takes part, for the first time or again."""
        with self.lock:
            self.slots[slot.label] = slot
            self.breaker.add(slot.label)

    def leave(self, slot: Slot) -> None:
        """``slot`` takes no more trials; without a word."""
        with self.lock:
            self.slots.pop(slot.label, None)
            self.breaker.remove(slot.label)
            self.news += 1

    def retire(self, slot: Slot, reason: str) -> None:
        """Take ``slot`` out, and say why. Its running trial, if any, goes on."""
        with self.lock:
            if slot.label not in self.slots:
                return
            self.leave(slot)
            left = len(self.slots)
            self.view.say(f"{slot.label} is taken out: {reason}; {left or 'no'} slot{'s' * (left != 1)} left")
            if not left and not self.closing:
                self.verdict = f"no slot is left; {slot.label} was the last one, and was taken out: {reason}"
                self.closing = True

    def serves(self, slot: Slot) -> bool:
        return slot.label in self.slots

    # Trials

    def take(self, slot: Slot) -> bool:
        """Whether ``slot`` may ask for one more trial."""
        with self.lock:
            if not self.leased or self.closing or not self.serves(slot):
                return False
            if self.count is not None and self.taken >= self.count:
                return False
            self.taken += 1
            return True

    def has_more(self) -> bool:
        """Whether one more slot may find a trial."""
        with self.lock:
            more = self.leased and (self.count is None or self.taken < self.count)
            return not self.closing and (more or bool(self.tickets))

    def give_back(self) -> None:
        """The trial that was asked for did not come."""
        with self.lock:
            self.taken -= 1

    def next_ticket(self, slot: Slot) -> Ticket | None:
        """A trial that ``slot`` is to start (again)."""
        with self.lock:
            if self.closing or not self.serves(slot):
                return None
            found = next((each for each in self.tickets if each.suits(slot.label, len(self.slots) == 1)), None)
            if found:
                self.tickets.remove(found)
            return found

    def waits(self, slot: Slot) -> bool:
        """Whether there may be something for ``slot`` later, so that it must not go home."""
        with self.lock:
            return bool(self.tickets) and not self.closing and self.serves(slot)

    def started(self, trial: Trial, agent: str | None) -> None:
        with self.lock:
            if agent is not None:
                self.leases.hold(trial.run_id, agent)
            self.breaker.started(trial.slot.label, trial.run_id, time.monotonic())
            self.view.started(trial)

    def conclude(self, ended: Ended, command: Mapping[str, Any]) -> None:
        """Count the try, tell people, and draw the consequences. ``command`` starts the trial again."""
        trial, ending, slot = ended.trial, ended.ending, ended.trial.slot
        with self.lock:
            crowded = any(packer.ended(ended) for packer in self.packers)
            suspect, verdict = self._note(ending, trial, crowded)
            tries = self._failures[trial.run_id] = self._failures.get(trial.run_id, 0) + ending.failed
            again = crowded or self._policy.again(ending, tries)
            others_may = self.leased and not self._hopeless and (again or ended.left)
            if again and not self.closing:
                self._park(command, avoid=slot.label if suspect else None)
                self.view.ended(Ended(trial, ending, ended.run, retry=tries))
            elif others_may:
                self._leave_to_others(trial.run_id, ended.kind)
                self.view.ended(Ended(trial, ending, ended.run, left=True))
            else:
                self._commands[trial.run_id] = command
                self._settle(trial.run_id, ended.kind)
                self.view.ended(Ended(trial, ending, ended.run))
            if ending.kind == "lost":
                self.retire(slot, ending.why)
            elif verdict.take_out:
                self._take_out(slot, verdict, ending)
            elif verdict.stop and not self.closing:
                self.verdict, self.closing, self._hopeless = verdict.stop, True, True
            self.news += 1

    def note_openings(self, trial: Trial, times: int) -> None:
        """Tell, once, of a program that calls ``wandb.init`` more than once in a trial."""
        with self.lock:
            if times > 1 and not self._told_of_openings:
                self._told_of_openings = True
                self.view.say(
                    f"warning: trial {trial.run_id} called wandb.init() {times} times. In a sweep each call opens the "
                    "trial's own run, so their rows are mixed; call it once, and of several processes only in one"
                )

    def would_retry(self, trial: Trial, ending: Ending) -> bool:
        """Whether the trial would be tried again if it ended like that now."""
        with self.lock:
            return not self.closing and self._policy.again(ending, self._failures.get(trial.run_id, 0) + 1)

    def _park(self, command: Mapping[str, Any], avoid: str | None = None) -> None:
        run_id = str(command["run_id"])
        agent = self.leases.agent_of(run_id)
        if agent is not None:
            self.leases.hold(run_id, agent)
        self.tickets.append(Ticket(command, agent, avoid, is_first=False))

    def _settle(self, run_id: str, kind: str) -> None:
        self._results[run_id] = kind
        self.leases.end(run_id)

    def _leave_to_others(self, run_id: str, kind: str = "failed") -> None:
        """It ended here, and nothing is said of it any more: the backend gives it to another agent after a while."""
        self._results[run_id] = kind
        self.leases.abandon(run_id)

    def _note(self, ending: Ending, trial: Trial, crowded: bool) -> tuple[bool, guard.Verdict]:
        """Whether the slot is doubtful, and what the failure guard says. Of a crowded place neither is to blame."""
        label = trial.slot.label
        if crowded:
            self.breaker.neutral(label)
            return False, guard.GO_ON
        if not ending.failed:
            if ending.kind == "finished":
                self.breaker.succeeded(label)
            else:
                self.breaker.neutral(label)
            return False, guard.GO_ON
        if ending.kind == "lost":
            self.breaker.neutral(label)
            return True, guard.GO_ON
        verdict = self.breaker.failed(label, trial.run_id, time.monotonic())
        return self.breaker.suspects(label), verdict

    def _take_out(self, slot: Slot, verdict: guard.Verdict, ending: Ending) -> None:
        """The slot is to blame, so the trials that failed there for good get another chance elsewhere."""
        self.retire(slot, f"its last {len(verdict.blamed)} trials failed while others did not ({ending.why})")
        for run_id in verdict.blamed:
            if self._results.get(run_id) == "failed" and run_id not in self._spared and not self.closing:
                self._spared.add(run_id)
                del self._results[run_id]
                self._park(self._commands[run_id])

    def drop(self, ticket: Ticket, kind: str) -> None:
        """The ticket's trial will not be tried again here."""
        with self.lock:
            with suppress(ValueError):  # a worker has just taken it
                self.tickets.remove(ticket)
            self._settle(ticket.run_id, kind)
            self.news += 1

    @property
    def ended(self) -> dict[str, int]:
        """How many trials ended how: each counts once, as it ended last."""
        with self.lock:
            kinds = list(self._results.values())
            return {kind: kinds.count(kind) for kind in ("finished", "failed", "stopped")}

    # The end, and the backend

    def close(self) -> None:
        """Running trials go on; no more are started."""
        self.closing = True

    def settle(self) -> None:
        """All workers are done: trials that were to be tried again and were not have failed, here at least."""
        for ticket in list(self.tickets):
            if self._hopeless or not self.leased:
                self.drop(ticket, "failed")
            else:
                self.tickets.remove(ticket)
                self._leave_to_others(ticket.run_id)

    def fail(self, error: SweepkitError) -> None:
        with self.lock:
            self.error = self.error or error
            self.closing = True

    def reached(self) -> None:
        with self.lock:
            if self.down_since is not None:
                self.view.say(f"the backend answers again after {time.monotonic() - self.down_since:.0f} s")
            self.down_since = None

    def unreached(self, error: Unreachable) -> float:
        """For how many seconds the backend has been away; told once."""
        with self.lock:
            if self.down_since is None:
                self.down_since = time.monotonic()
                self.view.say(f"{error.message}; running trials go on, and it is asked again and again")
            return time.monotonic() - self.down_since
