"""Packing at work: what the trials of a place log is measured, and the place gets the slots that pay."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING

from . import gauges
from .devices import Place, Slot
from .host import usable_memory
from .packing import Packing

if TYPE_CHECKING:
    from ..wandb_api import Run
    from .crew import Crew, Ended
    from .worker import Worker


class Packer:
    """Gives ``place`` as many slots as its packing says. ``hire`` starts a worker on a new slot.

    A rate is the progress that W&B's own step makes between two rows of a trial, by the times of these rows; it counts
    while as many trials run as there are slots, and each has logged before: one that is still starting disturbs the
    others in its own way.
    """

    def __init__(self, place: Place, crew: Crew, workers: Sequence[Worker], hire: Callable[[Slot], None]) -> None:
        self.packing = Packing(place.most, place.count)
        self._place, self._crew, self._workers, self._hire = place, crew, workers, hire
        self._changed = time.monotonic()
        self._running: frozenset[str] = frozenset()
        self._steady: float | None = None  # the time of day since which these trials run, and all log
        self._rows: dict[str, tuple[float, float]] = {}  # run id -> (step, time of day) of its last row

    def look(self, find: Callable[[str], Run | None]) -> None:
        """Take in what the trials logged meanwhile, and have as many slots as pay. ``find`` finds a run by its id."""
        serving = self._serving()
        if self._crew.closing or len(serving) < self.packing.slots:  # there are no more trials to be had
            return
        if not self.packing.open:
            return
        running = [each.trial.run_id for each in self._own() if each.trial]
        runs = {run_id: run for run_id in running if (run := find(run_id))}
        memory = self._memory(serving)
        with self._crew.lock:
            self.packing.memory(*memory)
            self._measure(runs)
            self._follow(self.packing.decide())

    def ended(self, ended: Ended) -> bool:
        """A trial ended; whether it failed because there were too many others. Then there are fewer slots at once.

        The crew calls this, under its lock.
        """
        if ended.trial.slot.place is not self._place:
            return False
        if ended.kind == "finished":
            steady = ended.trial.started > self._changed
            self.packing.ended(ended.trial.seconds if steady else None)
        if ended.ending.kind != "oom":
            return False
        others = [each for each in self._own() if each.trial and each.trial is not ended.trial]
        crowded = self.packing.out_of_memory(len(others) + 1)
        self._follow(self.packing.slots, first=ended.trial.slot)
        return crowded

    def _own(self) -> list[Worker]:
        return [each for each in self._workers if each.slot.place is self._place]

    def _serving(self) -> list[Worker]:
        return [each for each in self._own() if each.is_alive() and self._crew.serves(each.slot)]

    def _memory(self, serving: Sequence[Worker]) -> tuple[int | None, int | None]:
        """Bytes in use, and in all, of the GPU; on the CPU, of all trials, and of these and what is free."""
        if self._place.gpus:
            gauge = gauges.read(serving[0].slot, [])
            return gauge.memory, gauge.total
        running = [(each.slot, each.trial) for each in serving if each.trial]
        used = [gauges.read(slot, [trial.process.pid]).memory for slot, trial in running]
        known = [each for each in used if each is not None]
        if not known or len(known) < len(used):
            return None, None
        return sum(known), sum(known) + int(usable_memory())

    def _measure(self, runs: Mapping[str, Run]) -> None:
        running = frozenset(each.trial.run_id for each in self._own() if each.trial)
        rows = {run_id: row for run_id in running if run_id in runs and (row := _last_row(runs[run_id]))}
        if running != self._running or len(running) != self.packing.slots:
            self._running, self._steady = running, None
        elif self._steady is None and len(rows) == len(running):
            self._steady = time.time()
        for run_id, (step, moment) in rows.items():
            before_step, before = self._rows.get(run_id, (step, moment))
            if self._steady is not None and before >= self._steady and moment > before:
                self.packing.rate(run_id, (step - before_step) / (moment - before))
        self._rows = rows

    def _follow(self, slots: int, first: Slot | None = None) -> None:
        """Add slots or take some out, ``first`` first. Trials that run there finish."""
        serving = self._serving()
        if slots == len(serving) or (slots > len(serving) and not self._crew.has_more()):
            return
        self._changed = time.monotonic()
        why = f": {self.packing.why}" if self.packing.why else ""
        self._crew.view.say(f"{self._place.name} has {_trials(slots)} at a time now{why}")
        serving.sort(key=lambda each: (each.slot != first, -_number(each.slot)))
        for worker in serving[: max(0, len(serving) - slots)]:
            self._crew.leave(worker.slot)
        taken = {each.slot.label for each in self._own() if each.is_alive()}
        free = (slot for number in count() if (slot := self._place.slot(number, slots)).label not in taken)
        for _ in range(slots - len(serving)):
            self._hire(next(free))


def _last_row(run: Run) -> tuple[float, float] | None:
    """(Step, time of day) of the run's last row."""
    step, moment = run.summary.get("_step"), run.summary.get("_timestamp")
    return (float(step), float(moment)) if isinstance(step, (int, float)) and isinstance(moment, (int, float)) else None


def _number(slot: Slot) -> int:
    return int(slot.label.rpartition(":")[2].rpartition("/")[2])


def _trials(count: int) -> str:
    return "1 trial" if count == 1 else f"{count} trials"
