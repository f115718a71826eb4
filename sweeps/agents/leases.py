"""Which trials the agents of one command hold, as their heartbeats tell it.

A trial belongs to the agent that it was given to, until a heartbeat that says it ended was answered, whichever slots
run its tries.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

# Named as alive it keeps a backend from giving an agent that goes home a new trial; the embedded one takes it as leave.
LEAVING = "leaving"


class Leases:
    """Runs by the agents that hold them. Every look and every change is made under ``lock``."""

    def __init__(self, lock: threading.RLock) -> None:
        self._lock = lock
        self._agents: dict[str, str] = {}  # run id -> the agent that it was given to
        self._alive: set[str] = set()  # they run, or wait to be tried again
        self._left: set[str] = set()  # nothing is said of them any more
        self._untold: set[str] = set()  # they ended, and no heartbeat that says so was answered yet

    def hold(self, run_id: str, agent: str) -> None:
        """The trial is the agent's, and lives."""
        with self._lock:
            self._agents[run_id] = agent
            self._alive.add(run_id)
            self._left.discard(run_id)
            self._untold.discard(run_id)

    def agent_of(self, run_id: str) -> str | None:
        return self._agents.get(run_id)

    def end(self, run_id: str) -> None:
        """The trial ended: the next heartbeats say so."""
        with self._lock:
            if run_id in self._alive:
                self._alive.remove(run_id)
                self._untold.add(run_id)

    def abandon(self, run_id: str) -> None:
        """Nothing is said of the trial any more: the backend gives it to another agent after a while."""
        with self._lock:
            self._alive.discard(run_id)
            self._left.add(run_id)

    def states(self, agent: str) -> dict[str, bool]:
        """What a heartbeat of ``agent`` says: True for its trials that live, False for those that ended since."""
        with self._lock:
            known = dict.fromkeys(self._alive, True) | dict.fromkeys(self._untold, False)
            return {run_id: lives for run_id, lives in known.items() if self._agents.get(run_id) == agent}

    def told(self, agent: str, states: Mapping[str, bool]) -> None:
        """The backend has heard that."""
        with self._lock:
            for run_id, lives in states.items():
                if not lives and self._agents.get(run_id) == agent:
                    self._untold.discard(run_id)

    def agents_with_news(self) -> list[str]:
        """Agents with trials that ended, of which the backend does not know yet."""
        with self._lock:
            return sorted({self._agents[run_id] for run_id in self._untold})

    def may_speak(self, agent: str) -> bool:
        """False where the agent's silence is to give a trial away."""
        with self._lock:
            return not any(self._agents.get(run_id) == agent for run_id in self._left)

    def has(self, agent: str) -> bool:
        """Whether the agent holds a trial that lives."""
        return True in self.states(agent).values()
