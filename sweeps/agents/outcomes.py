"""How a trial ended, as one of a few kinds: what the retry policy, the failure guard and people go by.

W&B's agent looks at the exit code alone, and takes a negative one, a child killed by a signal, for a success
(`wandb/wandb_agent.py`: ``poll_result > 0``). Here a signal is a failure, and one that the kernel sent for want of
memory is told as such.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

Kind = Literal["finished", "oom", "signal", "timeout", "exit", "lost", "never_init", "stopped", "preempted"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_MEANT = ("finished", "stopped", "preempted")  # every other kind is a failure
_SHELL = 128  # a shell whose command is killed by signal N ends with 128 + N

# What programs say when memory, of the host or of a GPU, could not be had. The words stand in torch's, Python's, CUDA's
# and the C++ library's own messages.
_NO_MEMORY = re.compile(
    r"\bMemoryError\b|\bOutOfMemoryError\b|CUDA out of memory|CUDA error: out of memory|ALLOC_FAILED|std::bad_alloc"
    r"|can't allocate memory|[Cc]annot allocate memory|RESOURCE_EXHAUSTED: Out of memory"
)
# What torch's DataLoader, torchrun, concurrent.futures and shells say of a child that was killed.
_KILLED_CHILD = re.compile(
    r"killed by signal|\bSIGKILL\b|exitcode\s*: -9|exit code -9|terminated abruptly|died with .*9|^Killed$|: Killed$"
)


@dataclass(frozen=True)
class Ending:
    """How a trial ended. ``code`` is its exit code, ``-N`` for signal N; ``why`` is a few words for people."""

    kind: Kind
    code: int | None = None
    why: str = ""

    @property
    def failed(self) -> bool:
        return self.kind not in _MEANT

    @property
    def label(self) -> str:
        """As ``--retry-on`` spells it: ``oom``, ``signal``, ``exit:3``."""
        return f"exit:{self.code}" if self.kind == "exit" else self.kind


FINISHED = Ending("finished", 0)
NEVER_INIT = Ending("never_init", 0, "it ended well but recorded nothing: the program must call wandb.init()")


def failure(code: int, output: Iterable[str] = (), oom_kills: int = 0) -> Ending:
    """The ending of a trial that nobody asked to stop and that ended with ``code``, which is not 0.

    ``output`` are its last lines. ``oom_kills`` is how many processes the kernel killed for want of memory while it
    ran (the difference of two ``count_oom_kills``): they need not be this trial's, so there must be a sign of it.
    """
    lines = list(output)
    signum = -code if code < 0 else code - _SHELL if _is_signal(code - _SHELL) else None
    told = next((line.strip() for line in reversed(lines) if _NO_MEMORY.search(line)), None)
    if oom_kills > 0 and signum == signal.SIGKILL:
        return Ending("oom", code, "the kernel killed it: the host, or its memory limit, has no more memory")
    if oom_kills > 0 and any(_KILLED_CHILD.search(line) for line in lines):
        return Ending("oom", code, "the kernel killed a process of it: there is no more memory")
    if told:
        return Ending("oom", code, f"out of memory: {_short(told)}")
    if signum is not None:
        return Ending("signal", code, f"killed by signal {signum}, {_name(signum)}")
    return Ending("exit", code, f"exit code {code}")


def count_oom_kills() -> int:
    """How many processes the kernel has killed for want of memory so far, where this process can see it (Linux).

    Counted are the control group's (version 2 and version 1) and the host's, so that one may count twice: only
    whether the number grows means something.
    """
    found = (_counter(path, "oom_kill") for path in (*_cgroup_files(), Path("/proc/vmstat")))
    return sum(found)


def openings(folder: Path, run_id: str) -> int:
    """How often a run was opened on this host: each ``wandb.init`` makes a folder of its own below ``folder``/wandb.

    In a sweep, every call opens the trial's run, also where it asks for another (the client says "Ignoring run_id");
    what later calls log is mixed with what the first one logged, under the same steps.
    """
    made = re.compile(rf"(offline-)?run-\d+_\d+-{re.escape(run_id)}(-\d+)?")
    try:
        return sum(made.fullmatch(entry.name) is not None for entry in os.scandir(folder / "wandb"))
    except OSError:
        return 0


def _cgroup_files() -> list[Path]:
    root = Path("/sys/fs/cgroup")
    files = []
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            if not controllers:
                files.append(root / group.strip("/") / "memory.events")
            elif "memory" in controllers.split(","):
                files.append(root / "memory" / group.strip("/") / "memory.oom_control")
    return files


def _counter(path: Path, name: str) -> int:
    with suppress(OSError, ValueError):
        for line in path.read_text().splitlines():
            key, _, value = line.partition(" ")
            if key == name:
                return int(value)
    return 0


def _is_signal(number: int) -> bool:
    return number in set(signal.Signals)


def _name(number: int) -> str:
    with suppress(ValueError):
        return signal.Signals(number).name
    return "an unknown one"


def _short(line: str, length: int = 120) -> str:
    return line if len(line) <= length else line[: length - 3] + "..."
