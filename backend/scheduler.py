"""Which agent does what next: the answer to an agent's heartbeat.

W&B's agent says which of its runs are alive and gets commands: ``run`` (or ``resume``) with a run id and its arguments,
``stop`` for a run, ``exit``. It takes an exit at its word and kills what runs, so it is told so only when nothing
does. The Python agent (``wandb.agent(function=...)``) looks at the first command of an answer only.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Collection, Mapping
from concurrent.futures import wait
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from . import ahead, clock, silence
from .search import RunSuggestion, SettingsError
from .storage import agents, runs, sweeps, trials
from .storage.database import Database
from .studies import Studies, Study

Command = dict[str, Any]

_REDELIVERY = 2.0  # s: a heartbeat sent again this soon means that its first answer was lost on the way
_RETRIES = 5
_LEAVING = "leaving"  # what an agent of sweepkit names beside the runs that are alive when it goes home
_log = logging.getLogger(__name__)


class Gone(LookupError):
    """The agent is unknown, or its sweep was deleted."""


@dataclass(frozen=True)
class _Noted:
    """What a heartbeat says, once it is written down."""

    sweep: sqlite3.Row
    stop: list[str]  # runs that this agent must stop
    again: sqlite3.Row | None  # what it was given just now, and seems not to know of


class Scheduler:
    """Answers heartbeats, for all sweeps of one store."""

    def __init__(self, database: Database, studies: Studies) -> None:
        self._database = database
        self._studies = studies

    def heartbeat(self, agent_id: int, alive: Collection[str], ended: Collection[str] | None = ()) -> list[Command]:
        """Commands for an agent whose runs ``alive`` are alive, and which saw the runs ``ended`` end. Raises Gone.

        ``ended`` is None for an agent that never says so: W&B's.
        """
        noted = self._database.write(lambda conn: _note(conn, agent_id, alive, ended))
        try:
            study = self._studies.of(noted.sweep, self._database)
        except SettingsError as error:  # cannot happen to a sweep that was made by this version
            _log.error("sweep %s cannot be searched: %s", noted.sweep["name"], error)
            return []
        with study.lock:
            self._follow(study, noted.sweep["id"])
        stops = self._stops(noted, alive)
        if stops or alive:
            return [{"type": "stop", "run_id": name} for name in stops]
        if noted.again is not None:
            return [self._command(noted.again, study)]
        return self._for_idle(study, agent_id, noted.sweep["id"])

    def run_ended(self, entity: str, project: str, name: str) -> None:
        """A run has ended: have its sweep's search think of the next one before its agent asks. Does not wait."""

        def think() -> None:
            run = runs.by_path(self._database.read(), entity, project, name)
            sweep = sweeps.by_id(self._database.read(), run["sweep_id"]) if run and run["sweep_id"] else None
            study = self._studies.kept(sweep) if sweep is not None and sweep["state"] in sweeps.OPEN else None
            if study is not None and sweep is not None:
                with study.lock:
                    self._follow(study, sweep["id"])
                    study.ahead.begin()

        ahead.soon(think)

    def _follow(self, study: Study, sweep_id: int) -> None:
        """Bring the search up to date; act on early termination and on a target that was reached."""
        decisions = study.follow(self._database.read())
        ended = study.engine.has_terminator() and study.engine.should_terminate_sweep()
        if not decisions and not ended:
            return

        def act(conn: sqlite3.Connection) -> None:
            metric = study.settings.metric.name if study.settings.metric else ""
            for run_id, decision in decisions.items():
                trials.stop_early(conn, run_id, metric, decision.band, decision.value, decision.threshold)
            sweep = sweeps.by_id(conn, sweep_id)
            if ended and sweep is not None and sweep["state"] in sweeps.OPEN and study.is_of(sweep):
                sweeps.update(conn, sweep_id, state="FINISHED")

        self._database.write(act)

    def _stops(self, noted: _Noted, alive: Collection[str]) -> list[str]:
        rows = trials.listed(self._database.read(), noted.sweep["id"], alive) if alive else []
        return sorted({*noted.stop, *(row["name"] for row in rows if row["stop_requested"])})

    def _for_idle(self, study: Study, agent_id: int, sweep_id: int) -> list[Command]:
        taken = self._database.write(lambda conn: _take(conn, sweep_id, agent_id))
        if taken is not None:
            return [self._command(taken, study)]
        sweep = sweeps.by_id(self._database.read(), sweep_id)
        if sweep is None:
            raise Gone(f"sweep {sweep_id}")
        if sweep["state"] in sweeps.OPEN and not sweeps.is_used_up(self._database.read(), sweep):
            run = self._search(study, agent_id, sweep_id)
            if run is not None:
                return [self._command(run, study)]
        return [{"type": "exit"}] if self._database.write(lambda conn: _close(conn, sweep_id, agent_id)) else []

    def _search(self, study: Study, agent_id: int, sweep_id: int) -> sqlite3.Row | None:
        """A new run for the agent; None when there is none now. What takes long is waited for without the lock."""
        since = time.monotonic()
        while True:
            with study.lock:
                awaited = study.ahead.awaited(since)
                if awaited is None:
                    return self._ask(study, agent_id, sweep_id)
            wait([awaited], ahead.PATIENCE)

    def _ask(self, study: Study, agent_id: int, sweep_id: int) -> sqlite3.Row | None:
        for _ in range(_RETRIES):
            asked = study.engine.ask_n_runs(1)
            if asked is None:
                return None
            if not asked:
                self._database.write(lambda conn: _exhaust(conn, sweep_id, study))
                return None
            try:
                return self._claim(study, agent_id, sweep_id, asked[0])
            except trials.Taken:
                study.follow(self._database.read())
        return None

    def _claim(self, study: Study, agent_id: int, sweep_id: int, asked: RunSuggestion) -> sqlite3.Row | None:
        run = None
        try:
            run = self._database.write(lambda conn: _made(conn, sweep_id, agent_id, asked.config, study))
        finally:
            if run is None:
                study.engine.forget_run(asked.run_id)
            else:
                study.made(run, asked)
                study.ahead.foresee()
        return run

    def _command(self, run: sqlite3.Row, study: Study) -> Command:
        """What makes W&B's agent start a run, or go on with one that has begun."""
        conn = self._database.read()
        args = trials.wrapped(trials.configuration(conn, run["id"]))
        kind = "resume" if run["history_lines"] else "run"
        lease = trials.lease(conn, run["id"])  # no word of W&B's protocol: its agent does not look at it
        return {"type": kind, "run_id": run["name"], "args": args, "program": study.settings.program, "lease": lease}


