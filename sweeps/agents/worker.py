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
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...errors import SweepkitError, Unreachable
from ..backends import Backend
from ..wandb_api import NotFound, Run, SweepRef, WandbApi
from .devices import Slot
from .options import AgentOptions
from .trial import Trial, start

if TYPE_CHECKING:
    from .view import View

HEARTBEAT = 5.0  # seconds, as W&B's agent
KILL_DELAY = 30.0  # seconds between asking a trial to stop and killing it, as W&B's agent
PATIENCE = 300.0  # seconds that an idle slot waits for a backend that went away
FLAPPING = 3  # failures without any success after which the sweep is not worth more trials, as W&B's agent
_TICK = 0.05


@dataclass(frozen=True)
class Ended:
    """How a trial ended: ``kind`` is finished, failed or stopped; ``why`` is a few words for people."""

    trial: Trial
    kind: str
    why: str = ""
    run: Run | None = None


@dataclass
class Crew:
    """What the workers of one command share. Every change is made under ``lock``."""

    ref: SweepRef
    config: Mapping[str, Any]
    backend: Backend
    view: View
    options: AgentOptions = AgentOptions()
    count: int | None = None
    taken: int = 0
    ended: dict[str, int] = field(default_factory=lambda: {"finished": 0, "failed": 0, "stopped": 0})
    closing: bool = False
    verdict: str | None = None
    error: SweepkitError | None = None
    down_since: float | None = None
    news: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock)

    def take(self) -> bool:
        """Whether one more trial may be asked for."""
        with self.lock:
            if self.closing or (self.count is not None and self.taken >= self.count):
                return False
            self.taken += 1
            return True

    def give_back(self) -> None:
        """The trial that was asked for did not come."""
        with self.lock:
            self.taken -= 1

    def close(self) -> None:
        """Running trials go on; no more are taken."""
        self.closing = True

    def fail(self, error: SweepkitError) -> None:
        with self.lock:
            self.error = self.error or error
            self.closing = True

    def conclude(self, ended: Ended) -> None:
        """Count a trial, tell people, let idle slots ask again, and end a sweep whose program fails every time."""
        with self.lock:
            self.ended[ended.kind] += 1
            self.news += 1
            self.view.ended(ended)
            hopeless = self.ended["failed"] >= FLAPPING and not self.ended["finished"]
            if hopeless and not self.closing and os.environ.get("WANDB_AGENT_DISABLE_FLAPPING") != "true":
                self.verdict = f"the first {self.ended['failed']} trials all failed, so no more are started"
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


