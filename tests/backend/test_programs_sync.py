"""``wandb sync`` and ``wandb beta sync``: runs that were logged without a server, brought to it afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import wandb

Make = Callable[..., Any]


def _offline(folder: Path, code: str, **variables: str) -> Path:
    """Run ``code`` with the client offline; the folder of the run that it made last."""
    inherited = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    environment = {**inherited, "WANDB_MODE": "offline", "WANDB_DIR": str(folder), **variables}
    code = f"import os, time, wandb\n{code}"
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return max((folder / "wandb").glob("offline-run-*"), key=lambda run: run.stat().st_mtime_ns)


def _read(path: str) -> Any:
    return wandb.Api().run(path)


FULL = """
run = wandb.init(project="synced", id="full", config={"lr": 0.1}, tags=["t"], notes="n", group="g")
for step in range(20):
    run.log({"loss": 1 / (step + 1)})
run.log({"table": wandb.Table(columns=["a", "b"], data=[[1, "x"], [2, "y"]])})
run.summary["best"] = 7
print("said offline")
open("extra.txt", "w").write("extra")
run.save("extra.txt")
artifact = wandb.Artifact("set", "dataset")
artifact.add_file("extra.txt")
run.log_artifact(artifact, aliases=["first"])
run.finish()
"""


def test_all_of_a_run_arrives_and_arrives_once(wandb_command: Make, server: Any, tmp_path: Path) -> None:
    folder = _offline(tmp_path, FULL)
    said = wandb_command("sync", str(folder))
    assert f"{server.url}/{server.entity}/synced/runs/full" in said and "Finished syncing" in said
    for options in ((), ("--include-synced",)):  # once more makes no difference
        if options:
            wandb_command("sync", *options, str(folder))
        run = _read("synced/full")
        assert (run.state, run.config, run.tags, run.notes, run.group) == ("finished", {"lr": 0.1}, ["t"], "n", "g")
        assert [row["_step"] for row in run.scan_history()] == list(range(21))
        assert run.summary["best"] == 7 and run.summary["loss"] == pytest.approx(0.05)
        assert [line.content for line in run.console_logs()] == ["said offline"]
        assert {"extra.txt", "wandb-metadata.json"} <= {file.name for file in run.files()}
        logged = {artifact.name: artifact for artifact in run.logged_artifacts()}
        assert set(logged) == {"set:v0", "run-full-table:v0"}
        assert set(logged["set:v0"].aliases) == {"latest", "first"}
        assert Path(logged["set:v0"].file(root=str(tmp_path / "got"))).read_text() == "extra"
        assert logged["run-full-table:v0"].get("table").data == [[1, "x"], [2, "y"]]


RESUMED = """
for part in range(2):
    run = wandb.init(project="synced", id="resumed", resume="allow")
    for step in range(3):
        run.log({"x": 10 * part + step})
    run.finish()
    time.sleep(1.1)  # a run's folder is named by the second
"""


def test_a_run_that_was_resumed_offline_is_one_run(wandb_command: Make, tmp_path: Path) -> None:
    _offline(tmp_path, RESUMED)
    wandb_command("sync", *map(str, sorted((tmp_path / "wandb").glob("offline-run-*"))))
    rows = [(row["_step"], row["x"]) for row in _read("synced/resumed").scan_history()]
    assert rows == [(0, 0), (1, 1), (2, 2), (3, 10), (4, 11), (5, 12)]


PLAIN = """
run = wandb.init(project="synced", id="{id}", job_type="before", tags=["old", "kept"])
for step in range({rows}):
    run.log({{"x": step}})
run.finish()
"""


def test_another_place_and_name(wandb_command: Make, tmp_path: Path) -> None:
    folder = _offline(tmp_path, PLAIN.format(id="here", rows=5))
    options = ("-e", "team", "-p", "elsewhere", "--id", "there", "--job-type", "after", "--replace-tags", "old=new")
    wandb_command("sync", *options, str(folder))
    run = _read("team/elsewhere/there")
    assert (run.job_type, run.tags, len(list(run.scan_history()))) == ("after", ["new", "kept"], 5)
    wandb_command("beta", "sync", "--yes", "--no-skip-synced", "--id", "beta", str(folder))
    assert [row["x"] for row in _read("synced/beta").scan_history()] == list(range(5))


def test_a_sync_that_is_killed_is_repeated(server: Any, wandb_command: Make, tmp_path: Path) -> None:
    """Killed with SIGKILL, its wandb-core too, while rows are on their way; the second sync completes the run."""
    folder = _offline(tmp_path, PLAIN.format(id="killed", rows=40_000))
    command = [sys.executable, "-m", "wandb", "sync", str(folder)]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        try:
            if _read("synced/killed").lastHistoryStep >= 0:
                break
        except wandb.errors.CommError:
            time.sleep(0.05)
    else:
        pytest.fail("the sync was done before it could be killed: give it more rows")
    # wandb-core is a session leader of its own: the group's end would leave it, and with it a second writer.
    victims = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for victim in victims:
        victim.kill()
    process.wait()
    psutil.wait_procs(victims, timeout=10)
    wandb_command("sync", str(folder))
    run = _read("synced/killed")
    assert run.state == "finished"
    assert [row["x"] for row in run.scan_history()] == list(range(40_000))


SWEEP = {"method": "grid", "metric": {"name": "loss", "goal": "minimize"}, "parameters": {"lr": {"values": [1, 2]}}}


def test_the_runs_of_a_sweep(wandb_command: Make, wandb_env: dict[str, str], tmp_path: Path) -> None:
    """The agent is online, its trials are offline; their results come with the sync, under the trials' own ids."""
    (tmp_path / "trial.py").write_text("import wandb\nrun = wandb.init(); run.log({'loss': run.config.lr ** 2})\n")
    sweep = wandb.sweep({**SWEEP, "program": "trial.py"}, project="synced-sweep")
    wandb_command("agent", f"{wandb_env['WANDB_ENTITY']}/synced-sweep/{sweep}", WANDB_MODE="offline")
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == 2
    wandb_command("sync", "--yes")
    found = wandb.Api().sweep(f"synced-sweep/{sweep}")
    assert [(run.state, run.config, run.summary["loss"]) for run in found.runs] == [
        ("finished", {"lr": 1}, 1),
        ("finished", {"lr": 2}, 4),
    ]
    assert found.best_run().config == {"lr": 1}


def test_a_run_of_a_sweep_that_is_not_there(wandb_command: Make, server: Any, tmp_path: Path) -> None:
    code = "run = wandb.init(); run.log({'x': 1}); run.finish()"
    folder = _offline(tmp_path, code, WANDB_SWEEP_ID="nosuch", WANDB_PROJECT="synced")
    said = wandb_command("sync", str(folder))
    assert f"sweep 'nosuch' not found in {server.entity}/synced: a sweep's runs belong to its project" in said
