"""What people see while agents work: a live table on a terminal, plain lines elsewhere. All of it goes to stderr."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...output import console, message, printable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

    from ..wandb_api import Run, Sweep
    from .crew import Ended
    from .devices import Slot
    from .trial import Trial

_BROKEN = ("failed", "crashed", "killed", "preempted")
_PLANNED = ("pending", "running", "preempting", "preempted")


def make_view(
    slots: Sequence[Slot], config: Mapping[str, Any], count: int | None, expected: int | None, quiet: bool = False
) -> View:
    """The view that suits standard error: live on a terminal, plain lines elsewhere, nothing when ``quiet``."""
    if quiet:
        return View(slots, config, count, expected)
    kind = Live if sys.stderr.isatty() else Plain
    return kind(slots, config, count, expected)


class View:
    """What is known of the sweep and of this command's slots; says nothing by itself.

    Called by the threads of all slots, so every public method holds the lock.
    """

    def __init__(
        self, slots: Sequence[Slot], config: Mapping[str, Any], count: int | None, expected: int | None
    ) -> None:
        metric = config.get("metric") or {}
        self.metric: str | None = metric.get("name")
        self.sign = 1 if metric.get("goal") == "maximize" else -1  # W&B's default goal is to minimize
        self.names = searched(config.get("parameters") or {})
        self.labels = [slot.label for slot in slots]
        self.running: dict[str, Trial] = {}
        self.runs: dict[str, Run] = {}
        self.values: dict[str, float] = {}
        self.done: set[str] = set()  # by run id: a trial that is tried again is still one
        self.seconds: list[float] = []
        self.count, self.expected = count, expected
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
            if not ended.retry:
                self.done.add(ended.trial.run_id)
            if ended.run:
                self._note(ended.run)
            if ended.kind == "finished":
                self.seconds.append(ended.trial.seconds)

    def look(self, sweep: Sweep, runs: Sequence[Run]) -> None:
        """Take in how the runs of the sweep stand."""
        with self.lock:
            if sweep.state == "PAUSED" and self.state != "PAUSED":
                self.say("the sweep is paused: running trials go on, and new ones wait for `sweepkit resume`")
            self.state = sweep.state
            for run in runs:
                self._note(run)

    def _note(self, run: Run) -> None:
        self.runs[run.id] = run
        if (value := self.value(run)) is not None:
            self.values[run.id] = max(self.values.get(run.id, value), value, key=lambda each: self.sign * each)

    def summary(self, ended: Mapping[str, int], verdict: str | None) -> None:
        """The last line, when all is over."""

    def value(self, run: Run) -> float | None:
        """The run's metric as its summary has it: the last value, or what ``define_metric`` made of it."""
        found: Any = run.summary.get(self.metric or "")
        if isinstance(found, Mapping):
            found = found.get("max" if self.sign > 0 else "min", found.get("last"))
        if isinstance(found, bool) or not isinstance(found, (int, float)) or not math.isfinite(found):
            return None
        return float(found)

    def best(self) -> tuple[Run, float] | None:
        """The best run so far by the values seen, running ones included; the earlier one of equals."""
        alive = [(run, self.values[run.id]) for run in self.runs.values() if run.id in self.values]
        alive = [(run, value) for run, value in alive if run.state not in _BROKEN]
        return max(alive, key=lambda pair: self.sign * pair[1]) if alive else None

    def progress(self) -> tuple[int, int | None]:
        """Trials done and trials in all: of this command where it has a count, else of the sweep."""
        if self.count is not None:
            return len(self.done), self.count
        elsewhere = sum(run.state not in _PLANNED for run in self.runs.values())
        return max(len(self.done), elsewhere), self.expected

    def left(self) -> float | None:
        """Seconds until the last trial ends, if they go on as so far."""
        done, total = self.progress()
        if not self.seconds or total is None:
            return None
        mean = sum(self.seconds) / len(self.seconds)
        spent = sum(min(trial.seconds, mean) for trial in self.running.values())
        return max(0.0, (total - done) * mean - spent) / max(1, min(len(self.labels), total - done))

    def best_text(self) -> str:
        found = self.best()
        if not found or not self.metric:
            return ""
        run, value = found
        return f"{self.metric}={number(value)} {run.id} {parameters(run.config, self.names)}".rstrip()


class Plain(View):
    """One line for each thing that happens."""

    def say(self, text: str) -> None:
        with self.lock:
            message(text)

    def started(self, trial: Trial) -> None:
        super().started(trial)
        self.say(f"trial {trial.run_id} started on {trial.slot.label}: {parameters(trial.args, self.names)}")

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
        value = self.values.get(ended.trial.run_id)
        return "" if value is None else f"{self.metric}={number(value)}"

    def _score(self) -> str:
        done, total = self.progress()
        found = self.best()
        best = f"(best {number(found[1])}) " if found else ""
        return f"{best}{done}/{total}" if total else f"{best}{done} done"


