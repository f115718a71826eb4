"""`wandb sweep-scheduler`, unmodified, with each of its three engines, and W&B's own agent beside it.

Ax, and W&B's search package with the numpy that it needs, are installed once into environments of their own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ..packages import python_with

PACKAGES = {"wandb": ("sweeps==0.3.0", "numpy<2"), "ax": ("ax-platform>=1.1,<2",)}

AGENT = """
import sys, wandb
from wandb.agents import pyagent
pyagent.Agent.HEARTBEAT_SLEEP_SECONDS = 0.2
def train():
    with wandb.init() as run:
        x = run.config["x"]
        for step in range(3):
            run.log({"loss": (x - 0.3) ** 2 + 1 / (step + 1), "seconds": 1 - x})
wandb.agent(sys.argv[1], train)
"""
OPTUNA = """
import optuna
def space(trial):
    params = {"x": trial.suggest_float("x", 0, 1), "optimizer": trial.suggest_categorical("optimizer", ["sgd", "adam"])}
    if params["optimizer"] == "sgd":
        params["momentum"] = trial.suggest_float("momentum", 0.0, 0.9)
    return params
def study(sweep):
    directions = [metric["goal"] for metric in sweep.config["metrics"]]
    return optuna.create_study(directions=directions, sampler=optuna.samplers.RandomSampler(seed=1))
"""
AX = """
from ax.api.client import Client
from wandb.sdk.sweeps.scheduler.ax import configure_sweep_objective, sweep_parameters_to_search_space
def client(sweep):
    made = Client(random_seed=1)
    made.configure_experiment(parameters=sweep_parameters_to_search_space(sweep.config["parameters"]))
    configure_sweep_objective(made, sweep.config)
    return made, lambda client: len(client.summarize()) >= 4 and all(client.summarize()["trial_status"] == "COMPLETED")
"""
METRIC = {"name": "loss", "goal": "minimize"}
METRICS = [METRIC, {"name": "seconds", "goal": "minimize"}]
X = {"x": {"min": 0.0, "max": 1.0}}
CONFIGS: dict[str, dict[str, Any]] = {
    "wandb": {"method": "grid", "metric": METRIC, "parameters": {"x": {"values": [0.4, 0.1, 0.2]}}},
    "optuna": {"method": "custom", "metrics": METRICS, "run_cap": 3, "source": OPTUNA, "search_space": "space",
               "optimizer": "study"},
    "ax": {"method": "custom", "metrics": METRICS, "parameters": X, "source": AX, "optimizer": "client"},
}  # fmt: skip

BATCHES = {"wandb": 3, "optuna": 2, "ax": 4}


@dataclass(frozen=True)
class Searched:
    """What came of a sweep: what the scheduler said, and the sweep's runs."""

    said: str
    state: str
    runs: list[dict[str, Any]]

    def told(self) -> set[str]:
        """The runs whose end the scheduler has told the search."""
        return {run["name"] for run in self.runs if f"Run {run['name']} is finished" in self.said}


@pytest.fixture
def searched(wandb_env: dict[str, str], tmp_path: Path) -> Any:
    """``searched(engine)``: make the sweep as `wandb sweep` does, and let scheduler and agent work until it is over."""

    def run(engine: str) -> Searched:
        import wandb

        config = {"program": "train.py", "scheduler": {"engine": engine}, **CONFIGS[engine]}
        for key in {"source", "optimizer", "search_space"} & set(config):
            config["scheduler"][key] = config.pop(key)
        if source := config["scheduler"].get("source"):
            (tmp_path / "search.py").write_text(source)
            config["scheduler"]["source"] = "search.py"
        path = f"{wandb_env['WANDB_ENTITY']}/schedulers/{wandb.sweep(config, project='schedulers')}"
        python = python_with(engine, *PACKAGES[engine]) if engine in PACKAGES else sys.executable
        environment = {**os.environ, "WANDB_SILENT": "false", "WANDB_CONSOLE": "off"}
        environment.pop("WANDB_SERVICE", None)
        agent = subprocess.Popen([sys.executable, "-c", AGENT, path], env=environment, stderr=subprocess.DEVNULL)
        try:
            scheduler = [
                str(python),
                "-m",
                "wandb",
                "sweep-scheduler",
                path,
                "--batch-size",
                "2",
                "--poll-interval",
                "1",
            ]
            done = subprocess.run(scheduler, env=environment, capture_output=True, text=True, timeout=200)
            assert done.returncode == 0, done.stderr
            assert agent.wait(60) == 0
        finally:
            agent.kill()
        sweep = wandb.Api().sweep(path)
        runs = [{"name": run.id, "state": run.state, "config": dict(run.config)} for run in sweep.runs]
        return Searched(done.stderr, sweep.state, list(reversed(runs)))

    return run


def test_the_engine_wandb_walks_a_grid_to_its_end(searched: Any) -> None:
    found = searched("wandb")
    assert found.state == "FINISHED"
    assert sorted(run["config"]["x"] for run in found.runs) == [0.1, 0.2, 0.4]
    assert found.told() == {run["name"] for run in found.runs}
    assert "the search space is exhausted" in found.said


def test_the_engine_optuna_with_a_users_study_and_a_space_that_has_conditions(searched: Any) -> None:
    """The cap is no multiple of the batch: what is over the cap is taken back, and the scheduler goes on to the end."""
    found = searched("optuna")
    assert found.state == "FINISHED"
    assert [run["state"] for run in found.runs] == ["finished"] * 3
    assert all(("momentum" in run["config"]) == (run["config"]["optimizer"] == "sgd") for run in found.runs)
    assert {run["config"]["optimizer"] for run in found.runs} == {"sgd", "adam"}
    assert len(found.told()) >= 2
    assert "was deleted" in found.said
    assert "Trial 0 finished with value: [" in found.said


def test_the_engine_ax_with_a_users_client_and_its_end(searched: Any) -> None:
    found = searched("ax")
    assert found.state == "FINISHED"
    assert len(found.runs) >= 4
    assert len(found.told()) >= 4
    assert "the optimizer ended the sweep" in found.said
