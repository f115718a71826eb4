"""Looks after the process that searches for a sweep with a ``scheduler:``, for as long as the agents of a command work.

W&B's server, or the embedded one, hands such a sweep's trials out; which ones a process on the user's side says, as it
calls the user's own functions. That is W&B's `wandb sweep-scheduler`, unchanged (``search_process.py``).
"""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from ...errors import SweepkitError, Unreachable, UsageError
from ...home import make_home
from ..promote import environment
from ..scheduler_key import FUNCTIONS, PACKAGES, scheduler_of
from ..wandb_api import NotFound, SweepRef, WandbApi
from . import leftovers
from .crew import Crew
from .launching import FreshProcess, Order, Process

AHEAD = 2  # runs in flight for each slot: one that runs, and one that waits for when that is over
RETRIES = 2  # starts of a search that dies without a new run of the sweep in between
_LOOK = 30.0  # seconds between two looks at how many agents there are
_POLL = 0.2
_FAREWELL = 5.0  # seconds for a search that is asked to end
T = TypeVar("T")
_STARTED = "Finished loading run state"  # what W&B's scheduler says once it searches


@dataclass(frozen=True)
class Failure:
    """Why a search ended. ``hopeless``: it would end so again at once."""

    why: str
    hopeless: bool


@contextmanager
def searching(api: WandbApi, crew: Crew, slots: int) -> Iterator[None]:
    """Meanwhile the sweep's trials are searched for, if the server does not search itself."""
    if scheduler_of(crew.config) is None or not crew.leased or not crew.options.search:
        yield
        return
    searcher = Searcher(WandbApi(api.backend, patience=1.0), crew, slots)
    searcher.start()
    try:
        yield
    finally:
        searcher.stop()


def check(config: Mapping[str, Any]) -> None:
    """Raise UsageError where the search of a sweep's scheduler cannot start: a package or the source is not here."""
    scheduler = scheduler_of(config)
    if scheduler is None:
        return
    engine = str(scheduler["engine"])
    module, install = PACKAGES.get(engine, ("", ""))
    elsewhere = "or have another process search, with --no-search here"
    if not module:
        raise UsageError(f"the sweep's scheduler has the engine {engine!r}; known are {', '.join(PACKAGES)}", elsewhere)
    if not _has_scheduler():
        raise UsageError("this wandb client has no sweep scheduler", "install wandb 0.31 or later")
    if find_spec(module) is None:
        raise UsageError(f"the sweep's engine {engine} needs the package {module}, which is not installed", install)
    source = scheduler.get("source")
    if source and any(key in scheduler for key in FUNCTIONS[engine]) and not os.path.isfile(source):
        where = f"the sweep's source {source!r} is not there (looked in {Path.cwd()})"
        raise UsageError(where, f"start sweepkit in the folder that holds it, {elsewhere}")


def _has_scheduler() -> bool:
    try:
        return find_spec("wandb.sdk.sweeps.scheduler") is not None
    except ModuleNotFoundError:  # not even the package above it, in older clients
        return False