class Live(View):
    """A table that is redrawn in place, and is gone when all is over."""

    def __init__(self, *known: Any) -> None:
        super().__init__(*known)
        from rich.live import Live as Redrawn

        self.console: Console = console(stderr=True)
        self._live = Redrawn(
            console=self.console, get_renderable=self.render, refresh_per_second=4, transient=True,
            redirect_stdout=False, redirect_stderr=False,
        )  # fmt: skip

    def __enter__(self) -> View:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        self.console.print(printable(text), soft_wrap=True)

    def ended(self, ended: Ended) -> None:
        super().ended(ended)
        if ended.kind == "failed":
            self.say(f"{_end_line(ended)}\n{_last_lines(ended.trial)}")

    def summary(self, ended: Mapping[str, int], verdict: str | None) -> None:
        if verdict:
            self.say(verdict)
        self.say(_counts(ended))

    def render(self) -> RenderableType:
        """The table of slots, the bar and the best so far."""
        from rich.console import Group
        from rich.text import Text

        with self.lock:
            best = Text(printable(f"best  {self.best_text() or 'none yet'}"), no_wrap=True, overflow="ellipsis")
            return Group(self._table(), self._bar(), best)

    def _table(self) -> Table:
        from rich.table import Table

        table = Table(box=None, expand=True, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column("slot", min_width=max(map(len, self.labels)), no_wrap=True)
        table.add_column("trial", ratio=1, no_wrap=True, overflow="ellipsis")
        for heading, width in (("epoch", 5), (self.metric or "metric", 8), ("time", 7)):
            table.add_column(heading, justify="right", min_width=width, no_wrap=True)
        for label in self.labels:
            table.add_row(label, *self._cells(label))
        return table

    def _cells(self, label: str) -> Iterable[RenderableType]:
        from rich.text import Text

        trial = self.running.get(label)
        if trial is None:
            return Text("waiting", style="dim"), "", "", ""
        run = self.runs.get(trial.run_id)
        value = self.value(run) if run else None
        name = Text(printable(parameters(trial.args, self.names) or trial.run_id))
        return name, _epoch(run), "" if value is None else number(value), clock(trial.seconds)

    def _bar(self) -> RenderableType:
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        done, total = self.progress()
        left = self.left()
        line = Table.grid(padding=(0, 2, 0, 0), expand=True)
        line.add_column(ratio=1)
        line.add_column(no_wrap=True)
        bar = ProgressBar(total=total, completed=done) if total else ProgressBar(pulse=True, animation_time=time.time())
        text = f"{done}/{total} trials" if total else f"{done} trials"
        line.add_row(bar, text if left is None else f"{text} · about {clock(left)} left")
        return line


def searched(parameters: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The dotted names of the parameters that differ between trials: not those with one fixed value."""
    names = []
    for name, entry in parameters.items():
        if not isinstance(entry, Mapping) or "value" in entry or len(entry.get("values", (0, 1))) < 2:
            continue
        inner = entry.get("parameters")
        names += searched(inner, f"{prefix}{name}.") if isinstance(inner, Mapping) else [prefix + name]
    return names


def parameters(values: Mapping[str, Any], names: Sequence[str]) -> str:
    """``lr=0.001 optimizer=Adam``, nested ones by their dotted names; what is not there is left out."""
    found = []
    for name in names:
        value: Any = values
        for part in name.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is not None:
            found.append(f"{name}={number(value)}")
    return " ".join(found)


def number(value: Any) -> str:
    """A value as people read it: four significant digits of a float."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _epoch(run: Run | None) -> str:
    reached = run.summary.get("epoch", run.summary.get("_step")) if run else None
    return "" if reached is None else number(reached)


def _end_line(ended: Ended) -> str:
    trial = ended.trial
    why = f" ({ended.why})" if ended.why else ""
    again = f"; it is tried again (retry {ended.retry})" if ended.retry else ""
    return f"trial {trial.run_id} {ended.kind} on {trial.slot.label} after {clock(trial.seconds)}{why}{again}"


def _last_lines(trial: Trial) -> str:
    lines = trial.tail()
    head = f"  its last lines (all of them: {trial.log}):" if lines else f"  it wrote nothing ({trial.log})"
    return "\n".join([head, *(f"  | {line}" for line in lines)])


def _counts(ended: Mapping[str, int]) -> str:
    told = [f"{count} {kind}" for kind, count in ended.items() if count]
    return f"trials: {', '.join(told) or 'none'}"
