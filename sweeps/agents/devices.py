"""A host's slots: the places where one trial at a time runs, each with the environment that keeps trials apart."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from ...errors import UsageError
from .gpus import Gpu, trouble, visible_gpus
from .host import usable_cores, usable_memory
from .options import DEFAULTS, AgentOptions

SLOT_MEMORY = 1.5 * 2**30  # bytes that a trial on the CPU may need; more slots than fit would swap
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True)
class Slot:
    """A place for one trial at a time, on ``gpus`` (none: on the CPU), with a share of ``cores`` of the host's.

    ``environment`` is merged over the trial's.
    """

    label: str
    environment: Mapping[str, str] = field(default_factory=dict)
    gpus: tuple[Gpu, ...] = ()
    cores: int = 1


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


def alive(slot: Slot) -> str | None:
    """None while trials can run on ``slot``; else the reason why not: one of its GPUs is lost or out of order."""
    return next((reason for gpu in slot.gpus if (reason := trouble(gpu))), None)


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
    return [Slot(name, environment, (gpu,)) for name in names]


def _cpu_slots(wanted: int | None) -> list[Slot]:
    """Slots that share the cores evenly. By default one a core, as many as memory has room for."""
    if wanted is not None and wanted < 1:
        raise UsageError(f"{wanted} slots on the CPU leave none", "give 1 or more")
    cores = usable_cores()
    count = wanted or max(1, min(cores, int(usable_memory() // SLOT_MEMORY)))
    share = max(1, cores // count)
    threads = dict.fromkeys(_THREADS, str(share))
    return [Slot(f"cpu:{number}", {**threads, "CUDA_VISIBLE_DEVICES": ""}, cores=share) for number in range(count)]
