"""Regret curves: one is an engine's way through an objective from a seed. Measured in processes, kept in a file."""

from __future__ import annotations

import functools
import hashlib
import json
import multiprocessing
import os
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from . import digits_table, engines, moved, objectives

PENDING = {"sequential": 1, "pending": 8}  # mode -> how many trials are running when the next one is asked for


@dataclass(frozen=True, order=True)
class Task:
    """One curve to be measured."""

    engine: str
    mode: str
    objective: str
    seed: int


@dataclass(frozen=True)
class Curve:
    """``regrets`` is the simple regret after each told trial; ``asks`` what each ask took, in seconds."""

    task: Task
    version: str
    regrets: tuple[float, ...]
    asks: tuple[float, ...]


def measure(task: Task, trials: int) -> Curve:
    """Go an engine's way: the oldest of the running trials is told, then a new one is asked for."""
    objective = _objective(task)
    searcher = engines.ENGINES[task.engine](objective, task.seed)
    running: deque[tuple[object, dict[str, object]]] = deque()
    regrets: list[float] = []
    asks: list[float] = []
    while len(regrets) < trials:
        while len(running) < PENDING[task.mode] and len(asks) < trials:
            began = time.perf_counter()
            key, config = searcher.ask()
            asks.append(round(time.perf_counter() - began, 5))
            running.append((key, dict(config)))
        key, config = running.popleft()
        searcher.tell(key, objective.measured(config, task.seed, len(regrets)))
        regrets.append(min([objective.regret(config), *regrets[-1:]]))
    return Curve(task, version(task), tuple(regrets), tuple(asks))


def _objective(task: Task) -> objectives.Objective:
    if task.objective in moved.MOVED:
        return moved.MOVED[task.objective].at(task.objective, task.seed)
    return objectives.OBJECTIVES[task.objective]


def version(task: Task) -> str:
    """What a curve depends on besides its task: the engine's version and the objective's."""
    return f"{engines.version(task.engine)}; objectives {_objectives(task.objective in moved.MOVED)}"


@functools.cache
def _objectives(is_moved: bool) -> str:
    files = [Path(objectives.__file__), digits_table.TABLE, *([Path(moved.__file__)] if is_moved else [])]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


class CurveFile:
    """Curves as lines of JSON. Each is written at once, so that a bench may be interrupted."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def read(self, wanted: Iterable[Task], trials: int) -> dict[Task, Curve]:
        """Those of the wanted curves that are in the file, by the engines and objectives as they are now."""
        found: dict[Task, Curve] = {}
        looked_for = set(wanted)
        for curve in self._all():
            fits = curve.task in looked_for and curve.version == version(curve.task)
            if fits and len(curve.regrets) >= trials:
                found[curve.task] = Curve(curve.task, curve.version, curve.regrets[:trials], curve.asks[:trials])
        return found

    def add(self, curve: Curve) -> None:
        if self._path is not None:
            line = json.dumps({**asdict(curve.task), **asdict(curve), "task": None})
            with self._path.open("a") as file:
                file.write(line + "\n")

    def _all(self) -> Iterator[Curve]:
        if self._path is None or not self._path.exists():
            return
        for line in self._path.read_text().splitlines():
            try:
                given = json.loads(line)
                task = Task(given["engine"], given["mode"], given["objective"], given["seed"])
                yield Curve(task, given["version"], tuple(given["regrets"]), tuple(given["asks"]))
            except (ValueError, KeyError, TypeError):
                continue  # the end of a bench that was killed


def all_of(tasks: list[Task], trials: int, jobs: int, file: CurveFile) -> Iterator[Curve]:
    """Measure what is wanted, ``jobs`` curves at a time, each in a process with one thread; told on stderr."""
    began = time.monotonic()
    context = multiprocessing.get_context("spawn")
    with _one_thread(), ProcessPoolExecutor(jobs, mp_context=context) as pool:
        waiting = [pool.submit(measure, task, trials) for task in tasks]
        try:
            for done, future in enumerate(as_completed(waiting), 1):
                curve = future.result()
                file.add(curve)
                _progress(curve, done, len(tasks), time.monotonic() - began)
                yield curve
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextmanager
def _one_thread() -> Iterator[None]:
    """Processes that are started meanwhile compute with one thread; this one's environment is as before afterwards."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _progress(curve: Curve, done: int, count: int, seconds: float) -> None:
    task = curve.task
    left = seconds / done * (count - done)
    what = f"{task.engine} {task.mode} {task.objective} {task.seed}: {curve.regrets[-1]:.3g}"
    print(f"{done} of {count}, {left / 60:.0f} min left  {what}", file=sys.stderr, flush=True)
