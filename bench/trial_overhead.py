"""What a trial costs beside its training: the same sweep of trials that train nothing, through three agents.

    python bench/trial_overhead.py [--trials N] [--json FILE]

The program imports wandb, torch and torchvision, logs five rows and ends. It is run, one trial at a time, by the
unmodified ``wandb agent``, by sweepkit with fresh processes and by sweepkit with warm ones, one after the other,
against one embedded backend. A trial's time is that from its program's first line to the next trial's, so that it holds
all that an agent does between two trials; what an agent needs until its first trial is told apart.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import requests
import servers
from options import positive
from report import Figure, Report
from servers import Server

PROGRAM = """
import time
with open("begun.txt", "a") as file:
    print(time.time(), file=file)
import torch
import torchvision
import wandb

run = wandb.init()
for epoch in range(5):
    run.log({"epoch": epoch, "score": run.config.lr * (epoch + 1)})
run.finish()
"""
SWEEP = """
program: train.py
method: random
run_cap: %d
metric: {name: score, goal: maximize}
parameters: {lr: {min: 0.0, max: 1.0}}
"""
GOAL = 0.4  # seconds a trial
_CREATE = """mutation ($config: String!) {
    upsertSweep(input: {projectName: "overhead", config: $config}) { sweep { name } } }"""
_STATES = """query ($sweep: String!) {
    project(name: "overhead") { sweep(sweepName: $sweep) { runs { edges { node { state historyLineCount } } } } } }"""


@dataclass(frozen=True)
class Times:
    """Of one agent, in seconds: from its start to its first trial, and a trial's (the median, the slowest)."""

    first: float
    median: float
    slowest: float

    @staticmethod
    def of(began: float, starts: Sequence[float]) -> Times:
        gaps = [later - earlier for earlier, later in zip(starts, starts[1:], strict=False)]
        return Times(starts[0] - began, statistics.median(gaps), max(gaps))


def measure(server: Server, folder: Path, agent: Sequence[str], trials: int) -> Times:
    """Run a new sweep of so many trials to its end through the command ``agent``, and see that all of it is there."""
    folder.mkdir()
    (folder / "train.py").write_text(PROGRAM)
    sweep = ask(server, _CREATE, config=SWEEP % trials)["upsertSweep"]["sweep"]["name"]
    name = f"{server.entity}/overhead/{sweep}"
    began = time.time()
    variables = environment(server, folder)
    with (folder / "agent.log").open("wb") as log:
        subprocess.run([*agent, name], cwd=folder, env=variables, stdout=log, stderr=log, check=True, timeout=1800)
    found = ask(server, _STATES, sweep=sweep)["project"]["sweep"]["runs"]["edges"]
    whole = [run for run in found if run["node"] == {"state": "finished", "historyLineCount": 5}]
    if len(whole) != trials:
        raise SystemExit(f"{len(whole)} of {trials} trials of {' '.join(agent)} are whole; see {folder / 'agent.log'}")
    return Times.of(began, [float(line) for line in (folder / "begun.txt").read_text().split()])


def environment(server: Server, folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    return {
        **kept, "SWEEPKIT_HOME": str(server.folder), "WANDB_BASE_URL": server.url, "WANDB_API_KEY": server.key,
        "WANDB_ENTITY": server.entity, "WANDB_DIR": str(folder), "WANDB_ERROR_REPORTING": "false",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "NO_PROXY": "127.0.0.1",
    }  # fmt: skip


def ask(server: Server, query: str, **variables: object) -> dict[str, dict[str, dict[str, dict[str, list[dict]]]]]:  # type: ignore[type-arg]
    body = {"query": query, "variables": variables}
    answer = requests.post(f"{server.url}/graphql", json=body, auth=("api", server.key), timeout=60).json()
    if "errors" in answer:
        raise SystemExit(f"the backend refuses: {answer['errors']}")
    return answer["data"]  # type: ignore[no-any-return]


def main() -> None:
    parser = argparse.ArgumentParser(description="Seconds a trial that trains nothing.")
    parser.add_argument("--trials", type=positive, default=12, help="trials of each agent (12)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    sweepkit = [sys.executable, "-m", "sweepkit", "agents", "--backend", "embedded", "--cpu-slots", "1"]
    agents = {
        "wandb agent": [sys.executable, "-m", "wandb", "agent"],
        "process": [*sweepkit, "--isolation", "process"],
        "warm": [*sweepkit, "--isolation", "warm"],
    }
    report = Report()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sweepkit-bench-")))
        server = stack.enter_context(servers.sweepkit(folder / "backend"))
        took = {
            name: measure(server, folder / name.replace(" ", "-"), command, options.trials)
            for name, command in agents.items()
        }
    theirs = took["wandb agent"]
    for name, goal in (("process", ""), ("warm", f"25x, {GOAL} s")):
        mine = took[name]
        report.add(Figure(f"a trial, {name}, median", "s", mine.median, "wandb agent", theirs.median, goal, False))
        report.add(Figure(f"a trial, {name}, slowest", "s", mine.slowest, "wandb agent", theirs.slowest, "", False))
        report.add(Figure(f"until the first trial, {name}", "s", mine.first, "wandb agent", theirs.first, "", False))
    if options.json:
        report.save(options.json, trials=options.trials)


if __name__ == "__main__":
    main()
