"""Slots, on hosts with GPUs (a stand-in for NVML, see conftest.py) and without."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis.strategies import floats, integers
from sweepkit.errors import UsageError
from sweepkit.sweeps.agents import devices
from sweepkit.sweeps.agents.gpus import Gpu
from sweepkit.sweeps.agents.host import usable_cores
from sweepkit.sweeps.agents.options import AgentOptions


@pytest.fixture
def size(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets the cores and the free memory of this host."""

    def make(cores: int, gib: float) -> None:
        monkeypatch.setattr(devices, "usable_cores", lambda: cores)
        monkeypatch.setattr(devices, "usable_memory", lambda: gib * 2**30)

    return make


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
    both = [("gpu:0.0", "MIG-1"), ("gpu:0.1", "MIG-2")]
    assert shown(devices.slots(AgentOptions("0"))) == both
    host(card("GPU-aa", ["MIG-1", "MIG-2"]), "GPU-bb", mask="0")
    assert shown(devices.slots()) == both  # where CUDA itself would take the first slice alone
    for mask in ("MIG-2", "MIG-GPU-aa/1/0"):
        host(card("GPU-aa", ["MIG-1", "MIG-2"]), "GPU-bb", mask=mask)
        assert shown(devices.slots()) == [("gpu:0.1", mask)]


def test_an_index_that_does_not_exist_is_answered_with_those_that_do(host: Any) -> None:
    host(*FOUR, mask="0,1")
    with pytest.raises(UsageError, match="there is no GPU '2', 'x'; this host has 0, 1"):
        devices.slots(AgentOptions("0,2,x"))
    host()
    with pytest.raises(UsageError, match="this host has none"):
        devices.slots(AgentOptions("0"))
    with pytest.raises(UsageError, match="--per-gpu 0"):
        devices.slots(AgentOptions(per_gpu=0))


def test_without_a_gpu_the_cores_are_shared_out(host: Any, size: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    host()
    size(cores=8, gib=6.5)
    slots = devices.slots()
    assert [slot.label for slot in slots] == ["cpu:0", "cpu:1", "cpu:2", "cpu:3"]
    assert slots[0].environment["OMP_NUM_THREADS"] == slots[0].environment["MKL_NUM_THREADS"] == "2"
    assert (slots[0].environment["SWEEPKIT_CPUS"], slots[0].environment["SWEEPKIT_GPUS"]) == ("2", "0")
    assert slots[0].environment["CUDA_VISIBLE_DEVICES"] == ""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # a user who wants less gets less
    assert devices.slots()[0].environment["OMP_NUM_THREADS"] == "1"
    size(cores=8, gib=0.1)
    assert len(devices.slots()) == 1
    assert len(devices.slots(AgentOptions(cpu_slots=3))) == 3


@given(cores=integers(1, 256), gpus=integers(0, 8), per_gpu=integers(1, 8), gib=floats(0.1, 1000))
def test_slots_never_have_more_threads_together_than_there_are_cores(
    cores: int, gpus: int, per_gpu: int, gib: float
) -> None:
    """Unless there are more slots than cores: then each has one."""
    found = [Gpu(str(number), f"GPU-{number}", str(number)) for number in range(gpus)]
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("OMP_NUM_THREADS", raising=False)
        patch.setattr(devices, "usable_cores", lambda: cores)
        patch.setattr(devices, "usable_memory", lambda: gib * 2**30)
        patch.setattr(devices, "visible_gpus", lambda: (found, "none"))
        slots = devices.slots(AgentOptions(per_gpu=per_gpu if gpus else 1))
    assert len({slot.label for slot in slots}) == len(slots) == (gpus * per_gpu or len(slots))
    threads = [int(slot.environment["OMP_NUM_THREADS"]) for slot in slots]
    assert sum(threads) <= max(cores, len(slots)) and min(threads) >= 1
    assert all(count == slot.cores for count, slot in zip(threads, slots, strict=True))


def test_a_trial_really_has_the_threads_of_its_share(host: Any) -> None:
    host()
    slot = devices.slots(AgentOptions(cpu_slots=usable_cores()))[0]
    program = "import torch, numpy; print(torch.get_num_threads())"
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **slot.environment}, capture_output=True, text=True
    )
    assert done.stdout.strip() == "1", done.stderr


