"""The GPUs of this host, as NVIDIA's driver tells of them (NVML): which there are, how they do, how busy they are.

NVML makes no CUDA context, so asking takes nothing from the trials.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

_BROKEN = {1: "it needs a reset", 2: "this host needs a reboot", 4: "it needs a reset"}  # nvmlDeviceGpuRecoveryAction_t


@dataclass(frozen=True)
class Gpu:
    """A GPU, or a slice of one: ``index`` as people number it, ``token`` as CUDA_VISIBLE_DEVICES names it."""

    index: str
    uuid: str
    token: str
    sliced: bool = False


def visible_gpus() -> tuple[list[Gpu], str]:
    """The GPUs that a process started here may use, and why there are none if there are none."""
    with _nvml() as (nvml, problem):
        gpus = _all_gpus(nvml) if nvml else []
    mask = os.environ.get("CUDA_VISIBLE_DEVICES")
    if mask is None:
        return gpus, problem or "NVML lists no GPU"
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
        slices = [_text(nvml.nvmlDeviceGetUUID(each)) for each in _mig_slices(nvml, handle)]
        if slices:
            found += [Gpu(f"{index}.{number}", uuid, uuid, sliced=True) for number, uuid in enumerate(slices)]
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

    A trial gets the user's own spelling, so that CUDA understands it in the same way.
    """
    kept: list[Gpu] = []
    for token in (part.strip() for part in mask.split(",")):
        match = [gpu for gpu in gpus if token and (gpu.index == token or gpu.uuid.startswith(token))]
        if len(match) != 1:
            break
        kept.append(Gpu(match[0].index, match[0].uuid, token, match[0].sliced))
    return kept
