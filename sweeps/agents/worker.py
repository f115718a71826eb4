"""W&B's agent protocol for one slot.

A slot is served by a thread and not by a process of its own: all that it does is wait, for the backend or for its
trial, and one process can then answer the terminal, the signals and the failure guard for all slots. What needs
isolation, the trial, has its own process group and its guard.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...errors import SweepkitError, Unreachable
from ..wandb_api import NotFound, Run, WandbApi
from .crew import Crew, Ended
from .devices import Slot, alive
from .launching import FRESH, Launcher
from .leases import LEAVING
from .outcomes import FINISHED, NEVER_INIT, Ending, count_oom_kills, failure, openings
from .tickets import Ticket
from .trial import Trial, start

PATIENCE = 300.0  # seconds that an idle slot waits for a backend that went away
_TICK = 0.05
_FROZEN = 2.0  # seconds between two ticks after which this process, or the host, must have slept
_ALIVE = ("running", "preempting", "finished")  # a run in one of these states is not to be started by `retry`
_LAST_LINES = 40  # of a trial's output, in which the reason of its end is looked for


def kill_delay() -> float:
    """Seconds between asking a trial to stop and killing it: WANDB_AGENT_KILL_DELAY, or 30 as W&B's agent."""
    text = os.environ.get("WANDB_AGENT_KILL_DELAY", "")
    return float(text) if text.isdigit() else 30.0


