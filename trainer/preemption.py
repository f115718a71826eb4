"""Requests from outside to end early: SIGTERM from a scheduler, or a stop from the sweep's early termination."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType


class Preemption:
    """Turns requests to end into a flag that the training loop reads between two batches.

    ``requested`` is None, ``"preempt"`` (SIGTERM: checkpoint, and be resumed later) or ``"stop"`` (the backend
    ended this run, for example by hyperband: keep the best and finish). The first request stands.
    """

    requested: str | None = None

    def __enter__(self) -> Preemption:
        # Only a main thread may install a handler; under wandb.agent(function=...) the trial is another thread.
        self._main = threading.current_thread() is threading.main_thread()
        if self._main:
            self._before = signal.signal(signal.SIGTERM, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._main:
            signal.signal(signal.SIGTERM, self._before)

    def stop(self) -> None:
        """For ``wandb.Settings(stop_fn=...)``: called in another thread when the backend stops the run."""
        self.requested = self.requested or "stop"

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.requested = self.requested or "preempt"
