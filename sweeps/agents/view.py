"""What people see while agents work: a live table on a terminal, plain lines elsewhere. All of it goes to stderr."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...output import is_terminal, message
from ..board import Board, Row, clock, draw
from ..course import PLANNED, Course, age, number
from ..screen import Screen
from ..time_left import time_left

if TYPE_CHECKING:
    from ..best import Best
    from ..wandb_api import Run, Sweep
    from .crew import Ended
    from .devices import Slot
    from .gauges import Gauge
    from .trial import Trial

_GAUGES = 2.0  # seconds between two readings


def make_view(
    slots: Sequence[Slot], config: Mapping[str, Any], count: int | None, expected: int | None, quiet: bool = False
) -> View:
    """The view that suits standard error: live on a terminal, plain lines elsewhere, nothing when ``quiet``."""
    if quiet:
        return View(slots, config, count, expected)
    kind = Live if is_terminal(sys.stderr) else Plain
    return kind(slots, config, count, expected)


class View:
    """What is known of the sweep and of this command's slots; says nothing by itself.

    Called by the threads of all slots, so every public method holds the lock.
    """

    def __init__(
        self, slots: Sequence[Slot], config: Mapping[str, Any], count: int | None, expected: int | None
    ) -> None:
        self.course = Course(config, expected)
        self.labels = [slot.label for slot in slots]
        self.running: dict[str, Trial] = {}
        self.done: set[str] = set()  # by run id: a trial that is tried again is still one
        self.tries: dict[str, int] = {}  # run id -> how often it was tried again
        self.count = count
        self.state = "RUNNING"
        self.lock = threading.RLock()

    def __enter__(self) -> View:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def say(self, text: str) -> None:
        """A message for people."""

    def started(self, trial: Trial) -> None:
        with self.lock:
            self.running[trial.slot.label] = trial

    def ended(self, ended: Ended) -> None:
        with self.lock:
            self.running.pop(ended.trial.slot.label, None)
            self.course.measured(ended.trial.run_id, ended.trial.seconds)
            if ended.retry:
                self.tries[ended.trial.run_id] = ended.retry
            elif not ended.left or self.count is not None:  # what is left to others is not done but for this command
                self.done.add(ended.trial.run_id)
            if ended.run:
                self.course.look([ended.run])

    def look(
        self, sweep: Sweep, runs: Sequence[Run], serving: Iterable[str] | None = None, scores: Sequence[Best] = ()
    ) -> None:
        """Take in how the runs of the sweep stand, which slots still take trials, and the best values of runs."""
        with self.lock:
            if sweep.state == "PAUSED" and self.state != "PAUSED":
                self.say("the sweep is paused: running trials go on, and new ones wait for `sweepkit resume`")
            self.state = sweep.state
            for score in scores:
                self.course.exact(score.run.id, score.value)
            self.course.look(runs)
            if serving is not None:
                now = list(serving)
                self.labels = [label for label in self.labels if label in now] + [
                    label for label in now if label not in self.labels
                ]

    def summary(self, ended: Mapping[str, int], verdict: str | None) -> None:
        """The last line, when all is over."""

    def progress(self) -> tuple[int, int | None]:
        """Trials done and trials in all: of this command where it has a count, else of the sweep."""
        if self.count is not None:
            return len(self.done), self.count
        over = {run.id for run in self.course.runs.values() if run.state not in PLANNED}
        return len(self.done | over), self.course.total

    def board(self, gauges: Mapping[str, Gauge]) -> Board:
        """All that the live view shows. ``gauges`` are the slots', by label."""
        with self.lock:
            done, total = self.progress()
            own = {trial.run_id: trial for trial in self.running.values()}
            others = [run for run in self.course.runs.values() if run.state in ("running", "preempting")]
            others = [run for run in others if run.id not in own and run.id not in self.done]
            places = [*self.labels, *(label for label in self.running if label not in self.labels)]
            working = [self.course.running(self.course.runs.get(name), own[name].seconds) for name in own]
            if self.count is None:
                working += [self.course.running(run, age(run) or 0.0) for run in others]
            over = self.state in ("FINISHED", "CANCELED")
            waiting = 0 if over else None if total is None else max(0, total - done - len(working))
            elsewhere = len(others) if self.count is None else 0
            return Board(
                rows=[self._row(label, gauges.get(label)) for label in places],
                done=done,
                total=total,
                metric=self.course.metric or "",
                sign=self.course.sign,
                counts=self.course.counts(),
                retries=sum(self.tries.values()),
                elsewhere=len(others),
                left=time_left(self.course.seconds(), working, waiting, len(places) + elsewhere),
                state=self.state,
                curve=self.course.curve,
                best=self.course.best_text(),
            )

    def _row(self, label: str, gauge: Gauge | None) -> Row:
        trial = self.running.get(label)
        if trial is None:
            return Row(label)
        run = self.course.runs.get(trial.run_id)
        again = f"retry {self.tries[trial.run_id]}: " if trial.run_id in self.tries else ""
        return Row(
            label,
            again + (self.course.tried(trial.args) or trial.run_id),
            busy=True,
            use=gauge.utilisation if gauge else None,
            memory=_memory(gauge, trial.slot) if gauge else "",
            reached=self.course.reached(run),
            value=self.course.value(run) if run else None,
            rate=self.course.rate(run),
            seconds=trial.seconds,
        )