class Worker(threading.Thread):
    """One slot at work: takes trials one after the other until the backend, the count or the crew says it is over."""

    def __init__(self, slot: Slot, crew: Crew) -> None:
        super().__init__(name=f"agent {slot.label}", daemon=True)
        self.slot = slot
        self.crew = crew
        self.trial: Trial | None = None
        self._api = WandbApi(crew.backend, patience=1.0)
        self._agent: str | None = None  # which has the lease of the trial, or asks for the next one
        self._command: Mapping[str, Any] = {}
        self._sentence: Ending | None = None  # how the trial will have ended, as this agent stops it
        self._oom_kills = self._openings = 0
        self._over = False
        self._every = crew.backend.heartbeat
        self._pause = self._every
        self._kill_delay = kill_delay()
        crew.join(slot)

    def run(self) -> None:
        try:
            self._launcher.prepare(lambda: self.crew.closing)
            self._serve()
        except SweepkitError as error:
            self.crew.fail(error)
        except Exception as error:  # a defect of sweepkit must end the command too, not leave it waiting for a thread
            problem = SweepkitError(f"the agent on {self.slot.label} broke: {error!r}", "please report this")
            problem.__cause__ = error
            self.crew.fail(problem)
        finally:
            if self.trial:
                self.trial.kill()
                self.trial.wait(self._kill_delay)
            self.crew.leave(self.slot)

    @property
    def _launcher(self) -> Launcher:
        return self.crew.launchers.get(self.slot.label, FRESH)

    def _serve(self) -> None:
        while True:
            if self.trial is None and (ticket := self.crew.next_ticket(self.slot)):
                self._take_up(ticket)
            asking = self.trial is None and not self._over and self.crew.take(self.slot)
            if self.trial is None and not asking and not self.crew.waits(self.slot):
                return self._leave()
            if self.crew.leased and (self.trial or asking):
                for command in self._heartbeat():
                    self._obey(command)
            if asking and self.trial is None:
                self.crew.give_back()
            self._wait()
            if self.trial is not None and (code := self.trial.poll()) is not None:
                self._conclude(self.trial, code)

    # The backend

    def _heartbeat(self) -> list[dict[str, Any]]:
        """W&B's commands, or none when the backend is away. Raises Unreachable when an idle slot has waited enough."""
        try:
            if self.trial is None and self._agent and self.crew.leases.has(self._agent):
                self._agent = None  # it speaks for a trial that another slot runs, and so is given no other
            self._agent = self._agent or self._register()
            states = self.crew.leases.states(self._agent)
            commands = self._api.heartbeat(self._agent, states)
            self.crew.leases.told(self._agent, states)
        except NotFound:
            self._over = True
            self.crew.view.say("the sweep was deleted; running trials finish, and no more are started")
            return []
        except Unreachable as error:
            if self.crew.unreached(error) > PATIENCE and self.trial is None:
                raise
            self._pause = min(max(1.0, 2 * self._pause), 30.0) if self._pause != self._every else 1.0
            return []
        self.crew.reached()
        self._pause = self._every
        return commands

    def _register(self) -> str:
        return self._api.create_agent(self.crew.ref, f"{socket.gethostname()} {self.slot.label}")

    def _leave(self) -> None:
        """Take leave, and say that the last trial ended: so nobody waits for either."""
        if self._agent and self.crew.leases.may_speak(self._agent):
            states = self.crew.leases.states(self._agent)
            api = self._api if states else WandbApi(self.crew.backend, patience=0.0, timeout=3.0)
            with suppress(SweepkitError):
                api.heartbeat(self._agent, {**states, LEAVING: True})
                self.crew.leases.told(self._agent, states)

    def _obey(self, command: Mapping[str, Any]) -> None:
        kind = command.get("type")
        if kind in ("run", "resume") and self.trial is None:
            self._start(command)
        elif kind == "stop" and self.trial and command.get("run_id") == self.trial.run_id:
            self._told_to_stop(self.trial)
        elif kind == "exit":
            self._over = True
            if self.trial:
                self._ask_to_end(self.trial, Ending("stopped", None, "the sweep is over"))

    def _told_to_stop(self, trial: Trial) -> None:
        """Early termination, a person, or, where trials move, another agent that has the trial now.

        In the last case this copy must not add a word to the run, so it gets no time for its last words.
        """
        if self.crew.backend.moves_trials and not self._is_asked_to_stop(trial):
            moved = "another agent has it, as this one had not been heard of"
            self._sentence = Ending("stopped", None, moved)
            trial.kill()
        else:
            self._ask_to_end(trial, Ending("stopped", None, "early termination, or by a person"))

    def _is_asked_to_stop(self, trial: Trial) -> bool:
        try:
            stopped = self._api.was_stopped(self.crew.ref, trial.run_id)
            return stopped or self._api.sweep(self.crew.ref).state == "CANCELED"
        except NotFound:
            return True

    # The trial

    def _take_up(self, ticket: Ticket) -> None:
        """Start a trial (again), under the lease that it has."""
        if not self.crew.leased and ticket.is_first and (state := self._state(ticket.run_id)) in _ALIVE:
            self.crew.view.say(f"run {ticket.run_id} is {state} by now, so it is left alone")
            self.crew.drop(ticket, "stopped")
            return
        if ticket.agent and ticket.agent != self._agent:
            self._leave()
            self._agent = ticket.agent
        self._start(ticket.command)

    def _state(self, run_id: str) -> str:
        ref = self.crew.ref
        return self._api.run(f"{ref.entity}/{ref.project}/{run_id}").state

    def _start(self, command: Mapping[str, Any]) -> None:
        self._oom_kills = count_oom_kills()
        self._openings = openings(_wandb_folder(), str(command["run_id"]))
        self._command, self._sentence = command, None
        try:
            self.trial = start(self.crew.config, command, self.crew.ref, self.slot, self.crew.backend, self._launcher)
        except OSError as error:
            what = f"{error.strerror or error} ({error.filename or 'no file'})"
            hint = "make room there, or choose another data folder with SWEEPKIT_HOME"
            raise SweepkitError(f"a trial cannot be started on {self.slot.label}: {what}", hint) from error
        self.crew.started(self.trial, self._agent)

    def _ask_to_end(self, trial: Trial, sentence: Ending) -> None:
        if trial.asked_to_stop is None:
            self._sentence = sentence
            trial.terminate()

    def _wait(self) -> None:
        """Until the trial ends, the next heartbeat is due, or, for an idle slot, something has changed.

        After a sleep, of this process or of the host, the next heartbeat is due at once: the trial may be another's.
        """
        due = time.monotonic() + self._pause
        news = self.crew.news
        while time.monotonic() < due:
            if self.trial is None:
                nothing = (self._over or self.crew.closing) and not self.crew.waits(self.slot)
                if nothing or self.crew.news != news:
                    return
            else:
                if self.trial.poll() is not None:
                    return
                self._watch_the_time(self.trial)
            before = _awake()
            if self.trial is None:
                time.sleep(_TICK)
            else:
                self.trial.pause(_TICK)
            if _awake() > before + _FROZEN:
                return

    def _watch_the_time(self, trial: Trial) -> None:
        limit = self.crew.options.trial_timeout
        if limit is not None and trial.seconds > limit and trial.asked_to_stop is None:
            ending = Ending("timeout", None, f"it took longer than {limit:g} s")
            if not self.crew.would_retry(trial, ending):
                self._give_up(trial)
            self._ask_to_end(trial, ending)
        if trial.asked_to_stop is not None and time.monotonic() > trial.asked_to_stop + self._kill_delay:
            trial.kill()

    def _give_up(self, trial: Trial) -> None:
        """A run that is asked to stop is handed to nobody again, also where it then says that it is preempted."""
        with suppress(SweepkitError):
            self._api.stop_run(self.crew.ref, trial.run_id)

    def _conclude(self, trial: Trial, code: int) -> None:
        ending, run = self._judge(trial, code)
        begun = run is not None and run.state != "pending"
        self.crew.note_openings(trial, openings(_wandb_folder(), trial.run_id) - self._openings)
        command = {**self._command, "type": "resume" if begun else "run"}
        self.trial = None
        goes_on = run is not None and run.state in ("preempted", "preempting")  # the backend knows it already
        leaving = ending.kind == "stopped" and code != 0 and self._sentence is None and not goes_on
        self.crew.conclude(Ended(trial, ending, run, left=leaving), command)

    def _judge(self, trial: Trial, code: int) -> tuple[Ending, Run | None]:
        """How the trial ended, and its run if it has one that the backend can tell of now."""
        try:
            run = self._recorded(trial)
            known = True
        except SweepkitError:  # the backend is away: the exit code is what is known
            run, known = None, False
        sentence = self._sentence or Ending("stopped", None, "it was asked to")
        if trial.asked_to_stop and (code != 0 or sentence.kind == "stopped"):
            return Ending(sentence.kind, code, sentence.why), run
        if code == 0:
            return (FINISHED if run or not known else NEVER_INIT), run
        if run and run.state in ("preempted", "preempting"):
            return Ending("preempted", code, "it said so, and goes on later"), run
        if known and self._was_stopped(trial):
            return Ending("stopped", code, "early termination, or by a person"), run
        if reason := alive(self.slot):
            return Ending("lost", code, reason), run
        ending = failure(code, trial.tail(_LAST_LINES), count_oom_kills() - self._oom_kills)
        if known and run is None:
            ending = Ending(ending.kind, code, f"{ending.why}, before it called wandb.init()")
        return ending, run

    def _was_stopped(self, trial: Trial) -> bool:
        try:
            return self._api.was_stopped(self.crew.ref, trial.run_id)
        except SweepkitError:
            return False

    def _recorded(self, trial: Trial) -> Run | None:
        """The trial's run, if it ever called ``wandb.init``: until then the run, if it is there, is only planned."""
        ref = self.crew.ref
        try:
            run = self._api.run(f"{ref.entity}/{ref.project}/{trial.run_id}")
        except NotFound:
            return None
        return run if run.state != "pending" else None


def _wandb_folder() -> Path:
    """Below which the trials' wandb clients make their folder ``wandb``."""
    return Path(os.environ.get("WANDB_DIR") or Path.cwd())


def _awake() -> float:
    """Seconds of a clock that never goes back and, where there is one (Linux), also runs while the host sleeps."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.clock_gettime(clock) if clock is not None else time.monotonic()
