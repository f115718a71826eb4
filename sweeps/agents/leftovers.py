"""What a dead agent left on this host: the second line behind the guards.

A guard ends its trial when the agent dies, and an agent ends a trial whose guard dies. Where both are killed at once
(``pkill -9 -f sweepkit``, say), the kernel ends the trial's first process, and its children may live on. The next
agents on the host end them: every process of a trial carries a mark in its environment, which says whose trial it was.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Iterator
from functools import cache
from typing import Any

MARK = "SWEEPKIT_TRIAL"  # an environment variable by which even a process that lost all its ancestors is known
LENGTH = 32  # of every mark: a fork of a process that is kept warm writes its own over that of its parent
GUARDED = 25.0  # seconds in which the guards of a dead agent have ended its trials
_PID, _START = 8, 8  # hexadecimal digits of a mark that tell the agent: its process id, and when it started


def new_mark() -> str:
    """A trial's mark; it tells this process."""
    return _owner() + secrets.token_hex((LENGTH - _PID - _START) // 2)


def clear() -> None:
    """End what dead agents left here, once their guards have had their time. Returns at once."""
    threading.Thread(target=finish, name="leftovers", daemon=True).start()


def finish() -> None:
    """As ``clear``, and waits for it. Where nothing was left, which is nearly always, that takes no time."""
    until = time.monotonic() + GUARDED
    while left := {mark for process, mark in _marked() if _is_dead(mark) and _is_near(process.pid)}:
        if time.monotonic() > until:
            for mark in left:
                kill_marked(mark)
        time.sleep(0.5)


def kill_marked(mark: str) -> None:
    """Kill every process that carries a trial's mark, until there is none."""
    import psutil

    while left := family(mark):
        for process in left:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(left, timeout=1)


def family(mark: str) -> list[Any]:
    """The living processes that carry a trial's mark."""
    return [process for process, found in _marked() if found == mark]


def _marked() -> Iterator[tuple[Any, str]]:
    """The living processes that carry a mark, of those that this user may look at."""
    import psutil

    for process in psutil.process_iter():
        try:
            mark = process.environ().get(MARK, "")
            if len(mark) == LENGTH and process.status() != psutil.STATUS_ZOMBIE:
                yield process, mark
        except (psutil.Error, OSError):
            continue


def _is_dead(mark: str) -> bool:
    """Whether the agent whose trial this was is gone; another process may have its number now."""
    try:
        pid = int(mark[:_PID], 16)
    except ValueError:  # no mark of ours
        return False
    return pid > 0 and _told_by(pid) != mark[: _PID + _START]  # zeros: a process kept warm that is no trial yet


def _is_near(pid: int) -> bool:
    """Whether the numbers of processes mean the same to that process as to this one: in a container they do not."""
    try:
        return os.readlink(f"/proc/{pid}/ns/pid") == os.readlink("/proc/self/ns/pid")
    except OSError:
        return False


@cache
def _owner() -> str:
    return _told_by(os.getpid()) or "0" * (_PID + _START)


def _told_by(pid: int) -> str:
    """The beginning of the marks of the process ``pid``; empty where there is none, or where there is no /proc."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return ""
    if fields[0] == b"Z":
        return ""
    return f"{pid:0{_PID}x}{int(fields[19]) % 16**_START:0{_START}x}"  # in ticks since the host started
