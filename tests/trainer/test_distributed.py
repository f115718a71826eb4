"""Two ranks on the CPU, started by the real torchrun, beside one process that trains the same."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from sweepkit.trainer import checkpoint

from .test_train import arguments, environment, last, rows

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]


def trials(folder: Path, *wanted: tuple[str, list[str]], ranks: int = 2, **variables: str) -> str:
    """Train these one after the other in the same processes, connected anew for each trial: torch is imported once.

    torchrun connects its ranks only once; so here they find each other by a port for each trial. Returns what they
    wrote, with a line for each trial's exit code.
    """
    lines = ["import os, wandb", "from sweepkit.trainer import main"]
    for run_id, argv in wanted:
        lines += [f"os.environ.update(WANDB_RUN_ID={run_id!r}, MASTER_PORT='{free_port()}')"]
        lines += [f"print({run_id!r}, main({argv!r}), flush=True)", "wandb.teardown()"]
    script = folder / "trials.py"
    script.write_text("\n".join(lines))
    world = {"MASTER_ADDR": "127.0.0.1", "WORLD_SIZE": str(ranks)}
    started = [
        subprocess.Popen(
            [sys.executable, str(script)], env=environment(folder, RANK=str(rank), **world, **variables), cwd=folder,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in range(ranks)
    ]  # fmt: skip
    return "".join(process.communicate(timeout=120)[0] for process in started)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_two_ranks_train_as_one_process_does(tmp_path: Path) -> None:
    plain = {"dropout": 0, "epochs": 3, "lr": 0.01, "width": 8, "precision": "fp32"}
    both = [
        ("even", arguments(**plain, batch_size=256)),
        ("lonely", arguments(**plain, batch_size=1436)),  # the second batch has one image, so one rank has none
        ("lbfgs", arguments(**{**plain, "epochs": 1}, batch_size=719, optimizer="LBFGS")),  # it looks at the loss
    ]
    told = trials(tmp_path, *both, ("wrong", arguments(lr=-1)))
    assert [told.count(f"{name} 0\n") for name, _ in both] == [2, 2, 2], told
    assert told.count("wrong 2\n") == 2 and "lr=-1 is not allowed" in told
    together = {name: rows(tmp_path, name) for name, _ in both}
    trials(tmp_path, *both, ranks=1)
    for name, _ in both:
        alone = rows(tmp_path, name)
        assert len(alone) == len(together[name])
        for one, two in zip(alone, together[name], strict=True):
            assert two == pytest.approx(one, rel=0.02, abs=0.01), name
    assert len(list(tmp_path.glob("wandb/offline-run-*-even"))) == 2  # one run for each of the two, not for each rank


def start(folder: Path, run_id: str, argv: list[str], **variables: str) -> subprocess.Popen[bytes]:
    output = (folder / f"{run_id}.log").open("ab")
    command = [*TORCHRUN, "-m", "sweepkit.trainer", *argv]
    own = environment(folder, WANDB_RUN_ID=run_id, **variables)
    return subprocess.Popen(command, env=own, cwd=folder, stdout=output, stderr=output)


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None and time.monotonic() < deadline, path
        time.sleep(0.02)


def test_a_preempted_trial_goes_on_in_all_ranks_as_if_nothing_had_been(tmp_path: Path) -> None:
    argv = arguments(dropout=0.3, batch_size=16, epochs=6)
    process = start(tmp_path, "cut", argv, WANDB_RESUME="allow")
    wait_for(tmp_path / "checkpoints" / "cut" / "last.pt", process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) != 0
    assert "sweepkit: preempted in epoch" in (tmp_path / "cut.log").read_text()
    stopped = last(tmp_path, "cut")["progress"]
    assert stopped["epoch"] <= 6
    told = trials(tmp_path, ("cut", argv), ("whole", argv), WANDB_RESUME="allow")
    assert (told.count("cut 0\n"), told.count("whole 0\n")) == (2, 2), told
    assert f"sweepkit: resumed in epoch {stopped['epoch']} of 6" in told
    assert rows(tmp_path, "cut") == rows(tmp_path, "whole")


def test_a_dead_rank_ends_all(tmp_path: Path) -> None:
    process = start(tmp_path, "dead", arguments(batch_size=8, epochs=500))
    wait_for(tmp_path / "checkpoints" / "dead" / "last.pt", process)
    family = psutil.Process(process.pid).children(recursive=True)
    ranks = {each.environ().get("RANK"): each for each in family if "sweepkit.trainer" in each.cmdline()}
    ranks["1"].kill()
    assert process.wait(60) != 0
    assert "error: another process of this trial died" in (tmp_path / "dead.log").read_text()
    assert psutil.wait_procs(family, timeout=20)[1] == []
    assert checkpoint.load(tmp_path / "checkpoints" / "dead" / "last.pt")["run"] == "dead"
