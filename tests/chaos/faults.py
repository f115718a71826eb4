"""What goes wrong in a campaign: who is hit, how, and when those that were frozen wake."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

import psutil
from cast import LEASE, Agents, Backend, Scene, trials, with_descendants

#: How often each is chosen. A host is an agent with all that runs below it.
KINDS = {
    "kill trial": 3, "kill guard": 2, "kill agent": 3, "kill backend": 2,
    "terminate trial": 2, "terminate agent": 1, "terminate backend": 1,
    "freeze trial": 2, "freeze agent": 1, "freeze host": 1, "freeze backend": 2,
    "freeze agent past its lease": 1, "freeze host past its lease": 3, "freeze backend past a lease": 1,
    "kill agent+guard": 2, "terminate guard": 1, "freeze guard": 1, "freeze trial past its lease": 1,
}  # fmt: skip
_HITS = 2  # a configuration whose agents are lost three times is given up, as documented: not what is looked for here


class Faults:
    """Hits somebody every now and then; what is frozen is woken when its time has come."""

    def __init__(self, scene: Scene, backend: Backend, agents: Agents, number: int, seed: int) -> None:
        self.scene, self.backend, self.agents = scene, backend, agents
        self.left = number
        self.done: Counter[str] = Counter()
        self._source = random.Random(seed)
        self._sleeping: list[tuple[float, list[psutil.Process]]] = []
        self._next = time.monotonic() + 5.0  # the first trials need a moment
        self._hits: Counter[str] = Counter()  # how often which run was hit
        self._names: list[str] = []  # the runs that the last fault hit
        self._began = time.time()
        kinds = [kind for kind in KINDS if not (scene.with_wandb_agent and "guard" in kind)]
        more = self._source.choices(kinds, [KINDS[kind] for kind in kinds], k=max(0, number - len(kinds)))
        self._plan = [*kinds, *more][:number]  # each kind once, if there is room
        self._source.shuffle(self._plan)

    def look(self, pace: Sequence[float]) -> None:
        """Do what is due. ``pace`` is the shortest and the longest pause between two faults."""
        now = time.monotonic()
        for sleeper in [sleeper for sleeper in self._sleeping if sleeper[0] <= now]:
            self._sleeping.remove(sleeper)
            send(sleeper[1], signal.SIGCONT)
        if self.left and now >= self._next:
            kind = self._plan[len(self._plan) - self.left]
            if self._hit(kind):
                self.done[kind] += 1
                self.left -= 1
                self._next = now + self._source.uniform(*pace)
            else:
                self._next = now + 0.2  # nobody is there to be hit

    def wake_all(self) -> None:
        for _, sleepers in self._sleeping:
            send(sleepers, signal.SIGCONT)
        self._sleeping.clear()

    def _hit(self, kind: str) -> bool:
        verb, noun = kind.split()[:2]
        targets = self._targets(noun)
        if not targets:
            return False
        with (self.scene.folder / "faults.log").open("a") as log:
            hit = " ".join(str(process.pid) for process in targets)
            log.write(f"{time.time() - self._began:7.2f} {kind}: {hit} {' '.join(self._names)}\n")
        if verb == "freeze":
            past = kind.endswith("lease")
            seconds = self._source.uniform(1.3, 2.0) * LEASE if past else self._source.uniform(0.1, 0.5) * LEASE
            self._sleeping.append((time.monotonic() + seconds, targets))
            send(targets, signal.SIGSTOP)
        else:
            send(targets, signal.SIGKILL if verb == "kill" else signal.SIGTERM)
        return True

    def _targets(self, noun: str) -> list[psutil.Process]:
        self._names = []
        if noun == "backend":
            found = self.backend.process()
            return [found] if found else []
        if noun in ("agent", "host", "agent+guard"):
            agents = [agent for agent in self.agents.living if agent.poll() is None]
            if not agents:
                return []
            chosen = psutil.Process(self._source.choice(sorted(agents, key=lambda agent: agent.pid)).pid)
            everybody = with_descendants(chosen)
            inside = {process.pid for process in everybody}
            running = trials(self.scene)
            names = [name for name, process in running if process.pid in inside]
            if not self._may_hit(names):
                return []
            guards = [parent for _, process in running if process.pid in inside for parent in _parents(process)]
            return {"host": everybody, "agent": [chosen], "agent+guard": [chosen, *guards]}[noun]
        running = sorted(trials(self.scene), key=_order)
        alive = [(name, process) for name, process in running if self._hits[name] < _HITS]
        if not alive:
            return []
        name, process = self._source.choice(alive)
        self._may_hit([name])
        return _parents(process) if noun == "guard" else [process]

    def _may_hit(self, names: list[str]) -> bool:
        if any(self._hits[name] >= _HITS for name in names):
            return False
        self._hits.update(names)
        self._names = names
        return True


def _parents(process: psutil.Process) -> list[psutil.Process]:
    """The guard of a trial: its parent, if that lives."""
    with suppress(psutil.Error):
        parent = process.parent()
        return [parent] if parent and parent.pid > 1 else []
    return []


def send(processes: Sequence[psutil.Process], signum: int) -> None:
    """To each, first to last; who has ended in between is not there any more."""
    for process in processes:
        with suppress(psutil.Error):
            process.send_signal(signum)


def _order(found: tuple[str, psutil.Process]) -> tuple[str, int]:
    """Of one trial there may be two processes for a moment: a fork of the warm server, and what becomes of it."""
    return found[0], found[1].pid
