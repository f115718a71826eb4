"""Gauges: of real processes, and of GPUs that a stand-in for NVML has."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from sweepkit.sweeps.agents import gauges
from sweepkit.sweeps.agents.devices import Slot, slots
from sweepkit.sweeps.agents.gauges import Gauge
from sweepkit.sweeps.agents.options import AgentOptions

GIB = 2**30
BUSY = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "held = bytearray(200_000_000); print(flush=True)\\nwhile True: pass"])
child.wait()
"""


@pytest.fixture
def trial() -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits for its child, which keeps a core busy and holds 200 MB."""
    process = subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout and process.stdout.readline()
    yield process
    os.killpg(process.pid, 9)
    process.wait()


def test_a_slot_of_the_cpu_is_its_trials_processes(trial: subprocess.Popen[bytes]) -> None:
    meter = gauges.Gauges()
    slot = Slot("cpu:0", cores=1)
    first = meter.read(slot, [trial.pid])
    assert first.utilisation is None and first.memory and first.memory > 200_000_000
    assert first.total and first.total > first.memory
    time.sleep(0.5)
    second = meter.read(slot, [trial.pid])
    assert second.utilisation and 0.1 < second.utilisation <= 1
    assert meter.read(slot, [trial.pid]) == second  # too soon for another measurement
    time.sleep(0.3)
    shared = meter.read(Slot("cpu:0", cores=64), [trial.pid])
    assert shared.utilisation and shared.utilisation < 0.1  # of its share of the cores


def test_what_cannot_be_read_is_unknown(host: Any) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert gauges.read(Slot("cpu:0"), [ended.pid]) == Gauge(None, None, None)
    assert gauges.read(Slot("cpu:0"), []) == Gauge(None, None, None)
    nvml = host("GPU-aa")
    (slot,) = slots()
    nvml.cards[0].fault = "GPU is lost"
    assert gauges.read(slot, []) == Gauge(None, None, None)
    nvml.broken = "Driver Not Loaded"
    assert gauges.read(slot, []) == Gauge(None, None, None)


def test_a_slot_of_gpus_is_the_whole_gpu(host: Any, card: Any) -> None:
    host(card("GPU-aa", busy=93, used=30 * GIB), card("GPU-bb", ["MIG-1"], used=5 * GIB, total=10 * GIB))
    whole, slice_ = slots(AgentOptions("0,1.0"))
    assert gauges.read(whole, [os.getpid()]) == Gauge(0.93, 30 * GIB, 80 * GIB)
    assert gauges.read(slice_, []) == Gauge(None, 5 * GIB, 10 * GIB)  # a slice tells its memory alone
    both = Slot("gpu:0+1", gpus=(whole.gpus[0], slice_.gpus[0]))
    assert gauges.read(both, []) == Gauge(None, 35 * GIB, 90 * GIB)
