"""How endings are told apart; the processes are real where the kernel or Python has a word in it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sweepkit.sweeps.agents import outcomes
from sweepkit.sweeps.agents.outcomes import Ending, failure


@pytest.mark.parametrize("kind", outcomes.KINDS)
def test_only_what_was_meant_is_no_failure(kind: outcomes.Kind) -> None:
    assert Ending(kind).failed == (kind not in ("finished", "stopped", "preempted"))


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM, signal.SIGABRT])
def test_a_child_killed_by_a_signal_has_failed(signum: signal.Signals) -> None:
    child = subprocess.run([sys.executable, "-c", f"import os; os.kill(os.getpid(), {int(signum)})"])
    ending = failure(child.returncode)
    assert (ending.kind, ending.failed, ending.label) == ("signal", True, "signal")
    assert ending.why == f"killed by signal {int(signum)}, {signum.name}"


def test_a_shell_tells_its_childs_signal_by_its_code() -> None:
    code = subprocess.run(["sh", "-c", "sh -c 'kill -9 $$'; exit $?"], stderr=subprocess.DEVNULL).returncode
    assert code == 137 and failure(code) == Ending("signal", 137, "killed by signal 9, SIGKILL")
    assert failure(137, oom_kills=1).kind == "oom"
    assert failure(200) == Ending("exit", 200, "exit code 200")  # 72 is no signal


def test_a_code_is_told_as_retry_on_spells_it() -> None:
    assert failure(3).label == "exit:3" and Ending("oom", -9).label == "oom"


def test_pythons_own_memory_error_is_oom() -> None:
    text = "import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 29,) * 2); bytearray(1 << 31)"
    child = subprocess.run([sys.executable, "-c", text], stderr=subprocess.PIPE, text=True)
    assert failure(child.returncode, child.stderr.splitlines()) == Ending("oom", 1, "out of memory: MemoryError")


@pytest.mark.parametrize("line", [
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB.",
    "torch.cuda.OutOfMemoryError: CUDA out of memory.",
    "RuntimeError: CUDA error: out of memory",
    "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "RuntimeError: [enforce fail at alloc_cpu.cpp:83] err == 0. DefaultCPUAllocator: can't allocate memory",
    "terminate called after throwing an instance of 'std::bad_alloc'",
    "OSError: [Errno 12] Cannot allocate memory",
])  # fmt: skip
def test_what_libraries_say_of_memory_is_oom(line: str) -> None:
    ending = failure(1, ["Traceback (most recent call last):", line, "", "wandb: synced"])
    assert ending.kind == "oom" and line[:60] in ending.why


def test_a_killed_worker_is_oom_only_where_the_kernel_killed_something() -> None:
    line = "RuntimeError: DataLoader worker (pid 7) is killed by signal: Killed. "
    assert failure(1, [line]).kind == "exit"
    assert failure(1, [line], oom_kills=1).kind == "oom"
    assert failure(1, ["ValueError: x"], oom_kills=1).kind == "exit"  # a neighbour's


def test_a_memory_limit_that_kills_is_counted(tmp_path: Path) -> None:
    """A real control group with a real limit where this user may make one; the host's counter is read in any case."""
    before = outcomes.count_oom_kills()
    group = _limited_group(64 * 2**20)
    if group is None:
        assert any(line.startswith("oom_kill ") for line in Path("/proc/vmstat").read_text().splitlines())
        return
    try:
        join = f"open({str(group / 'cgroup.procs')!r}, 'w').write('0'); bytearray(256 << 20)"
        code = subprocess.run([sys.executable, "-c", join]).returncode
        assert code == -signal.SIGKILL
        assert failure(code, oom_kills=outcomes.count_oom_kills() - before).kind == "oom"
    finally:
        group.rmdir()


def _limited_group(limit: int) -> Path | None:
    """A new memory control group (version 2 or 1), or None where none can be made."""
    for root, name in (("/sys/fs/cgroup", "memory.max"), ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")):
        group = Path(root) / f"sweepkit-test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        if (group / name).exists():
            (group / name).write_text(str(limit))
            return group
        group.rmdir()  # a folder like any other: no such control here
    return None
