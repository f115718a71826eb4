"""How the runs of a sweep stand, look after look: the best so far, how far and how fast each is, how long they take."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..moments import moment
from .time_left import Running

if TYPE_CHECKING:
    from datetime import datetime

    from .wandb_api import Run

BROKEN = ("failed", "crashed", "killed", "preempted")
PLANNED = ("pending", "running", "preempting", "preempted")
_EPOCHS = ("epochs", "num_epochs", "max_epochs", "n_epochs", "num_train_epochs")
_A_SECOND = ("_per_second", "_per_sec", "/s", "/sec")  # how programs call their rate


class Course:
    """What is known of a sweep's runs. ``total`` is how many trials there will be, None where nobody says."""

    def __init__(self, config: Mapping[str, Any], total: int | None = None) -> None:
        metric = config.get("metric") or {}
        self.metric: str | None = metric.get("name")
        self.sign = 1 if metric.get("goal") == "maximize" else -1  # W&B's default goal is to minimize
        self.names = searched(config.get("parameters") or {})
        self._free = "search_space" in (config.get("scheduler") or {})  # whose function says what a trial's are
        self.total = total
        self.runs: dict[str, Run] = {}
        self.values: dict[str, float] = {}  # by run id: the best value seen
        self.curve: list[float] = []  # the best value so far, after each finished run
        self._measured: dict[str, float] = {}
        self._seconds: dict[str, float] = {}
        self._steps: dict[str, tuple[float, float]] = {}
        self._rates: dict[str, float] = {}

    def look(self, runs: Sequence[Run]) -> None:
        """Take in how the runs stand now."""
        for run in runs:
            self.note(run)
        self._draw()

    def note(self, run: Run) -> None:
        """Take in one run."""
        self.runs[run.id] = run
        if (value := self.value(run)) is not None:
            self.exact(run.id, value)
        if run.state in ("running", "preempting"):
            self._pace(run)
        elif run.state not in PLANNED and run.id not in self._seconds and (seconds := age(run)) is not None:
            self._seconds[run.id] = seconds

    def exact(self, run_id: str, value: float) -> None:
        """A value that the run's history has; of several the best counts."""
        self.values[run_id] = max(self.values.get(run_id, value), value, key=lambda each: self.sign * each)

    def measured(self, run_id: str, seconds: float) -> None:
        """A try of a trial took so long here; several tries are added up."""
        self._measured[run_id] = self._measured.get(run_id, 0.0) + seconds

    def seconds(self) -> list[float]:
        """How long each trial that is over took: as it was measured here, else as the backend saw its run."""
        measured = {name: length for name, length in self._measured.items() if self._over(name)}
        return list({**self._seconds, **measured}.values())

    def _over(self, run_id: str) -> bool:
        run = self.runs.get(run_id)
        return run is None or run.state not in ("running", "preempting")

    def value(self, run: Run) -> float | None:
        """The run's metric as its summary has it: the last value, or what ``define_metric`` made of it."""
        found: Any = run.summary.get(self.metric or "")
        if isinstance(found, Mapping):
            found = found.get("max" if self.sign > 0 else "min", found.get("last"))
        return _finite(found)

    def best(self) -> tuple[Run, float] | None:
        """The best run so far by the values seen, running ones included; the earlier one of equals."""
        alive = [(run, self.values[run.id]) for run in self.runs.values() if run.id in self.values]
        alive = [(run, value) for run, value in alive if run.state not in BROKEN]
        return max(alive, key=lambda pair: self.sign * pair[1]) if alive else None

    def best_text(self) -> str:
        found = self.best()
        if not found or not self.metric:
            return ""
        run, value = found
        return f"{self.metric}={number(value)} {run.id} {self.tried(run.config)}".rstrip()

    def tried(self, config: Mapping[str, Any]) -> str:
        """The searched parameters of a trial, in a line."""
        return parameters(config, list(config) if self._free else self.names)

    def counts(self) -> dict[str, int]:
        """How many runs are over, by state; the finished ones first."""
        states = [run.state for run in self.runs.values() if run.state not in PLANNED]
        return {
            state: states.count(state) for state in sorted(set(states), key=lambda each: (each != "finished", each))
        }

    def _draw(self) -> None:
        ends = [run for run in self.runs.values() if run.state == "finished" and run.id in self.values]
        ends.sort(key=lambda run: run.heartbeat_at or "")
        self.curve = []
        for run in ends:
            value = self.values[run.id]
            before = self.curve[-1] if self.curve else value
            self.curve.append(max(before, value, key=lambda each: self.sign * each))

    # One run

    def reached(self, run: Run | None) -> str:
        """The epoch and how many there will be (``3/8``) where the run tells them, else its step."""
        if run is None:
            return ""
        epoch = _finite(run.summary.get("epoch"))
        if epoch is None:
            step = _finite(run.summary.get("_step"))
            return "" if step is None else f"step {step:.0f}"
        epochs = _epochs(run)
        return number(_whole(epoch)) + (f"/{number(_whole(epochs))}" if epochs else "")

    def running(self, run: Run | None, seconds: float) -> Running:
        """A running trial, for ``time_left``."""
        epochs = _epochs(run) if run else None
        epoch = _finite(run.summary.get("epoch")) if run else None
        return Running(seconds, epoch / epochs if epochs and epoch is not None and 0 < epoch <= epochs else None)

    def rate(self, run: Run | None) -> str:
        """How fast it goes: in the unit that the run logs (``samples_per_second``), else in its steps."""
        if run is None:
            return ""
        for name, value in run.summary.items():
            ending = next((each for each in _A_SECOND if name.lower().endswith(each)), None)
            pace = _finite(value)
            if ending and pace is not None and not name.startswith("_"):
                return f"{_thousands(pace)} {name[: -len(ending)].rpartition('/')[2]}/s"
        pace = self._rates.get(run.id)
        if pace is None or pace <= 0:
            return ""
        return f"{_thousands(pace)} steps/s" if pace >= 0.5 else f"{1 / pace:.3g} s/step"

    def _pace(self, run: Run) -> None:
        """Steps a second since the last look that saw another step, or since the run's begin."""
        step, time = _finite(run.summary.get("_step")), _finite(run.summary.get("_timestamp"))
        if step is None or time is None:
            return
        before = self._steps.get(run.id)
        if before is None:
            took = _finite(run.summary.get("_runtime"))
            before = (0.0, time - took) if took else None
        if before is not None and step != before[0]:
            self._rates.pop(run.id, None)  # a run that was resumed goes back
            if step > before[0] and time > before[1]:
                self._rates[run.id] = (step - before[0]) / (time - before[1])
        if self._steps.get(run.id, (None,))[0] != step:
            self._steps[run.id] = (step, time)


def age(run: Run, now: datetime | None = None) -> float | None:
    """Seconds from a run's begin to what was heard of it last, or to ``now``: the backend's clock, else the run's."""
    born, heard = moment(run.created_at), now or moment(run.heartbeat_at)
    if born and heard and heard >= born:
        return (heard - born).total_seconds()
    return _finite(run.summary.get("_runtime"))


def _epochs(run: Run) -> float | None:
    for name in _EPOCHS:
        found = _finite(run.config.get(name))
        if found is not None and found > 0:
            return found
    return None


def _finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def _whole(value: float) -> int | float:
    return int(value) if value == int(value) else value


def _thousands(value: float) -> str:
    """``1234`` as ``1.23k``."""
    for unit in ("", "k", "M"):
        if abs(value) < 999.5:
            return f"{value:.3g}{unit}"
        value /= 1000
    return f"{value:.3g}G"


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