class Plain(View):
    """One line for each thing that happens."""

    def say(self, text: str) -> None:
        with self.lock:
            message(text)

    def started(self, trial: Trial) -> None:
        super().started(trial)
        self.say(f"trial {trial.run_id} started on {trial.slot.label}: {self.course.tried(trial.args)}")

    def ended(self, ended: Ended) -> None:
        super().ended(ended)
        self.say(" ".join(part for part in (_end_line(ended), self._value(ended), self._score()) if part))
        if ended.kind == "failed":
            self.say(_last_lines(ended.trial))

    def summary(self, ended: Mapping[str, int], verdict: str | None) -> None:
        if verdict:
            self.say(verdict)
        self.say(_counts(ended))

    def _value(self, ended: Ended) -> str:
        value = self.course.values.get(ended.trial.run_id)
        return "" if value is None else f"{self.course.metric}={number(value)}"

    def _score(self) -> str:
        done, total = self.progress()
        found = self.course.best()
        best = f"(best {number(found[1])}) " if found else ""
        return f"{best}{done}/{total}" if total else f"{best}{done} done"


class Live(View):
    """A table that is redrawn in place, and is gone when all is over."""

    def __init__(self, *known: Any) -> None:
        super().__init__(*known)
        self._gauges: dict[str, Gauge] = {}
        self._read_at = 0.0
        self._screen = Screen(self.draw, before=self._read)

    def __enter__(self) -> View:
        self._screen.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._screen.__exit__(*error)

    def say(self, text: str) -> None:
        self._screen.say(text)

    def ended(self, ended: Ended) -> None:
        super().ended(ended)
        if ended.kind == "failed":
            self.say(f"{_end_line(ended)}\n{_last_lines(ended.trial)}")

    def summary(self, ended: Mapping[str, int], verdict: str | None) -> None:
        if verdict:
            self.say(verdict)
        self.say(_counts(ended))

    def draw(self, width: int, height: int, colours: bool = False, plain: bool = False) -> list[str]:
        """The lines for a terminal of that size."""
        return draw(self.board(self._gauges), width, height, colours, plain)

    def _read(self) -> None:
        """Read the gauges of busy slots, now and then: on the CPU that means a look at all processes."""
        began = time.monotonic()
        if began < self._read_at:
            return
        from . import gauges

        with self.lock:
            busy = list(self.running.values())
        self._gauges = {trial.slot.label: gauges.read(trial.slot, _pids(trial)) for trial in busy}
        took = time.monotonic() - began
        self._read_at = time.monotonic() + max(_GAUGES, 50 * took)


def _pids(trial: Trial) -> list[int]:
    return [trial.process.pid] if trial.process else []


def _memory(gauge: Gauge, slot: Slot) -> str:
    """GiB in use; of a GPU, of how many."""
    if gauge.memory is None:
        return ""
    total = f"/{gauge.total / 2**30:.0f}" if gauge.total and slot.gpus else ""
    return f"{gauge.memory / 2**30:.1f}{total}G"


def _end_line(ended: Ended) -> str:
    trial = ended.trial
    why = f" ({ended.why})" if ended.why else ""
    again = f"; it is tried again (retry {ended.retry})" if ended.retry else ""
    again = "; it is left to other agents" if ended.left else again
    return f"trial {trial.run_id} {ended.kind} on {trial.slot.label} after {clock(trial.seconds)}{why}{again}"


def _last_lines(trial: Trial) -> str:
    lines = trial.tail()
    head = f"  its last lines (all of them: {trial.log}):" if lines else f"  it wrote nothing ({trial.log})"
    return "\n".join([head, *(f"  | {line}" for line in lines)])


def _counts(ended: Mapping[str, int]) -> str:
    told = [f"{count} {kind}" for kind, count in ended.items() if count]
    return f"trials: {', '.join(told) or 'none'}"
