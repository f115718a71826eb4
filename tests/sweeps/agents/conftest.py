"""The folder of a user whose sweeps run against this session's backend, and GPUs.

There is no GPU where tests run, so NVML itself is stood in for; all that asks it is real.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sweepkit.sweeps.agents import gpus
from sweepkit.sweeps.backends import Backend
from sweepkit.sweeps.wandb_api import WandbApi

from .desk import Desk, until

GIB = 2**30
_VARIABLES = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "SLURM_STEP_GPUS", "SLURM_JOB_GPUS", "SLURM_GPUS_ON_NODE")


class NvmlError(Exception):
    """What NVML answers in place of a value."""


@dataclass
class Card:
    """A GPU as NVML would tell of it; ``slices`` are the UUIDs of MIG."""

    uuid: str
    slices: list[str] | None = None
    busy: int = 0  # percent
    used: int = 1 * GIB
    total: int = 80 * GIB
    fault: str | None = None
    recovery: int | None = None  # None is a driver that does not tell


@dataclass
class Nvml:
    """A stand-in for the module pynvml with these GPUs. A handle is the index of a card, or the UUID of a slice."""

    cards: list[Card] = field(default_factory=list)
    broken: str | None = None
    NVMLError: type[Exception] = NvmlError
    NVML_FI_DEV_GET_GPU_RECOVERY_ACTION: int = 230

    def nvmlInit(self) -> None:
        if self.broken:
            raise NvmlError(self.broken)

    def nvmlShutdown(self) -> None:
        return None

    def nvmlDeviceGetCount(self) -> int:
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> int | str:
        for index, card in enumerate(self.cards):
            if uuid == card.uuid:
                return index
            if uuid in (card.slices or []):
                return uuid
        raise NvmlError("Not Found")

    def nvmlDeviceGetUUID(self, handle: int | str) -> str | bytes:
        return self.cards[handle].uuid if isinstance(handle, int) else handle.encode()  # old releases give bytes

    def nvmlDeviceGetMigMode(self, index: int) -> tuple[int, int]:
        if self.cards[index].slices is None:
            raise NvmlError("Not Supported")
        return 1, 1

    def nvmlDeviceGetMaxMigDeviceCount(self, index: int) -> int:
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, index: int, number: int) -> str:
        slices = self.cards[index].slices or []
        if number >= len(slices):
            raise NvmlError("Not Found")
        return slices[number]

    def nvmlDeviceGetGpuInstanceId(self, uuid: str) -> int:
        return next(card.slices.index(uuid) for card in self.cards if card.slices and uuid in card.slices)

    def nvmlDeviceGetComputeInstanceId(self, uuid: str) -> int:
        return 0

    def nvmlDeviceGetMemoryInfo(self, handle: int | str) -> Any:
        card = self._card(handle)
        return SimpleNamespace(used=card.used, total=card.total)

    def nvmlDeviceGetUtilizationRates(self, handle: int | str) -> Any:
        if isinstance(handle, str):
            raise NvmlError("Not Supported")  # as for slices
        return SimpleNamespace(gpu=self._card(handle).busy)

    def nvmlDeviceGetFieldValues(self, handle: int, fields: list[int]) -> list[Any]:
        action = self._card(handle).recovery
        return [SimpleNamespace(nvmlReturn=3 if action is None else 0, value=SimpleNamespace(uiVal=action or 0))]

    def _card(self, handle: int | str) -> Card:
        found = next(c for i, c in enumerate(self.cards) if handle == i or handle in (c.slices or []))
        if found.fault:
            raise NvmlError(found.fault)
        return found


Host = Callable[..., Nvml]


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    """Makes this a host with GPUs: ``host("GPU-aa", Card(...), mask="0")``."""

    def make(*cards: str | Card, mask: str | None = None) -> Nvml:
        nvml = Nvml([Card(each) if isinstance(each, str) else each for each in cards])
        monkeypatch.setitem(sys.modules, "pynvml", nvml)
        gpus._keep_open.cache_clear()
        for name in _VARIABLES:
            monkeypatch.delenv(name, raising=False)
        if mask is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", mask)
        return nvml

    return make


@pytest.fixture
def card() -> type[Card]:
    """``Card``, for tests that need more of a GPU than its UUID."""
    return Card


@pytest.fixture
def desk(server: Any, wandb_env: dict[str, str], tmp_path: Path) -> Iterator[Desk]:
    """At the end, none of its processes may be left."""
    it = Desk(tmp_path, WandbApi(Backend("embedded", server.url, server.key, server.entity)))
    yield it
    for process in it.started:
        process.kill()
        process.wait()
    until(lambda: it.left() == [])
