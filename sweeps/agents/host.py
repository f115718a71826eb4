"""What of this host a process started here may use: its cores and its memory, as containers and Slurm limit them."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """The cores that this process may use: its affinity, what Slurm gave, and the quota of its control groups."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limits = [affinity, *_slurm_cores(), *_quotas()]
    return max(1, min(limits))


def usable_memory() -> float:
    """The bytes of memory that are free for trials: the machine's, and what the control groups and Slurm leave."""
    import psutil

    left = [float(psutil.virtual_memory().available), *_slurm_memory()]
    left += [limit - used for limit, used in _memory_limits()]
    return max(0.0, min(left))


def total_memory() -> float:
    """The bytes of memory that processes here may use in all."""
    import psutil

    return min([float(psutil.virtual_memory().total), *_slurm_memory(), *(limit for limit, _ in _memory_limits())])


def _slurm_cores() -> Iterator[int]:
    """What Slurm gave: to this task of a step, or to the job on this node, whose script runs on all of it."""
    if cores := _number("SLURM_CPUS_PER_TASK"):
        tasks = 1 if "SLURM_STEP_ID" in os.environ else _number("SLURM_TASKS_PER_NODE") or 1
        yield cores * tasks
    elif cores := _number("SLURM_CPUS_ON_NODE"):
        yield cores


def _slurm_memory() -> Iterator[float]:
    """The job's memory on this node; Slurm tells it in MiB, and 0 for all there is."""
    if memory := _number("SLURM_MEM_PER_NODE"):
        yield memory * 2.0**20
    elif memory := _number("SLURM_MEM_PER_CPU"):
        yield memory * 2.0**20 * (_number("SLURM_CPUS_ON_NODE") or next(_slurm_cores(), 1))


def _number(variable: str) -> int:
    """The number at the head of a variable, such as 4 in ``4(x2)``; 0 where there is none."""
    found = re.match(r"\d+", os.environ.get(variable, ""))
    return int(found[0]) if found else 0


def _quotas() -> Iterator[int]:
    for folder in _folders("cpu"):
        quota, period = [*_read(folder / "cpu.max").split(), "", ""][:2]
        if not quota:  # version 1
            quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit() and int(period):
            yield math.ceil(int(quota) / int(period))


def _memory_limits() -> Iterator[tuple[float, float]]:
    """(Limit, used) in bytes of each control group above this process that has one. What only caches files is free."""
    for folder in _folders("memory"):
        for limit, used, cached in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),  # version 1
        ):
            text = _read(folder / limit)
            if text.isdigit() and int(text) < 2**60:  # version 1 spells "no limit" as nearly 2 ** 63
                found = re.search(rf"^{cached} (\d+)$", _read(folder / "memory.stat"), re.MULTILINE)
                yield float(text), float(_read(folder / used) or 0) - float(found[1] if found else 0)


def _folders(controller: str) -> Iterator[Path]:
    """The control groups that hold this process, innermost first, of version 2 or of version 1's ``controller``.

    The limit may be anywhere on the way: Slurm sets it on the job, a container's runtime on the container.
    """
    for line in _read(Path("/proc/self/cgroup")).splitlines():
        number, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if number == "0" or controller in names.split(","):
            top = _GROUPS if number == "0" else _GROUPS / controller
            inner = top / path.strip("/")
            yield from [inner, *inner.parents][: len(inner.relative_to(top).parts) + 1]


def _read(file: Path) -> str:
    with suppress(OSError):
        return file.read_text().strip()
    return ""