class Worker(threading.Thread):
    """One slot at work: takes trials one after the other until the backend, the count or the crew says it is over."""

    def __init__(self, slot: Slot, crew: Crew) -> None:
        super().__init__(name=f"agent {slot.label}", daemon=True)
        self.slot = slot
        self.crew = crew
        self.trial: Trial | None = None
        self._api = WandbApi(crew.backend, patience=1.0)
        self._over = False
        self._pause = HEARTBEAT
        self._untold: dict[str, bool] = {}  # trials that ended, until a heartbeat that says so was answered

    def run(self) -> None:
        try:
            self._serve(self._api.create_agent(self.crew.ref, f"{socket.gethostname()} {self.slot.label}"))
        except SweepkitError as error:
            self.crew.fail(error)
        except Exception as error:  # a defect of sweepkit must end the command too, not leave it waiting for a thread
            problem = SweepkitError(f"the agent on {self.slot.label} broke: {error!r}", "please report this")
            problem.__cause__ = error
            self.crew.fail(problem)
        finally:
            if self.trial:
                self.trial.kill()
                self.trial.wait(KILL_DELAY)

    def _serve(self, agent: str) -> None:
        while True:
            asking = self.trial is None and not self._over and self.crew.take()
            if self.trial is None and not asking:
                return self._leave(agent)
            for command in self._heartbeat(agent):
                self._obey(command)
            if asking and self.trial is None:
                self.crew.give_back()
            self._wait()
            if self.trial is not None and (code := self.trial.poll()) is not None:
                ended = self._judge(self.trial, code)
                self._untold[self.trial.run_id] = False
                self.trial = None
                self.crew.conclude(ended)

    def _heartbeat(self, agent: str) -> list[dict[str, Any]]:
        """W&B's commands, or none when the backend is away. Raises Unreachable when an idle slot has waited enough."""
        running = {self.trial.run_id: True} if self.trial else {}
        try:
            commands = self._api.heartbeat(agent, {**self._untold, **running})
            self._untold.clear()
        except NotFound:
            self._over = True
            self.crew.view.say("the sweep was deleted; running trials finish, and no more are started")
            return []
        except Unreachable as error:
            if self.crew.unreached(error) > PATIENCE and not running:
                raise
            self._pause = min(max(1.0, 2 * self._pause), 30.0) if self._pause < HEARTBEAT else 1.0
            return []
        self.crew.reached()
        self._pause = HEARTBEAT
        return commands

    def _leave(self, agent: str) -> None:
        """Say that the last trial ended, so that nobody waits for it. Who says that something runs gets no new one."""
        if self._untold:
            with suppress(SweepkitError):
                self._api.heartbeat(agent, {**self._untold, "leaving": True})

    def _obey(self, command: Mapping[str, Any]) -> None:
        kind = command.get("type")
        if kind in ("run", "resume") and self.trial is None:
            self._start(command)
        elif kind == "stop" and self.trial and command.get("run_id") == self.trial.run_id:
            self.trial.terminate()
        elif kind == "exit":
            self._over = True
            if self.trial:
                self.trial.terminate()

    def _start(self, command: Mapping[str, Any]) -> None:
        try:
            self.trial = start(self.crew.config, command, self.crew.ref, self.slot, self.crew.backend)
        except OSError as error:
            what = f"{error.strerror or error} ({error.filename or 'no file'})"
            hint = "make room there, or choose another data folder with SWEEPKIT_HOME"
            raise SweepkitError(f"a trial cannot be started on {self.slot.label}: {what}", hint) from error
        self.crew.view.started(self.trial)

    def _wait(self) -> None:
        """Until the trial ends, the next heartbeat is due, or, for an idle slot, something has changed."""
        due = time.monotonic() + self._pause
        news = self.crew.news
        while time.monotonic() < due:
            if self.trial is None and (self._over or self.crew.closing or self.crew.news != news):
                return
            if self.trial is not None:
                if self.trial.poll() is not None:
                    return
                if self.trial.asked_to_stop and time.monotonic() > self.trial.asked_to_stop + KILL_DELAY:
                    self.trial.kill()
                self.trial.pause(_TICK)
            else:
                time.sleep(_TICK)

    def _judge(self, trial: Trial, code: int) -> Ended:
        """A trial that was asked to stop is stopped, whatever its code; one that recorded nothing has failed."""
        if trial.asked_to_stop:
            return Ended(trial, "stopped", "it was asked to")
        try:
            if code == 0:
                run = self._recorded(trial)
                return Ended(trial, "finished", run=run) if run else Ended(trial, "failed", _NEVER_INIT)
            if self._api.was_stopped(self.crew.ref, trial.run_id):
                return Ended(trial, "stopped", "early termination, or by a person")
        except SweepkitError:  # the backend is away: the exit code is what is known
            if code == 0:
                return Ended(trial, "finished")
        return Ended(trial, "failed", f"killed by signal {-code}" if code < 0 else f"exit code {code}")

    def _recorded(self, trial: Trial) -> Run | None:
        """The trial's run, if it ever called ``wandb.init``: until then the run, if it is there, is only planned."""
        ref = self.crew.ref
        try:
            run = self._api.run(f"{ref.entity}/{ref.project}/{trial.run_id}")
        except NotFound:
            return None
        return run if run.state != "pending" else None


_NEVER_INIT = "it ended well but recorded nothing: the program must call wandb.init()"
