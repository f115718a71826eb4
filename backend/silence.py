"""Who has been silent for how long, as far as this process could have heard.

A backend that did not run (it was down, frozen, or its host slept) heard nobody, and a clock that was set makes every
note of a time wrong: after either, everybody gets the whole time again before being taken for dead.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable

from . import clock

_EVERY = 0.5  # s between two looks at the clocks
_LAPSE = 2.0  # s that a look may be late, on a busy machine, before what others said may have been missed
_LONG_BEFORE = ""  # sorts before every time


def lost_after() -> float:
    """Seconds without a heartbeat after which an agent, or a run, is taken for dead."""
    return float(os.environ.get("SWEEPKIT_AGENT_LOST_AFTER", "60"))


class Listening:
    """Since when this process has been able to hear. One that nobody watches always was."""

    def __init__(self) -> None:
        self._since: float | None = None  # by the monotonic clock
        self._looked: tuple[float, float] | None = None  # the monotonic and the wall clock at the last look
        self._was_set_back = False
        self._lock = threading.Lock()

    def before(self, seconds: float) -> str:
        """The time such that who was not heard of since has been silent for ``seconds``."""
        with self._lock:
            if self._since is None:
                return clock.ago(seconds)
            self._look()  # the first request after a lapse may come before the watch
            return clock.ago(seconds) if time.monotonic() - self._since >= seconds else _LONG_BEFORE

    async def watch(self, set_back: Callable[[], object]) -> None:
        """Look at the clocks again and again; ``set_back`` is called when the wall clock was."""
        try:
            while True:
                with self._lock:
                    self._look()
                    back, self._was_set_back = self._was_set_back, False
                if back:
                    set_back()
                await asyncio.sleep(_EVERY)
        finally:
            self._since = self._looked = None

    def _look(self) -> None:
        steady, wall = time.monotonic(), time.time()
        if self._looked is None:
            self._since = steady
        else:
            went, wall_went = steady - self._looked[0], wall - self._looked[1]
            if max(went, wall_went) > _EVERY + _LAPSE or wall_went < went - _LAPSE:
                self._since = steady
            self._was_set_back = self._was_set_back or wall_went < -_LAPSE
        self._looked = steady, wall


listening = Listening()


def lost_before() -> str:
    """An agent, or a run, that was not heard of since this time is taken for dead."""
    return listening.before(lost_after())
