"""How hard a slot works, read again and again while its trial runs: for the eyes of people, and for packing."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

import psutil

from . import host
from .devices import Slot
from .gpus import Gpu, measure

_SOONEST = 0.25  # seconds between two readings of the processes; what asks sooner gets the last reading again


@dataclass(frozen=True)
class Gauge:
    """``utilisation`` from 0 to 1 (of the slot's GPUs, or of its share of the cores); ``memory`` in use and the
    ``total`` there is, in bytes. None is what is not known (yet)."""

    utilisation: float | None = None
    memory: int | None = None
    total: int | None = None


class Gauges:
    """Reads slots; remembers what the processes of each had used, because the use of a CPU lies between two readings.

    On a GPU the whole GPU is read, whoever uses it. On the CPU it is the trial's processes: ``pids`` and all below
    them, with what several of them share counted for each (RSS).
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._used: dict[str, tuple[float, dict[int, float], Gauge]] = {}
        self._table: tuple[float, dict[int, list[psutil.Process]]] = (0.0, {})

    def read(self, slot: Slot, pids: Iterable[int]) -> Gauge:
        """The gauge of ``slot``. Never raises: what cannot be read is None."""
        try:
            if slot.gpus:
                return _of_gpus(slot.gpus)
            with self._lock:
                return self._of_processes(slot, set(pids))
        except Exception:  # whatever is wrong with a gauge, trials go on
            return Gauge()

    def _of_processes(self, slot: Slot, pids: set[int]) -> Gauge:
        now = time.monotonic()
        before, seconds, last = self._used.get(slot.label, (0.0, {}, Gauge()))
        if pids & set(seconds) and now - before < _SOONEST:
            return last
        used: dict[int, float] = {}
        memory = 0
        for process in self._family(pids, now):
            with suppress(psutil.Error):  # it has just ended
                times = process.cpu_times()
                used[process.pid] = times.user + times.system
                memory += process.memory_info().rss
        gauge = Gauge(None, memory, int(host.total_memory())) if used else Gauge()
        if seconds and used:
            spent = sum(max(0.0, total - seconds.get(pid, 0.0)) for pid, total in used.items())
            gauge = Gauge(min(1.0, spent / (now - before) / max(1, slot.cores)), memory, gauge.total)
        self._used[slot.label] = (now, used, gauge)
        return gauge

    def _family(self, pids: set[int], now: float) -> list[psutil.Process]:
        """The processes ``pids`` and all below them. The table of all processes serves the readings of many slots."""
        if now - self._table[0] > _SOONEST:
            children: dict[int, list[psutil.Process]] = {}
            for process in psutil.process_iter():
                with suppress(psutil.Error):
                    children.setdefault(process.ppid(), []).append(process)
            self._table = (now, children)
        found = []
        for pid in pids:
            with suppress(psutil.Error):
                found.append(psutil.Process(pid))
        todo = list(pids)
        seen = set(pids)
        while todo:
            for child in self._table[1].get(todo.pop(), []):
                if child.pid not in seen:
                    seen.add(child.pid)
                    found.append(child)
                    todo.append(child.pid)
        return found


def _of_gpus(gpus: Iterable[Gpu]) -> Gauge:
    """Mean utilisation and summed memory; what one of the GPUs does not tell is not known of all."""
    readings = [measure(gpu) for gpu in gpus]
    busy = [each for each, _, _ in readings if each is not None]
    used = [each for _, each, _ in readings if each is not None]
    total = [each for _, _, each in readings if each is not None]
    whole = len(readings)
    return Gauge(
        sum(busy) / whole if len(busy) == whole else None,
        sum(used) if len(used) == whole else None,
        sum(total) if len(total) == whole else None,
    )


_shared = Gauges()
read = _shared.read
