"""Slots. There is no GPU where these tests run, so NVML itself is stood in for; all that asks it is real."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from sweepkit.errors import UsageError
from sweepkit.sweeps.agents import devices
from sweepkit.sweeps.agents.options import AgentOptions


class NoMig(Exception):
    pass


def nvml(uuids: list[str], slices: dict[int, list[str]] | None = None) -> Any:
    """A stand-in for pynvml with these GPUs, some of them cut into slices."""
    cut = slices or {}

    def slice_of(index: int, number: int) -> str:
        if number >= len(cut[index]):
            raise NoMig
        return cut[index][number]

    def mode(index: int) -> tuple[int, int]:
        if index not in cut:
            raise NoMig
        return 1, 1

    return SimpleNamespace(
        NVMLError=NoMig, nvmlInit=lambda: None, nvmlShutdown=lambda: None, nvmlDeviceGetCount=lambda: len(uuids),
        nvmlDeviceGetHandleByIndex=lambda index: index, nvmlDeviceGetMigMode=mode,
        nvmlDeviceGetUUID=lambda it: uuids[it] if isinstance(it, int) else it.encode(),
        nvmlDeviceGetMaxMigDeviceCount=lambda index: 7, nvmlDeviceGetMigDeviceHandleByIndex=slice_of,
    )  # fmt: skip


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes this a host with GPUs: ``host(uuids, slices, mask)``."""

    def make(uuids: list[str], slices: dict[int, list[str]] | None = None, mask: str | None = None) -> None:
        monkeypatch.setitem(__import__("sys").modules, "pynvml", nvml(uuids, slices))
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if mask is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", mask)

    return make


def shown(slots: list[devices.Slot]) -> list[tuple[str, str]]:
    return [(slot.label, slot.environment["CUDA_VISIBLE_DEVICES"]) for slot in slots]


FOUR = ["GPU-aa", "GPU-bb", "GPU-cc", "GPU-dd"]


def test_a_slot_for_each_gpu_or_several(host: Any) -> None:
    host(FOUR)
    assert shown(devices.slots()) == [("gpu:0", "0"), ("gpu:1", "1"), ("gpu:2", "2"), ("gpu:3", "3")]
    assert shown(devices.slots(AgentOptions("2, 0"))) == [("gpu:2", "2"), ("gpu:0", "0")]
    assert shown(devices.slots(AgentOptions("1", per_gpu=2))) == [("gpu:1/0", "1"), ("gpu:1/1", "1")]
    assert devices.slots()[0].environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        ("3,1", [("gpu:3", "3"), ("gpu:1", "1")]),
        ("GPU-c", [("gpu:2", "GPU-c")]),
        ("0,9,1", [("gpu:0", "0")]),  # as in CUDA, what follows an unknown one is not seen
    ],
)
def test_what_the_user_hides_is_not_there(host: Any, mask: str, expected: list[tuple[str, str]]) -> None:
    host(FOUR, mask=mask)
    assert shown(devices.slots()) == expected


def test_slices_of_a_gpu_are_slots(host: Any) -> None:
    host(["GPU-aa", "GPU-bb"], slices={0: ["MIG-1", "MIG-2"]})
    assert shown(devices.slots()) == [("gpu:0.0", "MIG-1"), ("gpu:0.1", "MIG-2"), ("gpu:1", "1")]


def test_an_index_that_does_not_exist_is_answered_with_those_that_do(host: Any) -> None:
    host(FOUR, mask="0,1")
    with pytest.raises(UsageError, match="there is no GPU '2', 'x'; this host has 0, 1"):
        devices.slots(AgentOptions("0,2,x"))
    host([])
    with pytest.raises(UsageError, match="this host has none"):
        devices.slots(AgentOptions("0"))
    with pytest.raises(UsageError, match="--per-gpu 0"):
        devices.slots(AgentOptions(per_gpu=0))


def test_without_a_gpu_the_cores_are_shared_out(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    host([])
    monkeypatch.setattr(devices, "usable_cores", lambda: 8)
    monkeypatch.setattr(devices, "usable_memory", lambda: 6.5 * 2**30)
    slots = devices.slots(AgentOptions("all"))
    assert [slot.label for slot in slots] == ["cpu:0", "cpu:1", "cpu:2", "cpu:3"]
    assert slots[0].environment["OMP_NUM_THREADS"] == slots[0].environment["MKL_NUM_THREADS"] == "2"
    monkeypatch.setattr(devices, "usable_memory", lambda: 2**20)
    assert len(devices.slots()) == 1
    assert len(devices.slots(AgentOptions(cpu_slots=3))) == 3


def test_this_hosts_own_cores_and_memory_are_read() -> None:
    assert devices.usable_cores() >= 1
    assert devices.usable_memory() > 2**28
