"""Trials from start to end, without any server (W&B's offline mode), in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from sweepkit.trainer import checkpoint, config, main

QUICK = {"task": "digits", "width": 4, "batch_size": 256, "lr": 0.01}


def environment(folder: Path, **variables: str) -> dict[str, str]:
    base = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    own = {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_DIR": str(folder)}
    return {**base, "OMP_NUM_THREADS": "1", "SWEEPKIT_CHECKPOINTS": str(folder / "checkpoints"), **own, **variables}


def arguments(**given: Any) -> list[str]:
    return [f"--{key}={value}" for key, value in {**QUICK, **given}.items()]


def last(folder: Path, run_id: str) -> dict[str, Any]:
    return checkpoint.load(folder / "checkpoints" / run_id / "last.pt")


def rows(folder: Path, run_id: str) -> list[dict[str, float]]:
    """The logged epochs, without the speed, which no seed can repeat."""
    history = last(folder, run_id)["progress"]["history"]
    return [{key: value for key, value in row.items() if key != "samples_per_second"} for row in history]


def several(folder: Path, *trials: tuple[str, list[str]], **variables: str) -> subprocess.CompletedProcess[str]:
    """Trials one after the other in one process: torch is imported once."""
    lines = ["import os, wandb", "from sweepkit.trainer import main"]
    for run_id, argv in trials:
        # wandb reads the environment once, until it is torn down.
        lines += [f"os.environ['WANDB_RUN_ID'] = {run_id!r}", f"print({run_id!r}, main({argv!r}), flush=True)"]
        lines += ["wandb.teardown()"]
    command = [sys.executable, "-c", "\n".join(lines)]
    return subprocess.run(
        command, env=environment(folder, **variables), cwd=folder, capture_output=True, text=True, timeout=120
    )


def test_a_seed_repeats_a_run_and_wrong_input_ends_with_its_code(tmp_path: Path) -> None:
    done = several(
        tmp_path,
        ("one", arguments(epochs=2)),
        ("same", arguments(epochs=2)),
        ("other", arguments(epochs=2, seed=1)),
        ("optimizer", arguments(optimizer="Adamm")),
        ("name", arguments(dropuot=0.2)),
        ("task", arguments(task="digitts")),
        ("precision", arguments(precision="fp16")),
        ("nan", arguments(epochs=2, lr=1e30, optimizer="SGD")),
    )
    codes = ["one 0", "same 0", "other 0", "optimizer 2", "name 2", "task 2", "precision 2", "nan 1"]
    assert done.stdout.split("\n")[:-1] == codes
    assert rows(tmp_path, "one") == rows(tmp_path, "same") != rows(tmp_path, "other")
    assert [row["epoch"] for row in rows(tmp_path, "one")] == [1, 2]
    assert "Traceback" not in done.stderr
    for message in (
        "error: unknown optimizer 'Adamm'",
        "Did you mean 'Adam'?",
        "error: unknown hyperparameter 'dropuot'",
        "Did you mean 'dropout'?",
        "error: unknown task 'digitts'",
        "error: precision='fp16' is not allowed",
        "hint: precision must be one of auto, bf16, fp32",
        "error: the loss is no longer a number in epoch 1",
        "hint: try a smaller lr",
    ):
        assert message in done.stderr
    best = checkpoint.load(tmp_path / "checkpoints" / "one" / "best.pt")
    assert best["metric"]["val_acc"] == max(row["val_acc"] for row in rows(tmp_path, "one"))
    assert best["config"]["hidden_layer_width"] == 4
    assert best["config"]["precision"] in ("bf16", "fp32")  # what "auto" was on this machine


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_a_trial_learns_in_each_precision_and_leaves_torchs_compiler_alone(tmp_path: Path, precision: str) -> None:
    script = (
        "import sys; from sweepkit.trainer import main\n"
        f"print(main({arguments(epochs=3, width=16, precision=precision)!r}), 'torch._dynamo' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment(tmp_path, WANDB_RUN_ID="one"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout == "0 False\n", done.stderr
    assert rows(tmp_path, "one")[-1]["best_val_acc"] > 0.6
    assert last(tmp_path, "one")["config"]["precision"] == precision


def wait_for(path: Path, process: subprocess.Popen[str], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_damaged_last_checkpoint_means_starting_over_and_the_documented_task_trains(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints" / "damaged"
    folder.mkdir(parents=True)
    (folder / "last.pt").write_bytes(b"half a file")
    (tmp_path / "halves.py").write_text(example("class Halves"))
    own = arguments(task="halves:Halves", epochs=20, lr=0.05, batch_size=16)
    done = several(tmp_path, ("damaged", arguments(epochs=1)), ("own", own), WANDB_RESUME="allow")
    assert done.stdout.split("\n")[:-1] == ["damaged 0", "own 0"], done.stderr
    assert "is damaged and cannot be read" in done.stderr
    assert "starting over from the first epoch" in done.stderr
    assert len(rows(tmp_path, "damaged")) == 1
    assert rows(tmp_path, "own")[-1]["best_val_acc"] == 1.0


def example(part: str) -> str:
    """The example of docs/trainer.md that has ``part`` in it."""
    text = (Path(__file__).parents[2] / "docs" / "trainer.md").read_text()
    return next(block.split("```")[0] for block in text.split("```python\n")[1:] if part in block.split("```")[0])


def test_help_and_documentation_tell_every_hyperparameter(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    told = capsys.readouterr().out
    documented = (Path(__file__).parents[2] / "docs" / "trainer.md").read_text()
    for name in [*config.NAMES, *config.ALIASES]:
        assert name in told
        assert f"`{name}`" in documented