class Searcher(threading.Thread):
    """Starts the search, starts it again when it dies, and ends it; the crew hears of a search that cannot go on."""

    def __init__(self, api: WandbApi, crew: Crew, slots: int) -> None:
        super().__init__(name="searcher", daemon=True)
        self._api, self._crew, self._slots = api, crew, slots
        self._ending = threading.Event()
        folder = make_home() / "trials" / re.sub(r"[^\w-]", "_", crew.ref.id)
        folder.mkdir(parents=True, exist_ok=True)
        self._lock, self.log = folder / "search.lock", folder / f"search-{os.getpid()}.log"
        self._process: Process | None = None
        self.starts = 0

    def run(self) -> None:
        try:
            self._look_after()
        except SweepkitError as error:
            self._crew.fail(error)
        except Exception as error:  # a defect of sweepkit must not leave the agents waiting for trials
            self._crew.fail(SweepkitError(f"looking after the search broke: {error!r}", "please report this"))

    def stop(self) -> None:
        """End the search, and wait for it."""
        self._ending.set()
        self.join()

    def _look_after(self) -> None:
        deaths, runs = 0, self._runs()
        while not self._ending.is_set():
            said_from = self.log.stat().st_size if self.log.exists() else 0
            code = self._one()
            if code is None or self._is_over():
                return
            failure = told(self._output(said_from), code, self._crew.ref)
            now = self._runs()
            deaths, runs = (deaths + 1 if now == runs else 1), now
            if failure.hopeless or deaths > RETRIES:
                raise SweepkitError(f"the search for {self._crew.ref.path} failed: {failure.why}", self._hint())
            self._crew.view.say(f"the search ended: {failure.why}; it is started again")
            self._ending.wait(2.0 ** (deaths - 1))

    def _one(self) -> int | None:
        """A search from its start to its end: its exit code, or None where it was ended from here."""
        batch = self._batch()
        self._process = self._start(batch)
        looked = time.monotonic()
        while (code := self._process.poll()) is None:
            if self._ending.wait(_POLL):
                self._end(self._process)
                return None
            if time.monotonic() > looked + _LOOK:
                looked = time.monotonic()
                if self._batch() > batch:  # more agents came: it is asked for more runs at a time
                    self._end(self._process)
                    batch = self._batch()
                    self._process = self._start(batch)
        return code

    def _start(self, batch: int) -> Process:
        crew = self._crew
        if not self.starts:
            engine = crew.config["scheduler"]["engine"]
            crew.view.say(f"search: `wandb sweep-scheduler` with the engine {engine}; its output: {self.log}")
        again = {"SWEEPKIT_SEARCH_AGAIN": "1"} if self.starts else {}
        self.starts += 1
        line = [sys.executable, "-m", f"{__package__}.search_process", crew.ref.path, crew.backend.kind]
        line += [str(self._lock), f"--batch-size={batch}"]
        line.append(f"--poll-interval={2 * crew.backend.heartbeat:g}")  # W&B's own 10 s, or its client's least, 5 s
        own = {"WANDB_SILENT": "false", "PYTHONUNBUFFERED": "1", leftovers.MARK: leftovers.new_mark(), **again}
        with self.log.open("a+b") as output:
            return FreshProcess(Order(line, {**environment(crew.backend, os.environ), **own}, output))

    def _end(self, process: Process) -> None:
        """Ask it to end, and kill it when it takes too long."""
        process.tell(b"t")
        until = time.monotonic() + _FAREWELL
        while process.poll() is None:
            if time.monotonic() > until:
                process.tell(b"k")
            process.pause(0.1)

    def _batch(self) -> int:
        """How many runs are in flight at once: some for each slot, of this command and of all others; no more than
        there are to be."""
        crew = self._crew
        agents = self._attempt(lambda: self._api.agents(crew.ref)) or []
        slots = max(self._slots, sum(str(agent.get("state")).upper() == "RUNNING" for agent in agents))
        wanted = [AHEAD * slots, crew.count, crew.config.get("run_cap")]
        return max(1, min(number for number in wanted if isinstance(number, int)))

    def _is_over(self) -> bool:
        """Whether the sweep needs no search: it is over, deleted, or has all runs that it may have."""
        while not self._ending.is_set():
            try:
                sweep = self._api.sweep(self._crew.ref)
            except NotFound:
                return True
            except Unreachable:
                self._ending.wait(2.0)
                continue
            cap = sweep.config.get("run_cap")
            return sweep.is_over or (isinstance(cap, int) and sweep.run_count >= cap)
        return True

    def _runs(self) -> int:
        sweep = self._attempt(lambda: self._api.sweep(self._crew.ref))
        return sweep.run_count if sweep else 0

    def _attempt(self, ask: Callable[[], T]) -> T | None:
        try:
            return ask()
        except SweepkitError:
            return None

    def _output(self, start: int) -> list[str]:
        with self.log.open("rb") as file:
            file.seek(min(start, self.log.stat().st_size))
            return file.read(2**20).decode("utf-8", "replace").splitlines()

    def _hint(self) -> str:
        source = self._crew.config["scheduler"].get("source") or "the cause"
        return f"its output is in {self.log}; mend {source}, and `sweepkit agents {self._crew.ref.id}` goes on with it"


def told(lines: Sequence[str], code: int, ref: SweepRef) -> Failure:
    """What a search's own output and exit code say of its end, in a line."""
    said = [re.sub(r"^wandb:( ERROR)? ", "", line) for line in lines]
    hopeless = code > 0 and not any(_STARTED in line for line in said) and not any("to initialize" in s for s in said)
    if code < 0:
        return Failure(f"it was ended by signal {-code}", False)
    if raised := _raised(said):
        return Failure(raised, hopeless)
    own = [line for line in said if line.startswith("Sweep scheduler for ")]
    what = re.sub(r"^Sweep scheduler for .*? (exited|failed to \w+): ", "", own[-1]) if own else ""
    return Failure(what.strip().rstrip(".") or f"it ended with exit code {code}", hopeless)


def _raised(lines: Sequence[str]) -> str | None:
    """The last exception in the output, and where in the user's own files it came from."""
    starts = [n for n, line in enumerate(lines) if line.startswith("Traceback (most recent call last)")]
    if not starts:
        return None
    rest = lines[starts[-1] + 1 :]
    end = next((n for n, line in enumerate(rest) if line and not line[0].isspace()), None)
    if end is None:
        return None
    places = [found for line in rest[:end] if (found := re.match(r'\s+File "(.+)", line (\d+)', line))]
    own = [place for place in places if "site-packages" not in place[1] and not place[1].startswith("<")]
    where = f" ({Path(own[-1][1]).name}, line {own[-1][2]})" if own else ""
    return rest[end] + where
