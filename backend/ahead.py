"""What a search suggests next, worked out before it is asked for, by threads of their own.

Working it out takes tenths of a second where many runs are known. Meanwhile nobody waits: what is known is copied
(``Engine.problem``), solved without the search, and given back to it (``Engine.solved``).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from .search import Engine
from .search.interface import Problem

PATIENCE = 0.1  # s: how long an ask waits for the newest knowledge where an older answer is there,
LONGEST = 2.0  # s: or none is, as when many agents ask at once; then a configuration is drawn at random
_THREADS = 2
_log = logging.getLogger(__name__)

Suggestions = Sequence[dict[str, Any]]


class Ahead:
    """The suggestions for one search. Hold the search's lock while using it, and let it go while waiting."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._revision: int | None = None  # what the search knew when the newest problem was taken from it
        self._newest: Future[Suggestions] | None = None
        self._took = 0.0  # s
        self._older: Suggestions = ()  # what was answered to a problem before it, and not handed out

    def begin(self) -> None:
        """Have the next suggestion worked out from what is known now, one problem at a time."""
        if self._revision == self._engine.revision or self._is_busy():
            return
        if self._newest is not None:
            self._older = _answer(self._newest)
        self._revision = self._engine.revision
        problem = self._engine.problem()
        self._newest = None if problem is None else _threads().submit(self._solve, problem)

    def foresee(self) -> None:
        """A configuration was handed out: begin at once where thinking takes longer than an ask should wait."""
        if self._took > PATIENCE:
            self.begin()

    def awaited(self, since: float) -> Future[Suggestions] | None:
        """What to wait for before asking, who began to at ``since`` (monotonic); None: the search is ready to be asked.

        A lone agent waits for all that is known to be thought of. Of several, one that has waited for PATIENCE takes
        what was thought of just before: another run's end is then not in it yet.
        """
        self.begin()
        if self._newest is None:
            return None
        waited = time.monotonic() - since
        if self._revision == self._engine.revision and self._newest.done():
            answer, self._newest, self._revision = _answer(self._newest), None, None
            self._hand(answer)
        elif self._older and waited > PATIENCE and self._engine.has_alive():
            self._hand(self._older)
        elif waited > LONGEST:
            _log.warning("no suggestion was ready within %g s; a configuration is drawn at random", LONGEST)
            self._hand(())
        else:
            return self._newest
        return None

    def _is_busy(self) -> bool:
        return self._newest is not None and not self._newest.done()

    def _solve(self, problem: Problem) -> Suggestions:
        began = time.monotonic()
        found = problem.solve()
        self._took = time.monotonic() - began
        return found

    def _hand(self, suggestions: Suggestions) -> None:
        self._engine.solved(suggestions)
        self._older = suggestions[1:]


def soon(work: Callable[[], None]) -> None:
    """Do ``work`` in such a thread; what it raises is logged."""

    def do() -> None:
        try:
            work()
        except Exception:  # nobody waits for it
            _log.exception("what a search had to do failed")

    _threads().submit(do)


def _answer(future: Future[Suggestions]) -> Suggestions:
    try:
        return future.result()
    except Exception:  # whatever it is, agents go on: what is not suggested is drawn
        _log.exception("the search could not work out a suggestion")
        return ()


_pool: ThreadPoolExecutor | None = None
_pool_lock = threading.Lock()


def _threads() -> ThreadPoolExecutor:
    global _pool
    with _pool_lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(_THREADS, "search")
        return _pool
