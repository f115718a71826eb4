"""Runs and reports against a real backend: resumed without doubled steps, promoted twice without a change."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import wandb
from sweepkit.trainer import checkpoint, compute

from .test_train import arguments, example, rows, several, wait_for

PROJECT = "trainer-tests"


def start(folder: Path, *command: str, **variables: str) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "SWEEPKIT_CHECKPOINTS": str(folder / "checkpoints"),
        "WANDB_PROJECT": PROJECT,
        **variables,
    }
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, *command], env=environment, cwd=folder, stdout=pipe, stderr=pipe, text=True
    )


def finish(process: subprocess.Popen[str], code: int = 0) -> tuple[str, str]:
    out, told = process.communicate(timeout=120)
    assert process.returncode == code, told
    return out, told


def promote(folder: Path, path: str, *more: str, **variables: str) -> dict[str, Any]:
    out, told = finish(start(folder, "-m", "sweepkit.trainer.report", path, *more, **variables))
    assert "Traceback" not in told
    return json.loads(out.splitlines()[-1])


def summary_of(run: Any) -> dict[str, Any]:
    return {key: value for key, value in dict(run.summary).items() if key != "_wandb"}


def test_a_run_is_preempted_resumed_and_promoted_twice(wandb_env: dict[str, str], tmp_path: Path) -> None:
    path = f"{wandb_env['WANDB_ENTITY']}/{PROJECT}/cut"
    same = {"WANDB_RUN_ID": "cut", "WANDB_RESUME": "allow"}
    # Not what "auto" means here: the run goes on, without being told again, as on a host of another kind.
    other = "fp32" if compute.resolve("auto", torch.device("cpu")) == "bf16" else "bf16"
    process = start(tmp_path, "-m", "sweepkit.trainer", *arguments(epochs=100_000, precision=other), **same)
    wait_for(tmp_path / "checkpoints" / "cut" / "last.pt", process)
    process.send_signal(signal.SIGTERM)
    finish(process, code=143)
    preempted = wandb.Api().run(path)
    assert preempted.state == "preempted"

    last = checkpoint.load(tmp_path / "checkpoints" / "cut" / "last.pt")
    epochs = last["progress"]["epoch"] + 1
    finish(start(tmp_path, "-m", "sweepkit.trainer", *arguments(epochs=epochs), **same))
    assert several(tmp_path, ("whole", arguments(epochs=epochs, precision=other))).returncode == 0
    assert rows(tmp_path, "cut") == rows(tmp_path, "whole")  # as if nothing had been
    run = wandb.Api().run(path)
    assert run.state == "finished"
    assert run.name == preempted.name
    history = list(run.scan_history(keys=["_step", "epoch"]))
    assert [row["epoch"] for row in history] == [row["_step"] for row in history] == list(range(1, epochs + 1))
    assert run.config["epochs"] == epochs
    assert run.config["precision"] == run.summary["precision"] == other
    files = {file.name for file in run.files()}
    assert {"checkpoint/best.pt", "code/sweepkit/trainer/train.py", "config.yaml"} <= files

    # The second time on a host that has no checkpoint of it: the run's file serves.
    first = promote(tmp_path, path)
    after_first = wandb.Api().run(path)
    second = promote(tmp_path, path, SWEEPKIT_CHECKPOINTS=str(tmp_path / "elsewhere"))
    assert [(each["name"], each["version"]) for each in first["artifacts"]] == [
        ("digits", "v0"),
        ("sweepkit-trainer", "v0"),
        ("digits-model", "v0"),
    ]
    assert [each["unchanged"] for each in first["artifacts"]] == [False, False, False]
    assert second == {**first, "artifacts": [{**each, "unchanged": True} for each in first["artifacts"]]}
    assert first["artifacts"][2]["aliases"] == ["best", "latest"]

    after = wandb.Api().run(path)
    assert after.state == "finished"
    assert after.lastHistoryStep == after_first.lastHistoryStep == epochs + 1
    assert summary_of(after)["promoted"] == summary_of(after_first)["promoted"]
    assert summary_of(after)["best_val_acc"] == max(row["val_acc"] for row in run.scan_history(keys=["val_acc"]))
    check_contents(after, first, tmp_path)


def check_contents(run: Any, told: dict[str, Any], folder: Path) -> None:
    api = wandb.Api()
    model = api.artifact(f"{run.entity}/{run.project}/digits-model:best")
    assert model.metadata["config"]["hidden_layer_width"] == 4
    assert model.metadata["val_acc"] == summary_of(run)["best_val_acc"]
    assert checkpoint.load(Path(model.download(str(folder / "model"))) / "best.pt")["run"] == run.id
    for name in ("good", "bad"):
        logged = next(each for each in run.logged_artifacts() if each.name.startswith(f"run-{run.id}-{name}_cases"))
        table = logged.get(f"{name}_cases")
        assert table.columns == ["Image", "GroundTruth", "Prediction", "Confidence"]
        assert len(table.data) == told["tables"][f"{name}_cases"] > 0
        assert all((row[1] == row[2]) == (name == "good") and 0 <= row[3] <= 1 for row in table.data)
    assert told["tables"]["good_cases"] <= 50


SCRIPT = """
import pathlib, wandb
with wandb.init(id="own", config={"lr": 0.1}) as run:
    run.log({"score": 1.0})
    pathlib.Path("weights.pt").write_bytes(b"weights")
    run.save("weights.pt")
