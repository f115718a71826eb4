"""Warm trials with the real wandb client: the same record of a run, and a service that ends with its trial."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import psutil
import pytest

from .desk import Desk, until

RECORDED = """
    import os, sys
    import wandb
    if "--fixed=7" not in sys.argv:
        sys.exit(5)
    run = wandb.init(settings=wandb.Settings(save_code=True))
    for step in range(5):
        run.log({"score": run.config.lr * step})
    print("the last words", flush=True)
    END
"""
ENDS = {"run.finish()": "finished", "": "finished", "sys.exit(3)": "failed", "raise ValueError('no')": "failed"}
CHANGING = ("startedAt", "host", "disk", "memory", "cpu_count", "cpu_count_logical", "writerId", "git")


@pytest.mark.parametrize("end", ENDS)
def test_a_run_has_the_same_record(desk: Desk, end: str) -> None:
    records: dict[str, dict[str, Any]] = {}
    for isolation in ("process", "warm"):
        ref = desk.sweep(RECORDED.replace("END", end), parameters={"lr": {"value": 0.5}, "fixed": {"value": 7}})
        _, data, words = desk.outcome(
            desk.agents(ref, "--cpu-slots", "1", "--count", "1", "--retries", "0", "--isolation", isolation)
        )
        assert f"isolation: {isolation}; " in words
        assert data["finished"] == (ENDS[end] == "finished"), words
        (run,) = desk.api.runs(ref)
        files = {file.name: file for file in desk.api.files(run)}
        desk.api.download(files["wandb-metadata.json"], desk.folder / "metadata.json")
        metadata = json.loads((desk.folder / "metadata.json").read_text())
        desk.api.download(files["output.log"], desk.folder / "output.log")
        records[isolation] = {
            "state": run.state, "config": run.config, "rows": desk.api.history(run, ["score"]),
            "files": sorted(files), "metadata": {key: metadata[key] for key in metadata if key not in CHANGING},
            "output": "the last words" in (desk.folder / "output.log").read_text(),
        }  # fmt: skip
    assert records["warm"] == records["process"]
    assert records["warm"]["state"] == ENDS[end] and len(records["warm"]["rows"]) == 5
    assert "code/train.py" in records["warm"]["files"] and records["warm"]["output"]


SLEEPS = """
    import os, pathlib, time
    import wandb
    run = wandb.init()
    pathlib.Path("ready.part").write_text(str(os.getpid()))
    os.rename("ready.part", "ready")
    time.sleep(99)
"""


def cores(desk: Desk) -> list[psutil.Process]:
    return [each for each in desk.left() if each.name() == "wandb-core"]


def test_a_killed_command_leaves_no_service(desk: Desk) -> None:
    process = desk.agents(desk.sweep(SLEEPS), "--cpu-slots", "1")
    until(desk.there("ready"))
    until(lambda: len(cores(desk)) == 2)  # the trial's, and the next one's
    process.kill()
    until(lambda: desk.left() == [], 30)


def test_a_killed_trial_leaves_no_service_and_the_next_has_its_own(desk: Desk) -> None:
    process = desk.agents(desk.sweep(SLEEPS), "--cpu-slots", "1", "--count", "2", "--retries", "0")
    for _ in range(2):
        until(desk.there("ready"))
        until(lambda: len(cores(desk)) >= 1)
        trial = int((desk.folder / "ready").read_text())
        (desk.folder / "ready").unlink()
        os.kill(trial, signal.SIGKILL)
    code, data, words = desk.outcome(process)
    assert (code, data["failed"]) == (1, 2), words
    until(lambda: desk.left() == [], 10)
