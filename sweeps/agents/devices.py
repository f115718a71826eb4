"""A host's slots: the places where one trial at a time runs, each with the environment that keeps trials apart."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import UsageError
from .options import DEFAULTS, AgentOptions

SLOT_MEMORY = 1.5 * 2**30  # bytes that a trial on the CPU may need; more slots than fit would swap
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True)
class Slot:
    """A place for one trial at a time. ``environment`` is merged over the trial's."""

    label: str
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Gpu:
    """A GPU, or a slice of one: ``index`` as people number it, ``token`` as CUDA_VISIBLE_DEVICES names it."""

    index: str
    uuid: str
    token: str


def slots(options: AgentOptions = DEFAULTS) -> list[Slot]:
    """The slots of this host: on each GPU, or on the CPU where there is no GPU or slots on the CPU are asked for.

    GPUs that CUDA_VISIBLE_DEVICES hides do not exist here. Raises UsageError for what does not exist.
    """
    if options.per_gpu < 1:
        raise UsageError(f"--per-gpu {options.per_gpu} leaves no slot", "give 1 or more")
    if options.cpu_slots is not None:
        return _cpu_slots(options.cpu_slots)
    found, problem = visible_gpus()
    chosen = found if options.gpus in (None, "all") else _choose(str(options.gpus), found, problem)
    if not chosen:
        return _cpu_slots(None)
    return [slot for gpu in chosen for slot in _gpu_slots(gpu, options.per_gpu)]


def visible_gpus() -> tuple[list[Gpu], str]:
    """The GPUs that a process started here may use, and why there are none if there are none."""
    with _nvml() as (nvml, problem):
        gpus = _all_gpus(nvml) if nvml else []
    mask = os.environ.get("CUDA_VISIBLE_DEVICES")
    if mask is None:
        return gpus, problem or "NVML lists no GPU"
    return _masked(gpus, mask), problem or f"CUDA_VISIBLE_DEVICES={mask!r} hides them"


@contextmanager
def _nvml() -> Iterator[tuple[Any, str]]:
    """NVML, or None and the reason: a host without NVIDIA's driver is as good as any other."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception as error:  # NVMLError, or a broken installation: in both cases there is no GPU to be had
        yield None, f"NVML: {error}"
        return
    try:
        yield pynvml, ""
    finally:
        with suppress(Exception):
            pynvml.nvmlShutdown()


def _all_gpus(nvml: Any) -> list[Gpu]:
    found = []
    for index in range(nvml.nvmlDeviceGetCount()):
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        slices = [_text(nvml.nvmlDeviceGetUUID(each)) for each in _mig_slices(nvml, handle)]
        if slices:
            found += [Gpu(f"{index}.{number}", uuid, uuid) for number, uuid in enumerate(slices)]
        else:
            found.append(Gpu(str(index), _text(nvml.nvmlDeviceGetUUID(handle)), str(index)))
    return found


def _mig_slices(nvml: Any, handle: Any) -> list[Any]:
    """The slices of a GPU in MIG mode: CUDA then offers these and not the GPU, one to a process."""
    slices = []
    with suppress(nvml.NVMLError):  # a GPU that knows no MIG says so by an error
        if nvml.nvmlDeviceGetMigMode(handle)[0]:
            for number in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
                with suppress(nvml.NVMLError):
                    slices.append(nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number))
    return slices


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _masked(gpus: list[Gpu], mask: str) -> list[Gpu]:
    """What CUDA_VISIBLE_DEVICES leaves: as in CUDA, by index or start of a UUID, up to the first that does not exist.

    A trial gets the user's own spelling, so that CUDA understands it in the same way.
    """
    kept: list[Gpu] = []
    for token in (part.strip() for part in mask.split(",")):
        match = [gpu for gpu in gpus if token and (gpu.index == token or gpu.uuid.startswith(token))]
        if len(match) != 1:
            break
        kept.append(Gpu(match[0].index, match[0].uuid, token))
    return kept


def _choose(text: str, found: list[Gpu], problem: str) -> list[Gpu]:
    by_index = {gpu.index: gpu for gpu in found}
    wanted = list(dict.fromkeys(part.strip() for part in text.split(",")))
    missing = [index for index in wanted if index not in by_index]
    if missing:
        there = f"this host has {', '.join(by_index)}" if by_index else f"this host has none ({problem})"
        hint = f"give some of {', '.join(by_index)}, or all" if by_index else "leave --gpus out to run on the CPU"
        raise UsageError(f"--gpus {text}: there is no GPU {', '.join(map(repr, missing))}; {there}", hint)
    return [by_index[index] for index in wanted]


def _gpu_slots(gpu: Gpu, per_gpu: int) -> list[Slot]:
    environment = {"CUDA_VISIBLE_DEVICES": gpu.token}
    if "CUDA_VISIBLE_DEVICES" not in os.environ:
        environment["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # NVML's numbers; CUDA's own order is the fastest first
    names = [f"gpu:{gpu.index}"] if per_gpu == 1 else [f"gpu:{gpu.index}/{number}" for number in range(per_gpu)]
    return [Slot(name, environment) for name in names]


def _cpu_slots(wanted: int | None) -> list[Slot]:
    """Slots that share the cores evenly. By default one a core, as many as memory has room for."""
    if wanted is not None and wanted < 1:
        raise UsageError(f"{wanted} slots on the CPU leave none", "give 1 or more")
    cores = usable_cores()
    count = wanted or max(1, min(cores, int(usable_memory() // SLOT_MEMORY)))
    threads = dict.fromkeys(_THREADS, str(max(1, cores // count)))
    return [Slot(f"cpu:{number}", {**threads, "CUDA_VISIBLE_DEVICES": ""}) for number in range(count)]


def usable_cores() -> int:
    """The cores that this process may use: its affinity, and a container's quota."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, period = [*_cgroup("cpu.max").split(), "", ""][:2]
    if quota.isdigit() and period.isdigit():
        return max(1, min(affinity, math.ceil(int(quota) / int(period))))
    return affinity


def usable_memory() -> float:
    """The bytes of memory that are free for trials: the machine's, and what a container's limit leaves."""
    import psutil

    free = float(psutil.virtual_memory().available)
    limit, used = _cgroup("memory.max"), _cgroup("memory.current")
    return max(0.0, min(free, float(limit) - float(used or 0))) if limit.isdigit() else free


def _cgroup(name: str) -> str:
    """A value of this process's control group (version 2), or nothing where there is no such limit."""
    with suppress(OSError):
        own = next((line[3:] for line in Path("/proc/self/cgroup").read_text().split() if line.startswith("0::")), "/")
        for folder in (Path("/sys/fs/cgroup") / own.strip("/"), Path("/sys/fs/cgroup")):
            with suppress(OSError):
                return (folder / name).read_text().strip()
    return ""
