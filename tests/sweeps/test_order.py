"""Seeds, order and repeats, from the command line through the backend to what agents are given."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from sweepkit.permutation import Permutation
from sweepkit.sweeps.wandb_api import SweepRef, WandbApi

Create = Callable[..., SweepRef]
GRID = {"method": "grid", "parameters": {"a": {"values": [1, 2, 3, 4]}, "b": {"min": 0, "max": 2}}}
RANDOM = {"method": "random", "run_cap": 8, "parameters": {"lr": {"min": 0.0, "max": 1.0}}}
IN_ORDER = [(a, b) for a, b in product((1, 2, 3, 4), range(3))]
SCRIPT = """
import wandb

with wandb.init() as run:
    run.log({"loss": (run.config["x"] - 0.3) ** 2})
"""
# Trials one after the other, in a process that stays: the agent and the program in one.
TRIALS = """
import sys, wandb
from sweepkit.sweeps.backends import Backend
from sweepkit.sweeps.wandb_api import WandbApi

api = WandbApi(Backend("embedded", *sys.argv[1:4]))
ref = api.find_sweep(sys.argv[4])
agent = api.create_agent(ref, "agent")
while (command := api.heartbeat(agent, {})[0])["type"] == "run":
    config = {name: entry["value"] for name, entry in command["args"].items()}
    settings = wandb.Settings(sweep_id=ref.id, x_disable_stats=True, console="off", disable_git=True)
    with wandb.init(id=command["run_id"], project=ref.project, config=config, settings=settings) as run:
        run.log({"loss": (config["x"] - 0.3) ** 2})
"""


def sweepkit(*words: str) -> Any:
    command = [sys.executable, "-m", "sweepkit", *words, "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def create(api: WandbApi, wandb_env: dict[str, str], tmp_path: Path) -> Create:
    def made(config: dict[str, Any], *options: str) -> SweepRef:
        (tmp_path / "train.py").write_text(SCRIPT)
        (tmp_path / "sweep.yaml").write_text(yaml.safe_dump({"program": "train.py", "project": "order", **config}))
        return api.find_sweep(sweepkit("create", "sweep.yaml", *options)["path"])

    return made


def handed_out(api: WandbApi, ref: SweepRef, most: int = 100) -> list[tuple[Any, ...]]:
    """What agents get one after the other, none of which ends a run, until there is no more."""
    found: list[tuple[Any, ...]] = []
    while len(found) < most:
        commands = api.heartbeat(api.create_agent(ref, f"a{len(found)}"), {})
        if not commands or commands[0]["type"] != "run":
            break
        found.append(tuple(entry["value"] for entry in commands[0]["args"].values()))
    return found


def test_a_shuffled_grid_has_the_order_of_its_seed(api: WandbApi, create: Create) -> None:
    one = handed_out(api, create(GRID, "--shuffle", "--seed", "7"))
    other = handed_out(api, create({**GRID, "controller": {"type": "cloud", "shuffle": True, "seed": 7}}))
    order = Permutation(12, "7")
    assert one == other == [IN_ORDER[order.at(n)] for n in range(12)]
    planned = sweepkit("plan", "sweep.yaml", "--seed", "7")
    assert planned["exact"]
    assert [words[-2:] for words in planned["commands"]] == [[f"--a={a}", f"--b={b}"] for a, b in one[:3]]
    assert handed_out(api, create(GRID, "--seed", "7")) == IN_ORDER


def test_without_a_seed_a_shuffled_grid_has_an_order_of_its_own(api: WandbApi, create: Create) -> None:
    one, other = handed_out(api, create(GRID, "--shuffle")), handed_out(api, create(GRID, "--shuffle"))
    assert one != other and sorted(one) == sorted(other) == IN_ORDER
    assert not sweepkit("plan", "sweep.yaml", "--shuffle")["exact"]


def test_a_random_search_repeats_with_its_seed(api: WandbApi, create: Create) -> None:
    one, other = handed_out(api, create(RANDOM, "--seed", "1")), handed_out(api, create(RANDOM, "--seed", "1"))
    assert one == other and len(set(one)) == 8
    assert handed_out(api, create(RANDOM)) != one


def test_each_configuration_is_tried_so_often(api: WandbApi, create: Create) -> None:
    ref = create(GRID, "--repeats", "2")
    assert api.sweep(ref).expected == 24
    assert handed_out(api, ref) == IN_ORDER * 2
    drawn = handed_out(api, create(RANDOM, "--repeats", "4"))
    assert len(drawn) == 8 and drawn[:4] == drawn[:1] * 4 and drawn[4:] == drawn[4:5] * 4


@pytest.mark.parametrize("method", ["random", "bayes"])
def test_a_finite_space_that_is_used_up_ends_the_sweep(method: str, create: Create, api: WandbApi) -> None:
    space = {"x": {"values": [0.1, 0.2, 0.3]}, "y": {"value": 1}}
    ref = create({"method": method, "metric": {"name": "loss"}, "parameters": space}, "--repeats", "2")
    done = sweepkit("agents", ref.path, "--cpu-slots", "1")
    assert (done["finished"], api.sweep(ref).state) == (6, "FINISHED")
    assert sorted(run.config["x"] for run in api.runs(ref)) == [0.1, 0.1, 0.2, 0.2, 0.3, 0.3]


def test_a_bayes_search_repeats_with_its_seed(api: WandbApi, create: Create) -> None:
    config = {
        "method": "bayes",
        "metric": {"name": "loss"},
        "run_cap": 13,
        "parameters": {"x": {"min": 0.0, "max": 1.0}, "y": {"values": ["a", "b", "c"]}},
    }
    tried = []
    for _ in range(2):
        ref = create(config, "--seed", "3")
        words = [api.backend.url, api.backend.key, api.backend.entity or "", ref.path]
        subprocess.run([sys.executable, "-c", TRIALS, *words], check=True)
        tried.append([(run.config["x"], run.config["y"]) for run in api.runs(ref)])
    assert tried[0] == tried[1] and len(set(tried[0])) == 13
