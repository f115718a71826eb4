"""Sweeps whose runs are logged by the real client, in one process for all runs of a sweep, without training."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from sweepkit.sweeps.backends import Backend
from sweepkit.sweeps.wandb_api import SweepRef, WandbApi

LOG = """
import json, sys, wandb
for each in json.load(sys.stdin):
    settings = wandb.Settings(sweep_id=each["sweep"], x_disable_stats=True, console="off", disable_git=True)
    known = {key: each[key] for key in ("id", "project", "name", "config")}
    run = wandb.init(**known, settings=settings)
    for row in each["rows"]:
        run.log({key: float(value) for key, value in row.items()})
    run.finish(exit_code=each["exit"])
"""


Logged = tuple[str, list[dict[str, Any]], int]  # a run's name, the metrics of each of its steps, its exit code
Record = Callable[[dict[str, Any], list[Logged]], tuple[SweepRef, list[str]]]


@pytest.fixture
def api(server: Any) -> WandbApi:
    return WandbApi(Backend("embedded", server.url, server.key, server.entity))


@pytest.fixture
def record(api: WandbApi, wandb_env: dict[str, str], request: pytest.FixtureRequest) -> Record:
    """Create a sweep and log its runs; gives the sweep and the runs' ids, in order."""
    project = request.node.name.replace("[", "-").replace("]", "")[:60]

    def make(config: dict[str, Any], runs: list[Logged]) -> tuple[SweepRef, list[str]]:
        ref = api.create_sweep(config, project)
        plan = []
        for name, rows, code in runs:
            agent = api.create_agent(ref, name[:20])  # an agent holds one trial at a time
            command = next(c for c in api.heartbeat(agent, {}) if c["type"] == "run")
            values = {name: entry["value"] for name, entry in command["args"].items()}
            logged = {"name": name, "rows": rows, "exit": code}
            plan.append({"id": command["run_id"], "sweep": ref.id, "project": project, "config": values, **logged})
        if not plan:
            return ref, []
        done = subprocess.run([sys.executable, "-c", LOG], input=json.dumps(plan), text=True, capture_output=True)
        assert done.returncode == 0, done.stderr
        return ref, [each["id"] for each in plan]

    return make
