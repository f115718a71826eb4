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


@pytest.mark.parametrize("first", ["wandb", "sweepkit"])
def test_the_other_kind_of_agent_goes_on_where_a_killed_one_was(
    place: tuple[WandbApi, dict[str, str]], tmp_path: Path, first: str
) -> None:
    api, environment = place
    ref = api.create_sweep({"program": "train.py", "method": "grid", "parameters": {"a": {"values": [1]}}}, "both")
    commands = {
        "wandb": [sys.executable, "-m", "wandb", "agent", ref.path],
        "sweepkit": [sys.executable, "-m", "sweepkit", "agents", ref.path, "--backend", "embedded", "--cpu-slots", "1"],
    }

    def start(kind: str) -> subprocess.Popen[bytes]:
        with (tmp_path / f"{kind}.log").open("wb") as log:
            return subprocess.Popen(
                commands[kind], cwd=tmp_path, env=environment, stdout=log, stderr=log, start_new_session=True
            )

    dying = start(first)
    run = until(lambda: next(iter(api.runs(ref)), None))
    until(lambda: len(api.history(run)) == 3)
    everybody = [psutil.Process(dying.pid), *psutil.Process(dying.pid).children(recursive=True)]
    for process in everybody:  # the power of its host fails
        process.send_signal(signal.SIGSTOP)
    for process in everybody:
        process.kill()
    dying.wait()
    (tmp_path / "go").touch()
    heir = start("sweepkit" if first == "wandb" else "wandb")
    assert heir.wait(90) == 0, (tmp_path / "sweepkit.log").read_text()
    (finished,) = api.runs(ref)
    rows = api.history(finished)
    assert (finished.id, finished.state, api.sweep(ref).state) == (run.id, "finished", "FINISHED")
    assert [(row["_step"], row["square"]) for row in rows] == [(step, step * step) for step in range(6)]
    assert len({row["process"] for row in rows[:3]}) == len({row["process"] for row in rows[3:]}) == 1
    assert rows[0]["process"] != rows[3]["process"], json.dumps(rows)
