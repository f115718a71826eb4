"""The process that searches for a sweep with a ``scheduler:``: W&B's own `wandb sweep-scheduler`, one at a time.

Run below a guard by ``searcher.py``, in the folder and with the rights of the user whose functions it calls. W&B warns
against two schedulers of one sweep, which would not know of each other's runs. On one host the holder of a lock file
searches, and the others wait for it. Another host's is told by the run that a scheduler logs to, its controller run: as
long as that is heard of, this process waits too.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import IO

from ...errors import SweepkitError
from ..backends import Backend
from ..wandb_api import SweepRef, WandbApi

SILENCE = 45.0  # seconds; a scheduler's client is heard of every 30 (`wandb-core`, its file stream's heartbeat)
SEARCHING = "searching"
_POLL = 2.0


def main(path: str, kind: str, lock_file: str, *arguments: str) -> None:
    """Search for the sweep at ``path`` of a backend of that kind, once nobody else does.

    ``arguments`` are further ones of W&B's command.

    SIGTERM ends it in good order, as Ctrl-C does: W&B's client finishes the step that it is at.
    """
    signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    ref = SweepRef(*path.split("/"))
    backend = Backend(kind, os.environ["WANDB_BASE_URL"], os.environ["WANDB_API_KEY"], ref.entity)
    with open(lock_file, "a+", encoding="utf-8") as lock:
        waited = _take(lock)
        last = _read(lock)
        api = WandbApi(backend)
        if not (last and (waited or "SWEEPKIT_SEARCH_AGAIN" in os.environ)):  # else the last one was here, just now
            _write(lock, "")
            if wait_for_others(lambda: api.sweep(ref).is_over, lambda: api.last_search(ref), last):
                return
        _write(lock, SEARCHING)
        try:
            _search(path, *arguments)
        finally:
            with suppress(SweepkitError, KeyboardInterrupt):
                _write(lock, api.last_search(ref) or "")


def wait_for_others(over: Callable[[], bool], heard: Callable[[], str | None], left: str) -> bool:
    """Wait as long as a scheduler elsewhere is ``heard`` of, which is a time that moves on; whether all is ``over``.

    Who finds it as the last search of this host ``left`` it, or sees no search before its own, need not wait.
    """
    last, since = heard(), time.monotonic()
    while last and last != left and time.monotonic() < since + SILENCE:
        time.sleep(_POLL)
        if (now := heard()) != last:
            last, since = now, time.monotonic()
        if over():
            return True
    return over()


def _search(path: str, *arguments: str) -> None:
    import wandb
    from wandb.cli.cli import cli

    try:
        cli.main(["sweep-scheduler", path, *arguments], prog_name="wandb")
    finally:
        wandb.teardown()  # it has sent what it had to send


def _take(lock: IO[str]) -> bool:
    """Take the lock; whether another process had it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return True


def _read(lock: IO[str]) -> str:
    """What the last holder left: SEARCHING, or when its search was heard of last, or nothing if it did not search."""
    lock.seek(0)
    return lock.read()


def _write(lock: IO[str], text: str) -> None:
    lock.seek(0)
    lock.truncate()
    lock.write(text)
    lock.flush()


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)
    except SweepkitError as error:  # in the words of W&B's scheduler
        print(f"Sweep scheduler for {sys.argv[1]} failed to initialize: {error.message}", flush=True)
        sys.exit(1)
