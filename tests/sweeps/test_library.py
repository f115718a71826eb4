"""The YAML library: documented, understood by the trainer, and accepted unchanged by the real `wandb sweep`."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from sweepkit.sweeps import catalog, spec
from sweepkit.trainer import config

NAMES = list(catalog.paths())
TRAINED = [name for name in NAMES if name not in ("own-script", "digits-conditional")]
WANDB_SWEEP = (
    "import sys; from wandb.cli.cli import cli; [cli(['sweep', f], standalone_mode=False) for f in sys.argv[1:]]"
)
REPORT = """
import json, sys, wandb
sweep = wandb.Api().sweep(sys.argv[1])
run = sweep.runs[0]
names = [file.name for file in run.files()]
print(json.dumps([run.id, sweep.config, run.state, dict(run.config), run.summary._json_dict, names]))
"""


def test_the_library_holds_what_it_promises() -> None:
    assert NAMES[0] == "quickstart"
    methods = {entry.name: (entry.method, entry.dataset) for entry in catalog.catalog()}
    assert methods["quickstart"] == ("bayes", "digits")
    for dataset in ("digits", "mnist"):
        for method in ("grid", "random", "bayes"):
            kind, name = methods[f"{dataset}-{method}"]
            assert (kind, name.lower()) == (method, dataset)
    assert {"digits-hyperband", "digits-nested", "digits-ddp", "digits-conditional", "own-script"} < set(NAMES)


def test_the_catalog_counts_and_describes() -> None:
    entries = {entry.name: entry for entry in catalog.catalog()}
    assert (entries["quickstart"].trials, entries["digits-grid"].trials, entries["mnist-grid"].trials) == (12, 16, 24)
    assert all(entry.trials and entry.purpose.endswith(".") and entry.path.is_file() for entry in entries.values())


@pytest.mark.parametrize("name", NAMES)
def test_each_is_documented_in_its_head_and_without_fault(name: str) -> None:
    sweep = spec.load(name)
    assert sweep.warnings == ()
    assert sweep.name == name
    head = catalog.head_comment(sweep.text)
    assert len(head[0]) <= 110
    assert any(line.startswith("Dataset:") for line in head)
    assert f"Run it:     sweepkit run {name}" in head
    counts = [int(found[1]) for line in head if (found := re.match(r"(\d+) trials", line))]
    assert all(count == sweep.count() for count in counts)


@pytest.mark.parametrize("name", TRAINED)
def test_the_trainer_understands_every_configuration(name: str) -> None:
    import torch

    sweep = spec.load(name)
    rng = random.Random(0)
    for _ in range(50):
        configuration = sweep.space.configuration(sweep.space.sample(rng))
        config.check_names(configuration)
        hyper = config.read(configuration)
        assert isinstance(getattr(torch.optim, hyper.optim_type), type)
        assert hyper.task == name.split("-")[0].replace("quickstart", "digits")


def test_the_space_with_conditions_has_them_and_the_trainer_understands_it() -> None:
    import optuna
    from sweepkit.sweeps.library import digits_conditional
    from wandb.sdk.sweeps.sweep_info import SweepInfo

    sweep = SweepInfo("id", "name", "me", "p", spec.load("digits-conditional").config, "c")
    study = digits_conditional.study(sweep)
    assert study.direction is optuna.study.StudyDirection.MAXIMIZE
    seen = set()
    for _ in range(40):
        trial = study.ask()
        configuration = digits_conditional.space(trial)
        config.check_names(configuration)
        hyper = config.read(configuration)
        assert (hyper.task, hyper.epochs) == ("digits", 8)
        assert ("momentum" in configuration) == (hyper.optim_type == "SGD")
        assert ("weight_decay" in configuration) == (hyper.optim_type == "AdamW")
        seen.add(hyper.optim_type)
        study.tell(trial, hyper.lr)
    assert seen == {"SGD", "Adam", "AdamW"}


def test_the_space_with_conditions_is_searched_from_any_folder(wandb_env: dict[str, str]) -> None:
    """The whole story in another folder than the source's: the search is started, and its runs have what it says."""
    command = [sys.executable, "-m", "sweepkit", "run", "digits-conditional", "--trials", "1", "--no-promote"]
    command += ["--project", "conditional", "--backend", "embedded", "--format", "json", "--cpu-slots", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert [row["state"] for row in told["comparison"]] == ["finished"]
    tried = {name for name, value in told["best"]["config"].items() if value is not None}
    assert {"optimizer", "lr", "width", "dropout", "task"} <= tried
    assert ("momentum" in tried) == (told["best"]["config"]["optimizer"] == "SGD")
    assert told["best"]["value"] > 0.5


def test_bayes_and_random_search_the_same_ranges() -> None:
    assert spec.load("digits-bayes").config["parameters"] == spec.load("digits-random").config["parameters"]


def test_wandb_sweep_takes_every_file_and_its_agent_runs_a_users_own_script(
    wandb_env: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("WANDB_SILENT")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    files = {name: str(path) for name, path in catalog.paths().items()}
    made = subprocess.run(
        [sys.executable, "-c", WANDB_SWEEP, *files.values()], capture_output=True, text=True, timeout=120
    )
    assert made.returncode == 0, made.stderr
    assert "Violation" not in made.stderr
    sweeps = dict(zip(files, re.findall(r"wandb agent (\S+)", re.sub(r"\x1b\[\d+m", "", made.stderr)), strict=True))

    agent = [sys.executable, "-m", "wandb", "agent", "--count", "1", sweeps["own-script"]]
    done = subprocess.run(agent, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    told = subprocess.run(
        [sys.executable, "-c", REPORT, sweeps["own-script"]], capture_output=True, text=True, timeout=60
    )
    assert told.returncode == 0, told.stderr
    name, kept, state, configuration, summary, names = json.loads(told.stdout.splitlines()[-1])
    assert kept == spec.load("own-script").config
    assert state == "finished", done.stderr
    assert {"hidden", "lr", "alpha", "epochs"} <= set(configuration)
    assert summary["epoch"] == 15
    assert summary["val_acc"] > 0.8
    assert "model.npz" in names

    path = f"{sweeps['own-script'].rsplit('/', 1)[0]}/{name}"
    promote = [sys.executable, "-m", "sweepkit.trainer.report", path]
    promote += ["--report", "sweepkit.sweeps.library.own_report:report"]
    promoted = subprocess.run(promote, capture_output=True, text=True, timeout=120)
    assert promoted.returncode == 0, promoted.stderr
    told = json.loads(promoted.stdout.splitlines()[-1])
    assert [artifact["type"] for artifact in told["artifacts"]] == ["dataset", "code", "model"]
    assert told["tables"]["good_cases"] == 50
    assert told["tables"]["bad_cases"] == pytest.approx(min(50, 360 * (1 - summary["val_acc"])), abs=1)
