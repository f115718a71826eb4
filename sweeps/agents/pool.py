"""All slots of one command at work: started, watched, and ended so that nothing is left behind."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any

from ...errors import SweepkitError
from ..metric import metric_in
from ..scores import Scores
from ..wandb_api import Run, SweepRef, WandbApi
from . import command, leftovers, searcher
from .crew import Crew
from .devices import Slot
from .isolation import launchers
from .options import DEFAULTS, AgentOptions
from .packer import Packer
from .tickets import Ticket, keep_leases, release
from .view import View, make_view
from .worker import Worker, kill_delay

POLL = 2.0  # seconds between two looks at the sweep's runs, for the view


@dataclass(frozen=True)
class Outcome:
    """How many trials ended how, whether a person interrupted, and why it ended early if it did."""

    finished: int
    failed: int
    stopped: int
    interrupted: bool
    reason: str | None = None

    @property
    def exit_code(self) -> int:
        """What the command line documents: 130 interrupted, 1 some runs failed, 0 all well."""
        return 130 if self.interrupted else 1 if self.failed else 0


def run_agents(
    api: WandbApi,
    ref: SweepRef,
    slots: Sequence[Slot],
    options: AgentOptions = DEFAULTS,
    count: int | None = None,
    expected: int | None = None,
    quiet: bool = False,
    tickets: Sequence[Ticket] | None = None,
) -> Outcome:
    """Run the sweep's trials on ``slots`` until the backend has no more, or ``count`` have been run here.

    With ``tickets``, these are run and the backend is asked for none.

    Ctrl-C (or SIGTERM) once lets running trials finish, twice stops them (SIGTERM, on which they checkpoint), three
    times kills them. Raises UsageError when no trial can start, Unreachable when the backend stays away, and
    NotFound when there is no such sweep.
    """
    sweep = api.sweep(ref)
    command.check(sweep.config, os.environ)
    if tickets is None and options.search:
        searcher.check(sweep.config)
    count = count if tickets is None else len(tickets)
    view = make_view(slots, sweep.config, count, expected if expected is not None else sweep.expected, quiet)
    crew = Crew(ref, sweep.config, api.backend, view, options, count, tickets is None, list(tickets or ()))
    workers = [Worker(slot, crew) for slot in slots]
    growing = {slot.place.name: slot.place for slot in slots if slot.place and slot.place.growing}
    crew.packers += [Packer(place, crew, workers, _hirer(crew, workers)) for place in growing.values()]
    later = [place.slot(number, number + 1) for place in growing.values() for number in range(place.count, place.most)]
    leftovers.clear()
    kept = launchers(sweep.config, [*slots, *later], api.backend, options, view.say)
    with view, kept as crew.launchers, searcher.searching(api, crew, len(slots)), Presses(crew, workers) as presses:
        watcher = threading.Thread(target=_watch, args=(api, crew, workers, view), daemon=True)
        packing = [threading.Thread(target=_pack, args=(api, crew, workers), daemon=True)] if crew.packers else []
        keeper = threading.Thread(target=_keep, args=(api, crew, workers), daemon=True)
        try:
            for thread in (*workers, watcher, keeper, *packing):
                thread.start()
            while any(worker.is_alive() for worker in workers):
                presses.act()
                time.sleep(0.05)
        finally:
            crew.close()
            _end(workers)
            crew.settle()
            release(crew, WandbApi(api.backend, patience=1.0))
    if not presses.count:
        leftovers.finish()
    view.summary(crew.ended, crew.verdict)
    if crew.error:
        raise crew.error
    return Outcome(**crew.ended, interrupted=presses.count > 0, reason=crew.verdict)


def _hirer(crew: Crew, workers: list[Worker]) -> Callable[[Slot], None]:
    """What starts one more worker, on a new slot."""

    def hire(slot: Slot) -> None:
        worker = Worker(slot, crew)
        workers.append(worker)
        worker.start()

    return hire


def _end(workers: Sequence[Worker]) -> None:
    """Whatever ended the command: no trial outlives it."""
    for worker in workers:
        if worker.trial:
            worker.trial.kill()
    for worker in workers:
        if worker.ident is not None:
            worker.join(kill_delay())


def _watch(api: WandbApi, crew: Crew, workers: Sequence[Worker], view: View) -> None:
    """One look at the sweep for all slots, again and again. What it cannot see now, it sees the next time."""
    looking = WandbApi(api.backend, patience=1.0)
    scores = Scores(looking, metric_in(crew.config), states=["finished"])
    while any(worker.is_alive() for worker in workers):
        began = time.monotonic()
        try:
            sweep, runs = looking.sweep(crew.ref), looking.runs(crew.ref)
            view.look(sweep, runs, list(crew.slots), scores.of(runs))
            if sweep.is_over and crew.leased:
                crew.close()
        except SweepkitError:
            pass
        time.sleep(max(POLL, 10 * (time.monotonic() - began)))  # a long list of runs must not keep a backend busy


def _pack(api: WandbApi, crew: Crew, workers: Sequence[Worker]) -> None:
    """Looks at the trials that run, for the packers."""
    looking = WandbApi(api.backend, patience=1.0)

    def find(run_id: str) -> Run | None:
        with suppress(SweepkitError):  # it is not there yet, or the backend is away
            return looking.run(f"{crew.ref.entity}/{crew.ref.project}/{run_id}")
        return None

    while any(worker.is_alive() for worker in workers):
        for packer in crew.packers:
            packer.look(find)
        time.sleep(POLL)


def _keep(api: WandbApi, crew: Crew, workers: Sequence[Worker]) -> None:
    """Heartbeats for the trials that wait to be tried again."""
    speaking = WandbApi(api.backend, patience=1.0)
    while any(worker.is_alive() for worker in workers):
        keep_leases(crew, speaking)
        time.sleep(api.backend.heartbeat)


class Presses:
    """Ctrl-C, and SIGTERM and SIGHUP alike: each further one is more urgent, and the terminal says what comes next."""

    def __init__(self, crew: Crew, workers: Sequence[Worker]) -> None:
        self.count = 0
        self._done = 0
        self._crew = crew
        self._workers = workers
        self._before: dict[int, Any] = {}
        self._deadline: float | None = None
        self._grace = kill_delay()

    def __enter__(self) -> Presses:
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                self._before[signum] = signal.signal(signum, self._press)
        return self

    def __exit__(self, *error: object) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def _press(self, signum: int, frame: FrameType | None) -> None:
        self.count += 1  # only counted here: what it means may take locks, which a handler must not

    def act(self) -> None:
        """Do what the presses since the last call ask for."""
        while self._done < min(self.count, 3):
            self._done += 1
            (self._finish, self._stop, self._kill)[self._done - 1]()
        if self._deadline is not None and time.monotonic() > self._deadline:
            self._deadline = None
            self._crew.view.say(f"trials that still run after {self._grace:.0f} s are killed")
            self._kill_all()

    def _running(self) -> int:
        return sum(worker.trial is not None for worker in self._workers)

    def _finish(self) -> None:
        self._crew.close()
        if running := self._running():
            self._crew.view.say(
                f"interrupted: {_trials(running)} may finish, no more are started. Press Ctrl-C again to stop them"
            )
        else:
            self._crew.view.say("interrupted: no trial is running")

    def _stop(self) -> None:
        self._crew.view.say(
            f"stopping {_trials(self._running())}: each may save a checkpoint, for up to {self._grace:.0f} s."
            " Press Ctrl-C again to kill them"
        )
        self._deadline = time.monotonic() + self._grace
        for worker in self._workers:
            if worker.trial:
                worker.trial.terminate()

    def _kill(self) -> None:
        self._crew.view.say(f"killing {_trials(self._running())}")
        self._deadline = None
        self._kill_all()

    def _kill_all(self) -> None:
        for worker in self._workers:
            if worker.trial:
                worker.trial.kill()


def _trials(count: int) -> str:
    return "1 running trial" if count == 1 else f"{count} running trials"