"""


def test_a_script_of_the_users_own_is_promoted_with_and_without_a_report_function(
    wandb_env: dict[str, str], tmp_path: Path
) -> None:
    path = f"{wandb_env['WANDB_ENTITY']}/{PROJECT}/own"
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "mine.py").write_text(example("report.cases("))
    finish(start(tmp_path, "script.py"))
    kept = promote(tmp_path, path)
    assert [(each["type"], each["name"]) for each in kept["artifacts"]][:1] == [("model", f"{PROJECT}-model")]
    assert kept["tables"] == {}
    assert any(text.startswith("case tables:") for text in kept["left_out"])
    assert [each["unchanged"] for each in promote(tmp_path, path)["artifacts"]] == [True] * len(kept["artifacts"])

    own = promote(tmp_path, path, "--report", "mine:report")
    assert [(each["name"], each["version"]) for each in own["artifacts"]] == [("my-model", "v0")]
    assert own["tables"] == {"good_cases": 1, "bad_cases": 1}
    assert own["left_out"] == ["dataset: it is public"]


@pytest.mark.parametrize(
    ("given", "code", "message"),
    [
        (["{entity}/no-project/no-run"], 2, "error: there is no run"),
        (["only-an-id"], 2, "error: 'only-an-id' is no run"),
        (["{entity}/a/b", "--report", "nothing:here"], 2, "error: the report function: no module named 'nothing'"),
    ],
)
def test_a_report_on_nothing_says_so(
    wandb_env: dict[str, str], capsys: pytest.CaptureFixture[str], given: list[str], code: int, message: str
) -> None:
    from sweepkit.trainer.report import main

    assert main([text.format(entity=wandb_env["WANDB_ENTITY"]) for text in given]) == code
    out, told = capsys.readouterr()
    assert message in told
    assert out == ""


def test_a_run_whose_best_checkpoint_is_gone_is_left_as_it_was(wandb_env: dict[str, str], tmp_path: Path) -> None:
    path = f"{wandb_env['WANDB_ENTITY']}/{PROJECT}/bare"
    script = "import wandb\nwith wandb.init(id='bare') as run:\n    run.summary.update({'trainer': 'sweepkit'})"
    finish(start(tmp_path, "-c", script))
    folder = tmp_path / "checkpoints" / "bare"
    folder.mkdir(parents=True)
    (folder / "best.pt").write_bytes(b"half a file")
    out, told = finish(start(tmp_path, "-m", "sweepkit.trainer.report", path), code=1)
    assert out == ""
    assert "best.pt is damaged and cannot be read" in told
    assert "Traceback" not in told
    assert wandb.Api().run(path).state == "finished"