_STUDIES: WeakKeyDictionary[Database, Studies] = WeakKeyDictionary()
_LOCK = threading.Lock()


def of(database: Database) -> Scheduler:
    """The store's scheduler: what the searches know is shared by all that ask."""
    with _LOCK:
        return Scheduler(database, _STUDIES.setdefault(database, Studies()))


def _note(conn: sqlite3.Connection, agent_id: int, alive: Collection[str], ended: Collection[str] | None) -> _Noted:
    """Write down that the agent lives and what it works on."""
    agent = agents.by_id(conn, agent_id)
    sweep = sweeps.by_id(conn, agent["sweep_id"]) if agent else None
    if sweep is None:
        raise Gone(f"agent {agent_id}")
    agents.beat(conn, agent_id)
    if ended is not None and _LEAVING in alive:
        agents.dismiss(conn, agent_id)
    conn.execute("UPDATE sweeps SET heartbeat_at = ? WHERE id = ?", (clock.now(), sweep["id"]))
    if sweep["state"] == "PENDING":
        sweep = sweeps.update(conn, sweep["id"], state="RUNNING")
    stop = _note_alive(conn, sweep, agent_id, alive)
    return _Noted(sweep, stop, _note_gone(conn, agent_id, alive, ended))


def _note_alive(conn: sqlite3.Connection, sweep: sqlite3.Row, agent_id: int, alive: Collection[str]) -> list[str]:
    """The runs among ``alive`` that the agent must stop: cancelled ones, and those that went to another agent."""
    stop = []
    for trial in trials.listed(conn, sweep["id"], alive) if alive else []:
        # The other may have ended it already: whoever it was handed to last has it, or had it.
        others = trial["agent_id"] not in (None, agent_id) or trial["holder"] not in (None, agent_id)
        if sweep["state"] == "CANCELED" or others:
            stop.append(trial["name"])
        elif trial["holder"] is None and trial["state"] not in runs.ENDED:
            trials.hold(conn, trial["run_id"], agent_id)
    return stop


def _note_gone(
    conn: sqlite3.Connection, agent_id: int, alive: Collection[str], ended: Collection[str] | None
) -> sqlite3.Row | None:
    """Release what the agent held and no longer has; returns what it was given a moment ago and never got.

    A trial that has not begun, of which the agent does not say that it ended, is most likely one that the agent was
    never told of: this process, or the network, failed after it was handed out. It waits for an agent again. W&B's
    agent says nothing of trials that ended; of one that has not begun here, it has most likely run the program, which
    failed before wandb.init or logs offline. Of a trial whose end an agent tells, no process is left: had its client
    been able to say how it ended, it would have.
    """
    again = None
    for trial in trials.held(conn, agent_id):
        if trial["name"] in alive:
            continue
        unheard_of = trial["state"] == "pending" and trial["name"] not in (ended or ())
        if unheard_of and trial["handed_at"] > clock.ago(_REDELIVERY):
            again = runs.by_id(conn, trial["run_id"])
        elif unheard_of and ended is not None and trial["attempts"] < sweeps.ATTEMPTS:
            trials.put_back(conn, trial)
        else:
            trials.release(conn, trial)
            if trial["name"] in (ended or ()) and trial["state"] in runs.ALIVE:
                runs.crash(conn, trial)
    return again


def _take(conn: sqlite3.Connection, sweep_id: int, agent_id: int) -> sqlite3.Row | None:
    lost = silence.lost_before()
    trials.give_up(conn, lost)
    return trials.take_waiting(conn, sweep_id, agent_id, lost)


def _made(
    conn: sqlite3.Connection, sweep_id: int, agent_id: int, config: Mapping[str, Any], study: Study
) -> sqlite3.Row | None:
    """A run of what the study proposed; None too where the sweep was edited meanwhile. Raises Taken."""
    sweep = sweeps.by_id(conn, sweep_id)
    if sweep is None or not study.is_of(sweep):
        return None
    return trials.claim(conn, sweep_id, agent_id, config, study.settings.repeats)


def _exhaust(conn: sqlite3.Connection, sweep_id: int, study: Study) -> None:
    """The study has nothing left to propose, which says nothing of a sweep that was edited meanwhile."""
    sweep = sweeps.by_id(conn, sweep_id)
    if sweep is not None and study.is_of(sweep):
        sweeps.update(conn, sweep_id, exhausted=1)


def _close(conn: sqlite3.Connection, sweep_id: int, agent_id: int) -> bool:
    """Finish a sweep that is used up and has no run left. Whether the idle agent may leave."""
    sweep = sweeps.by_id(conn, sweep_id)
    if sweep is None:
        raise Gone(f"sweep {sweep_id}")
    state = sweeps.state(conn, sweep)
    if state != sweep["state"]:
        sweeps.update(conn, sweep_id, state=state)
    if state not in ("FINISHED", "CANCELED"):
        return False
    agents.dismiss(conn, agent_id)
    return True
