"""One sweep, agents of both kinds: what one of them dies with, the other finishes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from sweepkit.sweeps.backends import Backend
from sweepkit.sweeps.wandb_api import WandbApi

from ..conftest import start_server, stop_server

LEASE = 8  # seconds; agents say something every 5
PROGRAM = """
    import os, pathlib, time
    import wandb

    settings = wandb.Settings(console="off", x_file_stream_transmit_interval=1)
    run = wandb.init(resume="allow", settings=settings)
    for step in range(run.step, 6):
        run.log({"square": step * step, "process": os.getpid()}, step=step, commit=True)
        while step == 2 and not pathlib.Path("go").exists():
            time.sleep(0.05)
    run.finish()
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[WandbApi, dict[str, str]]]:
    """A backend with short leases, the program in an empty folder, and the environment of its user."""
    process, server = start_server(tmp_path / "home", SWEEPKIT_AGENT_LOST_AFTER=str(LEASE))
    (tmp_path / "train.py").write_text(textwrap.dedent(PROGRAM))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    own = {**server.environment(), "WANDB_DIR": str(tmp_path), "PATH": path, "TAKEOVER": str(tmp_path)}
    monkeypatch.setenv("SWEEPKIT_HOME", str(server.home))
    yield WandbApi(Backend("embedded", server.url, server.key, server.entity)), {**os.environ, **own}
    for each in psutil.process_iter():
        if carries(each, str(tmp_path)):
            each.kill()
    stop_server(process)


def carries(process: psutil.Process, mark: str) -> bool:
    try:
        return process.environ().get("TAKEOVER") == mark
    except psutil.Error:
        return False


def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)
    return found


class Stage:
    """A sweep of one configuration, and agents of both kinds for it."""

    def __init__(self, api: WandbApi, environment: dict[str, str], folder: Path) -> None:
        self.api, self.folder, self._environment = api, folder, environment
        config = {"program": "train.py", "method": "grid", "parameters": {"a": {"values": [1]}}}
        self.ref = api.create_sweep(config, "both")

    def start(self, kind: str, name: str) -> subprocess.Popen[bytes]:
        own = ["sweepkit", "agents", self.ref.path, "--backend", "embedded", "--cpu-slots", "1"]
        command = [sys.executable, "-m", *(["wandb", "agent", self.ref.path] if kind == "wandb" else own)]
        with (self.folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                command, cwd=self.folder, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )

    def words(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def in_the_middle(self) -> tuple[str, int]:
        """Wait until the trial has logged three rows, and does no more; its run id and its first process."""
        run = until(lambda: next(iter(self.api.runs(self.ref)), None))
        rows = until(lambda: len(found := self.api.history(run)) == 3 and found)
        return run.id, rows[0]["process"]

    def check(self, run_id: str, processes: int = 2) -> None:
        """One run, whole, made by so many processes."""
        (finished,) = self.api.runs(self.ref)
        rows = self.api.history(finished)
        assert (finished.id, finished.state, self.api.sweep(self.ref).state) == (run_id, "finished", "FINISHED")
        assert [(row["_step"], row["square"]) for row in rows] == [(step, step * step) for step in range(6)]
        assert len({row["process"] for row in rows}) == processes, json.dumps(rows)


@pytest.fixture
def stage(place: tuple[WandbApi, dict[str, str]], tmp_path: Path) -> Stage:
    return Stage(*place, tmp_path)


@pytest.mark.parametrize("first", ["wandb", "sweepkit"])
def test_the_other_kind_of_agent_goes_on_where_a_killed_one_was(stage: Stage, first: str) -> None:
    dying = stage.start(first, "dying")
    run_id, _ = stage.in_the_middle()
    everybody = [psutil.Process(dying.pid), *psutil.Process(dying.pid).children(recursive=True)]
    for process in everybody:  # the power of its host fails
        process.send_signal(signal.SIGSTOP)
    for process in everybody:
        process.kill()
    dying.wait()
    (stage.folder / "go").touch()
    heir = stage.start("sweepkit" if first == "wandb" else "wandb", "heir")
    assert heir.wait(90) == 0, stage.words("heir")
    stage.check(run_id)


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_what_ends_with_its_agent_is_left_to_others(stage: Stage, how: str) -> None:
    """Interrupted once, it lets its trial finish: that is killed, as by the kernel for want of memory. Interrupted
    twice, it stops its trial: the sweep has not been stopped by that."""
    leaving = stage.start("sweepkit", "leaving")
    run_id, process = stage.in_the_middle()
    leaving.send_signal(signal.SIGTERM)
    until(lambda: "interrupted: 1 running trial may finish" in stage.words("leaving"))
    if how == "killed":
        os.kill(process, signal.SIGKILL)
    else:
        leaving.send_signal(signal.SIGTERM)
    assert leaving.wait(60) == 130
    assert "; it is left to other agents" in stage.words("leaving")
    (stage.folder / "go").touch()
    heir = stage.start("sweepkit", "heir")
    assert heir.wait(90) == 0, stage.words("heir")
    stage.check(run_id)
