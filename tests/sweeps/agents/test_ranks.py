"""Trials of several processes: torchrun under an agent, with two ranks on the CPU in place of two GPUs."""

from __future__ import annotations

import json
from typing import Any

import psutil
from sweepkit.sweeps import spec
from sweepkit.sweeps.wandb_api import SweepRef

from .desk import Desk, until


def sweep(desk: Desk, **held: Any) -> SweepRef:
    """The library's sweep with a configuration of one's own, and otherwise as it is."""
    config = spec.load("digits-ddp").config
    parameters = {name: {"value": value} for name, value in {"task": "digits", "width": 16, **held}.items()}
    return desk.api.create_sweep({**config, "parameters": parameters, "run_cap": 2}, "agents")


def ranks(desk: Desk) -> dict[str, psutil.Process]:
    """The trainer's processes, by rank."""
    found = (each for each in desk.left() if "sweepkit.trainer" in each.cmdline() and "RANK" in each.environ())
    return {each.environ()["RANK"]: each for each in found}


def test_two_ranks_are_one_run_with_the_trials_configuration(desk: Desk) -> None:
    ref = sweep(desk, lr=0.01, batch_size=64, epochs=6, seed=3)
    agents = desk.agents(ref, "--cpu-slots", "1", "--count", "1", SWEEPKIT_RANKS="2")
    until(lambda: len(ranks(desk)) == 2)
    (file,) = {process.environ()["SWEEPKIT_CONFIG"] for process in ranks(desk).values()}
    with open(file) as config:
        assert json.load(config) == {
            "task": "digits",
            "width": 16,
            "lr": 0.01,
            "batch_size": 64,
            "epochs": 6,
            "seed": 3,
        }
    code, data, words = desk.outcome(agents, 120)
    assert (code, data["finished"]) == (0, 1), words
    (run,) = desk.api.runs(ref)
    assert (run.state, run.config["seed"], run.summary["epoch"]) == ("finished", 3, 6)
    assert [row["epoch"] for row in desk.api.history(run, ["epoch"])] == [1, 2, 3, 4, 5, 6]
    assert run.summary["best_val_acc"] > 0.85


def test_a_killed_rank_fails_its_trial_and_none_outlives_the_agent(desk: Desk) -> None:
    ref = sweep(desk, lr=0.01, batch_size=16, epochs=1000)
    options = ("--cpu-slots", "1", "--count", "1", "--retries", "1", "--retry-on", "exit:1")
    agents = desk.agents(ref, *options, SWEEPKIT_RANKS="2")
    until(lambda: [run for run in desk.api.runs(ref) if run.summary.get("epoch")], 120)
    first = ranks(desk)
    first["1"].kill()
    until(lambda: psutil.wait_procs(first.values(), timeout=0)[1] == [])
    until(lambda: len(ranks(desk)) == 2, 120)  # tried again
    (run,) = desk.api.runs(ref)
    reached = run.summary["epoch"]
    until(lambda: desk.api.runs(ref)[0].summary["epoch"] > reached, 120)  # the same run goes on
    agents.kill()
    until(lambda: desk.left() == [])
