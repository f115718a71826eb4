"""A host's slots: the places where one trial at a time runs, each with the environment that keeps trials apart."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from ...errors import UsageError
from ...output import message
from .gpus import Gpu, trouble, visible_gpus
from .host import usable_cores, usable_memory
from .options import AUTO, DEFAULTS, AgentOptions

SLOT_MEMORY = 1.5 * 2**30  # bytes that a trial on the CPU may need; more slots than fit would swap
MOST_PER_GPU = 16  # beyond it, trials mostly wait for each other's kernels
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True)
class Slot:
    """A place for one trial at a time, on ``gpus`` (none: on the CPU), with a share of ``cores`` of the host's.

    ``environment`` is merged over the trial's. Slots of the same ``place`` share its GPU, or the CPU.
    """

    label: str
    environment: Mapping[str, str] = field(default_factory=dict)
    gpus: tuple[Gpu, ...] = ()
    cores: int = 1
    place: Place | None = None


@dataclass(frozen=True)
class Place:
    """What slots are made of: a GPU, several GPUs for one trial at a time, or the CPU; ``cores`` of the host's go with
    it. ``count`` is how many slots it begins with; where it is ``growing``, it has up to ``most`` while that pays."""

    name: str
    gpus: tuple[Gpu, ...]
    cores: int
    count: int = 1
    growing: bool = False
    most: int = 1

    def slots(self) -> list[Slot]:
        """The slots to begin with."""
        return [self.slot(number, self.count) for number in range(self.count)]

    def slot(self, number: int, count: int) -> Slot:
        """The slot ``number``, from 0, of ``count`` that share this place."""
        # The first trial on a growing place has no more than the last one will, so that their rates can be compared.
        share = max(1, self.cores // (self.most if self.growing else count))
        numbered = f"{self.name}/{number}" if self.gpus else f"{self.name}:{number}"
        label = self.name if self.gpus and self.count == 1 and not self.growing else numbered
        return Slot(label, self._environment(share), self.gpus, share, self)

    def _environment(self, cores: int) -> dict[str, str]:
        """What a trial gets: its GPUs, and how many threads each of its processes may start, one process a GPU."""
        threads = max(1, cores // max(1, len(self.gpus)))
        environment = {name: str(_fewer(name, threads)) for name in _THREADS}
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(gpu.token for gpu in self.gpus)
        if self.gpus and "CUDA_VISIBLE_DEVICES" not in os.environ:
            environment["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # NVML's numbers; CUDA's own order is the fastest first
        environment |= {"SWEEPKIT_CPUS": str(cores), "SWEEPKIT_GPUS": str(len(self.gpus))}
        return environment | {"SWEEPKIT_RANKS": str(len(self.gpus) or _own_ranks())}


def slots(options: AgentOptions = DEFAULTS) -> list[Slot]:
    """The slots of this host to begin with; see ``places``."""
    return [slot for place in places(options) for slot in place.slots()]


def places(options: AgentOptions = DEFAULTS) -> list[Place]:
    """Where trials run on this host: on each GPU, or on the CPU where there is no GPU or slots there are asked for.

    GPUs that CUDA_VISIBLE_DEVICES hides, or that Slurm gave to others, do not exist here. Says which GPUs stay idle.
    Raises UsageError where a GPU was asked for and there is none, and for what does not go together.
    """
    _check(options)
    if options.cpu_slots is not None:
        return [_cpu(options.cpu_slots)]
    found, problem = visible_gpus()
    chosen = found if options.gpus in (None, "all") else _choose(str(options.gpus), found, problem)
    if not chosen:
        _refuse_cpu(options, problem)
        return [_cpu(None)]
    groups = _groups(chosen, options.gpus_per_trial)
    cores = max(1, usable_cores() // len(groups))
    if options.per_gpu == AUTO:
        return [Place(_name(group), group, cores, growing=True, most=MOST_PER_GPU) for group in groups]
    return [Place(_name(group), group, cores, int(options.per_gpu)) for group in groups]


def alive(slot: Slot) -> str | None:
    """None while trials can run on ``slot``; else the reason why not: one of its GPUs is lost or out of order."""
    return next((reason for gpu in slot.gpus if (reason := trouble(gpu))), None)


def _check(options: AgentOptions) -> None:
    """Raises UsageError for numbers that leave no slot, and for options that exclude each other."""
    for name, value in (("per-gpu", options.per_gpu), ("gpus-per-trial", options.gpus_per_trial)):
        if value != AUTO and int(value) < 1:
            raise UsageError(f"--{name} {value} leaves no slot", "give 1 or more")
    if options.gpus_per_trial > 1 and options.per_gpu != 1:
        both = f"--gpus-per-trial {options.gpus_per_trial} and --per-gpu {options.per_gpu}"
        raise UsageError(f"{both} exclude each other", "a trial has several GPUs, or a GPU has several trials")
    if options.cpu_slots is None:
        return
    if options.cpu_slots != AUTO and int(options.cpu_slots) < 1:
        raise UsageError(f"{options.cpu_slots} slots on the CPU leave none", "give 1 or more")
    for name, given in _gpu_options(options).items():
        raise UsageError(f"--cpu-slots and --{name} {given} exclude each other", "leave one of them out")


def _gpu_options(options: AgentOptions) -> dict[str, object]:
    """The options in use that ask for GPUs."""
    asked = {"gpus": options.gpus, "per-gpu": options.per_gpu, "gpus-per-trial": options.gpus_per_trial}
    return {name: value for name, value in asked.items() if value not in (None, 1)}


def _refuse_cpu(options: AgentOptions, problem: str) -> None:
    """Who asks for GPUs must not find out after a day that the trials ran on the CPU. Raises UsageError."""
    for name, given in _gpu_options(options).items():
        instead = "--cpu-slots auto" if given == AUTO else f"leave --{name} out"
        raise UsageError(f"--{name} {given}: there is no GPU here ({problem})", f"{instead} to run on the CPU")


def _choose(text: str, found: list[Gpu], problem: str) -> list[Gpu]:
    """The GPUs that ``text`` names by index; the index of a GPU that is cut into slices names all of them."""
    chosen: dict[str, Gpu] = {}
    missing = []
    for index in (part.strip() for part in text.split(",")):
        named = [gpu for gpu in found if index and (gpu.index == index or gpu.index.startswith(f"{index}."))]
        chosen |= {gpu.index: gpu for gpu in named}
        if not named:
            missing.append(index)
    if missing:
        there = ", ".join(gpu.index for gpu in found)
        has = f"this host has {there}" if found else f"this host has none ({problem})"
        hint = f"give some of {there}, or all" if found else "leave --gpus out to run on the CPU"
        raise UsageError(f"--gpus {text}: there is no GPU {', '.join(map(repr, missing))}; {has}", hint)
    return list(chosen.values())


def _groups(gpus: list[Gpu], size: int) -> list[tuple[Gpu, ...]]:
    """GPUs next to each other, ``size`` for a trial. Says which are left over. Raises UsageError where none fit."""
    if size == 1:
        return [(gpu,) for gpu in gpus]
    if sliced := [gpu.index for gpu in gpus if gpu.sliced]:
        found = f"--gpus-per-trial {size}: GPU {', '.join(sliced)} is a slice (MIG), and a process can use only one"
        raise UsageError(found, "choose whole GPUs with --gpus, or leave --gpus-per-trial out")
    if size > len(gpus):
        there = f"{len(gpus)} (GPU {', '.join(gpu.index for gpu in gpus)})"
        raise UsageError(f"--gpus-per-trial {size}: there are only {there}", f"give {len(gpus)} or less")
    whole = len(gpus) - len(gpus) % size
    if idle := gpus[whole:]:
        names = ", ".join(gpu.index for gpu in idle)
        message(f"note: GPU {names} stays idle: {len(gpus)} GPUs make {whole // size} slots of {size}")
    return [tuple(gpus[first : first + size]) for first in range(0, whole, size)]


def _name(gpus: tuple[Gpu, ...]) -> str:
    return "gpu:" + "+".join(gpu.index for gpu in gpus)


def _cpu(wanted: int | str | None) -> Place:
    """The CPU, with by default a slot a core, as many as memory has room for."""
    cores = usable_cores()
    if wanted == AUTO:
        return Place("cpu", (), cores, growing=True, most=cores)
    return Place("cpu", (), cores, int(wanted or max(1, min(cores, int(usable_memory() // SLOT_MEMORY)))))


def _own_ranks() -> int:
    """How many processes a trial on the CPU has: one, or as many as the user's environment says."""
    own = os.environ.get("SWEEPKIT_RANKS", "")
    return max(1, int(own)) if own.isdigit() else 1


def _fewer(name: str, threads: int) -> int:
    """``threads``, or less where the user's own environment says so."""
    own = os.environ.get(name, "")
    return min(threads, int(own)) if own.isdigit() and int(own) > 0 else threads
