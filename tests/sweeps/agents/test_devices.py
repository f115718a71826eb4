"""Slots, on hosts with GPUs (a stand-in for NVML, see conftest.py) and without."""

from __future__ import annotations

from typing import Any

import pytest
from sweepkit.errors import UsageError
from sweepkit.sweeps.agents import devices
from sweepkit.sweeps.agents.options import AgentOptions


def shown(slots: list[devices.Slot]) -> list[tuple[str, str]]:
    return [(slot.label, slot.environment["CUDA_VISIBLE_DEVICES"]) for slot in slots]


FOUR = ["GPU-aa", "GPU-bb", "GPU-cc", "GPU-dd"]


def test_a_slot_for_each_gpu_or_several(host: Any) -> None:
    host(*FOUR)
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
    host(*FOUR, mask=mask)
    assert shown(devices.slots()) == expected


def test_slices_of_a_gpu_are_slots(host: Any, card: Any) -> None:
    host(card("GPU-aa", ["MIG-1", "MIG-2"]), "GPU-bb")
    assert shown(devices.slots()) == [("gpu:0.0", "MIG-1"), ("gpu:0.1", "MIG-2"), ("gpu:1", "1")]


def test_an_index_that_does_not_exist_is_answered_with_those_that_do(host: Any) -> None:
    host(*FOUR, mask="0,1")
    with pytest.raises(UsageError, match="there is no GPU '2', 'x'; this host has 0, 1"):
        devices.slots(AgentOptions("0,2,x"))
    host()
    with pytest.raises(UsageError, match="this host has none"):
        devices.slots(AgentOptions("0"))
    with pytest.raises(UsageError, match="--per-gpu 0"):
        devices.slots(AgentOptions(per_gpu=0))


def test_without_a_gpu_the_cores_are_shared_out(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    host()
    monkeypatch.setattr(devices, "usable_cores", lambda: 8)
    monkeypatch.setattr(devices, "usable_memory", lambda: 6.5 * 2**30)
    slots = devices.slots(AgentOptions("all"))
    assert [slot.label for slot in slots] == ["cpu:0", "cpu:1", "cpu:2", "cpu:3"]
    assert slots[0].environment["OMP_NUM_THREADS"] == slots[0].environment["MKL_NUM_THREADS"] == "2"
    monkeypatch.setattr(devices, "usable_memory", lambda: 2**20)
    assert len(devices.slots()) == 1
    assert len(devices.slots(AgentOptions(cpu_slots=3))) == 3


def test_a_gpu_that_is_lost_takes_its_slot_out_with_the_reason(host: Any, card: Any) -> None:
    nvml = host("GPU-aa", card("GPU-bb", recovery=0), card("GPU-cc", ["MIG-1"]))
    first, second, third = devices.slots()
    assert [devices.alive(slot) for slot in (first, second, third)] == [None, None, None]
    nvml.cards[0].fault = nvml.cards[2].fault = "GPU is lost"
    nvml.cards[1].recovery = 1
    assert devices.alive(first) == "GPU 0 does not answer: GPU is lost"
    assert devices.alive(second) == "GPU 1 is out of order: it needs a reset"
    assert devices.alive(third) == "GPU 2.0 does not answer: GPU is lost"
    nvml.broken = "Driver Not Loaded"
    assert devices.alive(first) == "NVML: Driver Not Loaded"
    assert devices.alive(devices.slots(AgentOptions(cpu_slots=1))[0]) is None
