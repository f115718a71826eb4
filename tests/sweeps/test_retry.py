"""`sweepkit retry`: what failed runs again under its own id; what is alive is left alone."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from sweepkit.errors import UsageError
from sweepkit.sweeps import retry
from sweepkit.sweeps.wandb_api import WandbApi

from .agents.conftest import desk  # noqa: F401
from .agents.desk import Desk, until
from .conftest import Record

MENDED = """
    import pathlib, sys
    import wandb
    run = wandb.init()
    run.config.own = "an addition of the program's"
    for step in range(run.step, 4):
        run.log({"score": run.config.lr * step}, step=step)
        if step == 1 and run.config.lr < 0.25 and not pathlib.Path("mended").exists():
            sys.exit(5)
    run.finish()
"""


def test_the_failed_runs_of_a_sweep_that_is_over_run_again(desk: Desk) -> None:  # noqa: F811
    ref = desk.sweep(MENDED)
    code, data, words = desk.outcome(desk.agents(ref, "--cpu-slots", "2"))
    assert (code, data["finished"], data["failed"]) == (1, 1, 2), words
    before = {run.id: run for run in desk.api.runs(ref)}
    assert desk.api.sweep(ref).state == "FINISHED"
    (desk.folder / "mended").touch()
    code, data, words = desk.outcome(desk.command("retry", "--failed", ref.path, "--cpu-slots", "2"))
    assert (code, data["finished"], data["failed"]) == (0, 2, 0), words
    assert sorted(data["runs"]) == sorted(run.id for run in before.values() if run.state == "failed")
    for run in desk.api.runs(ref):
        assert run.state == "finished" and run.config == before[run.id].config
        assert [row["_step"] for row in desk.api.history(run)] == [0, 1, 2, 3]
    code, data, words = desk.outcome(desk.command("retry", "--failed", ref.path))
    assert (code, data["runs"]) == (0, []) and "no run of sweep" in words


def test_a_run_that_is_alive_is_refused(desk: Desk) -> None:  # noqa: F811
    program = "import pathlib, time, wandb\nwandb.init()\npathlib.Path('ready').touch()\ntime.sleep(60)"
    ref = desk.sweep(program)
    agents = desk.agents(ref, "--cpu-slots", "1", "--count", "1")
    until(desk.there("ready"))
    (run,) = [run for run in desk.api.runs(ref) if run.state == "running"]
    code, _, words = desk.outcome(desk.command("retry", run.path, name="retry."), name="retry.")
    assert code == 2 and f"error: run {run.id} is alive: it is running" in words
    agents.send_signal(signal.SIGKILL)


def test_what_cannot_be_run_again_is_told(api: WandbApi, record: Record) -> None:
    config: dict[str, Any] = {"method": "grid", "parameters": {"lr": {"values": [1, 2]}}}
    one, (good, bad) = record(config, [("good", [{"score": 1.0}], 0), ("bad", [{"score": 1.0}], 1)])
    other, (worse,) = record({**config, "name": "other"}, [("worse", [{"score": 1.0}], 1)])
    place = f"{one.entity}/{one.project}"
    with pytest.raises(UsageError, match="has finished"):
        retry.named(api, [f"{place}/{good}"])
    with pytest.raises(UsageError, match="of several sweeps"):
        retry.named(api, [f"{place}/{bad}", f"{place}/{worse}"])
    with pytest.raises(UsageError, match="there is no run"):
        retry.named(api, [f"{place}/nowhere"])
    ref, runs = retry.named(api, [f"{place}/{bad}", f"{place}/{bad}"])
    assert (ref, [run.id for run in runs]) == (one, [bad])
    assert [run.id for run in retry.failed(api, other)] == [worse]
