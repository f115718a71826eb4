"""The GPUs of this host, as NVIDIA's driver tells of them (NVML): which there are, how they do, how busy they are.

NVML makes no CUDA context, so asking takes nothing from the trials.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from ...errors import UsageError

_BROKEN = {1: "it needs a reset", 2: "this host needs a reboot", 4: "it needs a reset"}  # nvmlDeviceGpuRecoveryAction_t


@dataclass(frozen=True)
class Gpu:
    """A GPU, or a slice of one: ``index`` as people number it, ``token`` as CUDA_VISIBLE_DEVICES names it.

    ``older`` is the name that drivers before 470 gave to a slice, which CUDA still understands.
    """

    index: str
    uuid: str
    token: str
    sliced: bool = False
    older: str = ""


def visible_gpus() -> tuple[list[Gpu], str]:
    """The GPUs that a process started here may use, and why there are none if there are none.

    Raises UsageError where Slurm gave this job some of them and does not say which.
    """
    with _nvml() as (nvml, problem):
        gpus = _all_gpus(nvml) if nvml else []
    mask = os.environ.get("CUDA_VISIBLE_DEVICES")
    if mask is None:  # Slurm sets it for whoever asked for GPUs; some people unset it
        return _of_slurm(gpus, os.environ), problem or "NVML lists no GPU"
    return _masked(gpus, mask), problem or f"CUDA_VISIBLE_DEVICES={mask!r} hides them"


def trouble(gpu: Gpu) -> str | None:
    """Why no trial can run on ``gpu`` any more: it fell off the bus, or its driver says that it needs a reset."""
    _keep_open()
    with _nvml() as (nvml, problem):
        if nvml is None:
            return problem
        try:
            handle = nvml.nvmlDeviceGetHandleByUUID(gpu.uuid)
            nvml.nvmlDeviceGetMemoryInfo(handle)  # a handle alone is given for a lost GPU too
        except nvml.NVMLError as error:
            return f"GPU {gpu.index} does not answer: {error}"
        action = _BROKEN.get(_recovery_action(nvml, handle))
    return f"GPU {gpu.index} is out of order: {action}" if action else None


def measure(gpu: Gpu) -> tuple[float | None, int | None, int | None]:
    """(Share of the time in which it computed, 0 to 1; bytes of its memory in use, by whomever; bytes that it has).

    What the driver does not tell, as the utilisation of a slice, is None.
    """
    _keep_open()
    utilisation = used = total = None
    with _nvml() as (nvml, _):
        if nvml is None:
            return None, None, None
        with suppress(nvml.NVMLError):
            handle = nvml.nvmlDeviceGetHandleByUUID(gpu.uuid)
            memory = nvml.nvmlDeviceGetMemoryInfo(handle)
            used, total = int(memory.used), int(memory.total)
            utilisation = nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100
    return utilisation, used, total


@cache
def _keep_open() -> None:
    """From the first measurement on NVML stays open: opening it can take seconds, and is counted, so this is enough."""
    with suppress(Exception):
        import pynvml

        pynvml.nvmlInit()


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
        whole = _text(nvml.nvmlDeviceGetUUID(handle))
        slices = _mig_slices(nvml, handle)
        for number, each in enumerate(slices):
            uuid = _text(nvml.nvmlDeviceGetUUID(each))
            found.append(Gpu(f"{index}.{number}", uuid, uuid, sliced=True, older=_older_name(nvml, each, whole)))
        if not slices:
            found.append(Gpu(str(index), whole, str(index)))
    return found


def _older_name(nvml: Any, handle: Any, whole: str) -> str:
    with suppress(Exception):
        ids = nvml.nvmlDeviceGetGpuInstanceId(handle), nvml.nvmlDeviceGetComputeInstanceId(handle)
        return f"MIG-{whole}/{ids[0]}/{ids[1]}"
    return ""


def _mig_slices(nvml: Any, handle: Any) -> list[Any]:
    """The slices of a GPU in MIG mode: CUDA then offers these and not the GPU, one to a process."""
    slices = []
    with suppress(nvml.NVMLError):  # a GPU that knows no MIG says so by an error
        if nvml.nvmlDeviceGetMigMode(handle)[0]:
            for number in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
                with suppress(nvml.NVMLError):
                    slices.append(nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number))
    return slices


def _recovery_action(nvml: Any, handle: Any) -> int:
    """What the driver wants done with a GPU after a fault (an Xid); 0, nothing, also from drivers that do not tell."""
    with suppress(Exception):
        (field,) = nvml.nvmlDeviceGetFieldValues(handle, [nvml.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION])
        if field.nvmlReturn == 0:
            return int(field.value.uiVal)
    return 0


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _masked(gpus: list[Gpu], mask: str) -> list[Gpu]:
    """What CUDA_VISIBLE_DEVICES leaves: as in CUDA, by index or start of a UUID, up to the first that does not exist.

    A trial gets the user's own spelling, so that CUDA understands it in the same way. Only the index of a GPU that is
    cut into slices, where CUDA would take its first slice, names them all.
    """
    kept: list[Gpu] = []
    for token in (part.strip() for part in mask.split(",")):
        match = [gpu for gpu in gpus if token and (gpu.index == token or gpu.uuid.startswith(token))]
        match = match or [gpu for gpu in gpus if token and gpu.older == token]
        slices = [gpu for gpu in gpus if token and gpu.sliced and gpu.index.startswith(f"{token}.")]
        if len(match) == 1:
            kept.append(replace(match[0], token=token))
        elif slices and not match:
            kept += slices
        else:
            break
    return kept


def _of_slurm(gpus: list[Gpu], environ: Mapping[str, str]) -> list[Gpu]:
    """Those that Slurm gave to this step or job, by the numbers of the node, where the driver shows others' too.

    Where Slurm confines a job to its devices, the driver shows no more than these, and numbers them from 0.
    """
    text = environ.get("SLURM_STEP_GPUS") or environ.get("SLURM_JOB_GPUS") or ""
    given = [number for part in text.split(",") for number in _numbers(part)]
    told = environ.get("SLURM_GPUS_ON_NODE", "")
    count = len(given) or (int(told) if told.isdigit() else len(gpus))
    if count >= len(gpus):
        return gpus
    if not given or max(given) >= len(gpus):
        which = f"says GPU {text}" if given else "does not say which"
        raise UsageError(
            f"Slurm gave this job {count} of the {len(gpus)} GPUs of this node, and {which}",
            "set CUDA_VISIBLE_DEVICES to the job's GPUs",
        )
    return [gpus[number] for number in given]


def _numbers(text: str) -> list[int]:
    """``3`` or ``0-3`` as numbers; nothing for anything else."""
    first, _, last = text.strip().partition("-")
    return list(range(int(first), int(last or first) + 1)) if first.isdigit() and (last or "0").isdigit() else []
