"""How a trial's processes come into the world: as a fresh program here, or as a fork of a warm server (``warm/``).

Either way there is a guard (``guard.py``) between the agent and the trial.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

_GUARD = Path(__file__).with_name("guard.py")


@dataclass(frozen=True)
class Order:
    """What is to be started: a command with its environment, which writes to the file ``output``."""

    argv: Sequence[str]
    environment: Mapping[str, str]
    output: IO[bytes]


class Process(Protocol):
    """A trial's guard, as its agent sees it."""

    pid: int

    def poll(self) -> int | None:
        """None while the trial runs, then its exit code; ``-N`` when signal N killed it or its guard."""

    def tell(self, word: bytes) -> None:
        """``t``: ask the trial to stop. ``k``: kill all of it. Nothing happens where it has just ended."""

    def pause(self, seconds: float) -> None:
        """Wait so long, or until the trial has ended."""


class Launcher(Protocol):
    """What starts the trials of one slot."""

    def prepare(self, over: Callable[[], bool]) -> None:
        """Get ready for the first trial, until all is ``over``."""

    def start(self, order: Order) -> Process:
        """Start a trial. Raises OSError where the host has no room for one more process or file."""

    def close(self) -> None:
        """No more trials: what was kept ready for the next one goes. Running trials go on."""


class FreshProcess:
    """A guard that was started as a program, and ends as its trial did."""

    def __init__(self, order: Order) -> None:
        self._popen = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_GUARD), *order.argv],
            stdin=subprocess.PIPE, stdout=order.output, stderr=order.output, env=dict(order.environment),
            start_new_session=True,
        )  # fmt: skip
        self.pid = self._popen.pid

    def poll(self) -> int | None:
        return self._popen.poll()

    def tell(self, word: bytes) -> None:
        assert self._popen.stdin is not None
        with suppress(OSError):  # it has just ended
            self._popen.stdin.write(word)
            self._popen.stdin.flush()

    def pause(self, seconds: float) -> None:
        if not hasattr(os, "pidfd_open"):  # not Linux
            time.sleep(seconds)
            return
        try:
            end = os.pidfd_open(self.pid)
        except OSError:  # it has ended and was collected
            return
        try:
            select.select([end], [], [], seconds)
        finally:
            os.close(end)


class Fresh:
    """Each trial is a process that starts from nothing."""

    def prepare(self, over: Callable[[], bool]) -> None:
        pass

    def start(self, order: Order) -> Process:
        return FreshProcess(order)

    def close(self) -> None:
        pass


FRESH = Fresh()