def test_a_trial_may_have_several_gpus(host: Any, size: Any, capsys: pytest.CaptureFixture[str]) -> None:
    size(cores=32, gib=64)
    host(*FOUR)
    slots = devices.slots(AgentOptions(gpus_per_trial=2))
    assert shown(slots) == [("gpu:0+1", "0,1"), ("gpu:2+3", "2,3")]
    own = slots[0].environment
    assert (own["SWEEPKIT_GPUS"], own["SWEEPKIT_RANKS"], own["SWEEPKIT_CPUS"]) == ("2", "2", "16")
    assert own["OMP_NUM_THREADS"] == "8"  # of each of its two processes
    assert capsys.readouterr().err == ""
    host(*FOUR, mask="GPU-d,1,0")
    assert shown(devices.slots(AgentOptions(gpus_per_trial=2))) == [("gpu:3+1", "GPU-d,1")]
    assert "note: GPU 0 stays idle: 3 GPUs make 1 slots of 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (AgentOptions(gpus_per_trial=2, per_gpu=2), "--gpus-per-trial 2 and --per-gpu 2 exclude each other"),
        (AgentOptions(gpus_per_trial=2, per_gpu="auto"), "--gpus-per-trial 2 and --per-gpu auto exclude each other"),
        (AgentOptions("1", gpus_per_trial=2), r"--gpus-per-trial 2: there are only 1 \(GPU 1\)"),
        (AgentOptions(gpus_per_trial=2), r"GPU 2.0, 2.1 is a slice \(MIG\), and a process can use only one"),
        (AgentOptions(cpu_slots=2, per_gpu=2), "--cpu-slots and --per-gpu 2 exclude each other"),
        (AgentOptions(cpu_slots=2, gpus="0"), "--cpu-slots and --gpus 0 exclude each other"),
        (AgentOptions(cpu_slots=0), "0 slots on the CPU leave none"),
        (AgentOptions(gpus_per_trial=0), "--gpus-per-trial 0 leaves no slot"),
    ],
)
def test_what_does_not_go_together_is_told(host: Any, card: Any, options: AgentOptions, message: str) -> None:
    host("GPU-aa", "GPU-bb", card("GPU-cc", ["MIG-1", "MIG-2"]))
    with pytest.raises(UsageError, match=message):
        devices.slots(options)


@pytest.mark.parametrize(
    "options",
    [AgentOptions("all"), AgentOptions(per_gpu=2), AgentOptions(per_gpu="auto"), AgentOptions(gpus_per_trial=2)],
)
def test_a_gpu_that_was_asked_for_and_is_not_there_is_told(host: Any, options: AgentOptions) -> None:
    host().broken = "Driver Not Loaded"
    with pytest.raises(UsageError, match=r"there is no GPU here \(NVML: Driver Not Loaded\)") as caught:
        devices.slots(options)
    assert caught.value.hint and "to run on the CPU" in caught.value.hint


def test_auto_begins_with_one_slot(host: Any, size: Any) -> None:
    size(cores=8, gib=64)
    host("GPU-aa", "GPU-bb")
    assert shown(devices.slots(AgentOptions(per_gpu="auto"))) == [("gpu:0/0", "0"), ("gpu:1/0", "1")]
    first, _ = devices.places(AgentOptions(per_gpu="auto"))
    third = first.slot(2, 3)
    assert (third.label, third.cores, third.place, first.growing) == ("gpu:0/2", 1, first, True)
    (cpu,) = devices.places(AgentOptions(cpu_slots="auto"))
    assert [slot.label for slot in cpu.slots()] == ["cpu:0"] and cpu.slot(1, 2).label == "cpu:1"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"JOB_GPUS": "2,3"}, ["2", "3"]),
        ({"JOB_GPUS": "0-2", "STEP_GPUS": "1"}, ["1"]),  # a step has some of the job's
        ({"JOB_GPUS": "4,5,6,7"}, ["0", "1", "2", "3"]),  # confined to its devices, which the driver numbers from 0
        ({"GPUS_ON_NODE": "4"}, ["0", "1", "2", "3"]),
        ({"JOB_GPUS": "2,3", "GPUS_ON_NODE": "2", "MASK": "1"}, ["1"]),
    ],
)
def test_gpus_that_slurm_gave_to_others_are_not_there(
    host: Any, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: list[str]
) -> None:
    host(*FOUR, mask=variables.pop("MASK", None))
    for name, value in variables.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert [visible for _, visible in shown(devices.slots())] == expected


def test_slurm_that_does_not_say_which_gpus_it_gave(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    host(*FOUR)
    monkeypatch.setenv("SLURM_GPUS_ON_NODE", "2")
    with pytest.raises(UsageError, match="Slurm gave this job 2 of the 4 GPUs of this node, and does not say which"):
        devices.slots()


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
