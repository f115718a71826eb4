"""Trials from start to end, without any server (W&B's offline mode), in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from sweepkit.trainer import checkpoint

QUICK = {"task": "digits", "width": 4, "batch_size": 256, "lr": 0.01}


def environment(folder: Path, **variables: str) -> dict[str, str]:
    base = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    own = {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_DIR": str(folder)}
    return {**base, "OMP_NUM_THREADS": "1", "SWEEPKIT_CHECKPOINTS": str(folder / "checkpoints"), **own, **variables}


def arguments(**given: Any) -> list[str]:
    return [f"--{key}={value}" for key, value in {**QUICK, **given}.items()]


def train(folder: Path, run_id: str, *more: str, resume: str = "", **given: Any) -> subprocess.CompletedProcess[str]:
    variables = {"WANDB_RUN_ID": run_id, **({"WANDB_RESUME": resume} if resume else {})}
    command = [sys.executable, "-m", "sweepkit.trainer", *arguments(**given), *more]
    return subprocess.run(
        command, env=environment(folder, **variables), cwd=folder, capture_output=True, text=True, timeout=120
    )


def last(folder: Path, run_id: str) -> dict[str, Any]:
    return checkpoint.load(folder / "checkpoints" / run_id / "last.pt")


def rows(folder: Path, run_id: str) -> list[dict[str, float]]:
    """The logged epochs, without the speed, which no seed can repeat."""
    history = last(folder, run_id)["progress"]["history"]
    return [{key: value for key, value in row.items() if key != "samples_per_second"} for row in history]


def several(folder: Path, *trials: tuple[str, list[str]]) -> subprocess.CompletedProcess[str]:
    """Trials one after the other in one process: torch is imported once."""
    lines = ["import os, wandb", "from sweepkit.trainer import main"]
    for run_id, argv in trials:
        # wandb reads the environment once, until it is torn down.
        lines += [f"os.environ['WANDB_RUN_ID'] = {run_id!r}", f"print({run_id!r}, main({argv!r}), flush=True)"]
        lines += ["wandb.teardown()"]
    command = [sys.executable, "-c", "\n".join(lines)]
    return subprocess.run(command, env=environment(folder), cwd=folder, capture_output=True, text=True, timeout=120)


def test_a_seed_repeats_a_run_and_wrong_input_ends_with_its_code(tmp_path: Path) -> None:
    done = several(
        tmp_path,
        ("one", arguments(epochs=2)),
        ("same", arguments(epochs=2)),
        ("other", arguments(epochs=2, seed=1)),
        ("optimizer", arguments(optimizer="Adamm")),
        ("name", arguments(dropuot=0.2)),
        ("task", arguments(task="digitts")),
        ("nan", arguments(epochs=2, lr=1e30, optimizer="SGD")),
    )
    assert done.stdout.split("\n")[:-1] == ["one 0", "same 0", "other 0", "optimizer 2", "name 2", "task 2", "nan 1"]
    assert rows(tmp_path, "one") == rows(tmp_path, "same") != rows(tmp_path, "other")
    assert [row["epoch"] for row in rows(tmp_path, "one")] == [1, 2]
    assert "Traceback" not in done.stderr
    for message in (
        "error: unknown optimizer 'Adamm'",
        "Did you mean 'Adam'?",
        "error: unknown hyperparameter 'dropuot'",
        "Did you mean 'dropout'?",
        "error: unknown task 'digitts'",
        "error: the loss is no longer a number in epoch 1",
        "hint: try a smaller lr",
    ):
        assert message in done.stderr
    best = checkpoint.load(tmp_path / "checkpoints" / "one" / "best.pt")
    assert best["metric"]["val_acc"] == max(row["val_acc"] for row in rows(tmp_path, "one"))
    assert best["config"]["hidden_layer_width"] == 4


def test_a_preempted_trial_goes_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sweepkit.trainer", *arguments(epochs=100_000)]
    variables = environment(tmp_path, WANDB_RUN_ID="cut", WANDB_RESUME="allow")
    process = subprocess.Popen(command, env=variables, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    wait_for(tmp_path / "checkpoints" / "cut" / "last.pt", process)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 143, told
    assert "sweepkit: preempted in epoch" in told

    epochs = last(tmp_path, "cut")["progress"]["epoch"] + 1
    resumed = train(tmp_path, "cut", resume="allow", epochs=epochs)
    assert resumed.returncode == 0, resumed.stderr
    assert "sweepkit: resumed in epoch" in resumed.stderr
    whole = several(tmp_path, ("whole", arguments(epochs=epochs)))
    assert whole.returncode == 0
    assert [row["epoch"] for row in rows(tmp_path, "cut")] == list(range(1, epochs + 1))
    assert rows(tmp_path, "cut") == rows(tmp_path, "whole")


def wait_for(path: Path, process: subprocess.Popen[str], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_damaged_last_checkpoint_means_starting_over(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints" / "damaged"
    folder.mkdir(parents=True)
    (folder / "last.pt").write_bytes(b"half a file")
    done = train(tmp_path, "damaged", resume="allow", epochs=1)
    assert done.returncode == 0
    assert "is damaged and cannot be read" in done.stderr
    assert "starting over from the first epoch" in done.stderr
    assert len(rows(tmp_path, "damaged")) == 1


OWN_TASK = '''
import torch
from PIL import Image
from sweepkit.trainer import Data


class Halves:
    """Which half of a 4 x 4 image is bright?"""

    name = "halves"
    classes = ("left", "right")
    in_channels = 1
    default_fraction = 1.0

    def load(self, data_root, fraction, seed):
        y = torch.arange(100) % 2
        x = torch.zeros(100, 1, 4, 4)
        x[y == 0, :, :, :2] = 1.0
        x[y == 1, :, :, 2:] = 1.0
        return Data(x[:80], y[:80], x[80:], y[80:])

    def draw(self, x):
        return Image.fromarray((x[0] * 255).byte().numpy())
'''


def test_a_task_of_the_users_own(tmp_path: Path) -> None:
    (tmp_path / "halves.py").write_text(OWN_TASK)
    done = train(tmp_path, "own", task="halves:Halves", epochs=20, lr=0.05, batch_size=16)
    assert done.returncode == 0, done.stderr
    assert rows(tmp_path, "own")[-1]["best_val_acc"] == 1.0


@pytest.mark.parametrize("argument", ["--help"])
def test_help_tells_the_hyperparameters(argument: str, capsys: pytest.CaptureFixture[str]) -> None:
    from sweepkit.trainer import main

    assert main([argument]) == 0
    assert "hidden_layer_width" in capsys.readouterr().out
