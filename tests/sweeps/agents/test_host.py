"""Cores and memory that may be used: of this host as it is, of control groups in a folder, of Slurm's variables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sweepkit.sweeps.agents import host

MIB = 2**20


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Makes control groups: ``groups("0::/job/step\\n", {"job/memory.max": "8"})``; the rest of the host stays real."""
    read = host._read

    def make(membership: str, files: dict[str, str]) -> None:
        for name, text in files.items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{text}\n")
        monkeypatch.setattr(host, "_GROUPS", tmp_path)
        monkeypatch.setattr(host, "_read", lambda file: membership if file.parts[1] == "proc" else read(file))
        monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(16)))

    return make


def test_this_hosts_own_cores_and_memory_are_read() -> None:
    assert host.usable_cores() >= 1
    assert 2**28 < host.usable_memory() <= host.total_memory()


def test_a_limit_counts_wherever_it_stands_above_this_process(groups: Any) -> None:
    """As Slurm and systemd make them: the task's own group has no limit, that of the job has."""
    files = {"job/memory.max": str(900 * MIB), "job/memory.current": str(500 * MIB), "job/step/memory.max": "max"}
    files |= {"job/memory.stat": f"anon 1\ninactive_file {100 * MIB}", "job/cpu.max": "250000 100000"}
    groups("0::/job/step\n", {**files, "job/step/cpu.max": "max 100000"})
    assert (host.usable_cores(), host.usable_memory(), host.total_memory()) == (3, 500 * MIB, 900 * MIB)


def test_control_groups_of_version_1(groups: Any) -> None:
    limit, usage = "memory.limit_in_bytes", "memory.usage_in_bytes"
    files = {f"memory/{limit}": str(2**63 - 4096), f"memory/job/{limit}": str(800 * MIB)}
    files |= {f"memory/job/{usage}": str(300 * MIB), "cpu,cpuacct/cpu.cfs_quota_us": "-1"}
    files |= {"cpu/job/cpu.cfs_quota_us": "400000", "cpu/job/cpu.cfs_period_us": "100000"}
    groups("4:memory:/job\n2:cpuacct,cpu:/job\n", files)
    assert (host.usable_cores(), host.usable_memory(), host.total_memory()) == (4, 500 * MIB, 800 * MIB)


@pytest.mark.parametrize(
    ("variables", "cores", "memory"),
    [
        ({"CPUS_PER_TASK": "4", "STEP_ID": "0", "TASKS_PER_NODE": "2(x3)", "MEM_PER_NODE": "600"}, 4, 600),
        ({"CPUS_PER_TASK": "4", "TASKS_PER_NODE": "2(x3)", "MEM_PER_CPU": "50"}, 8, 400),
        ({"CPUS_ON_NODE": "6", "MEM_PER_CPU": "50"}, 6, 300),
        ({"CPUS_PER_TASK": "64", "MEM_PER_NODE": "0"}, 16, None),  # more than there is, and all there is
    ],
)
def test_what_slurm_gave(
    groups: Any, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], cores: int, memory: int | None
) -> None:
    groups("", {})
    for name, value in variables.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert host.usable_cores() == cores
    assert host.total_memory() == (memory * MIB if memory else pytest.approx(host.total_memory()))
    assert memory is None or host.usable_memory() <= memory * MIB
