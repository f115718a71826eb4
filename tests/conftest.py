"""What every room's tests share: a real backend process on loopback, and the real client pointed at it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

# A trial of the tests is tiny: more threads than workers would only make them wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Nothing of the developer's own W&B set-up may leak into a test, and nothing may leave the machine.
for _name in [name for name in os.environ if name.startswith("WANDB_")]:
    del os.environ[_name]
os.environ["WANDB_ERROR_REPORTING"] = "false"


@dataclass(frozen=True)
class RunningServer:
    """The backend of this test session."""

    url: str
    key: str
    entity: str
    home: Path

    def environment(self) -> dict[str, str]:
        """What points a wandb client, or a sweepkit command, at this backend."""
        return {
            "SWEEPKIT_HOME": str(self.home),
            "WANDB_BASE_URL": self.url,
            "WANDB_API_KEY": self.key,
            "WANDB_ENTITY": self.entity,
            "WANDB_SILENT": "true",
        }


def start_server(home: Path, **variables: str) -> tuple[subprocess.Popen[bytes], RunningServer]:
    """A backend process with its data in ``home``; it is ready when this returns."""
    from sweepkit.home import read_server

    environment = {**os.environ, "SWEEPKIT_HOME": str(home), **variables}
    log = (home.parent / f"{home.name}.log").open("wb")
    command = [sys.executable, "-m", "sweepkit.backend", "--home", str(home), "--port", "0"]
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SWEEPKIT_HOME", str(home))
        deadline = time.monotonic() + 60
        while (note := read_server()) is None or note.pid != process.pid:
            assert process.poll() is None, f"the backend ended: {Path(log.name).read_text()}"
            assert time.monotonic() < deadline, f"the backend is not ready: {Path(log.name).read_text()}"
            time.sleep(0.05)
    return process, RunningServer(note.url, note.key, note.entity, home)


def stop_server(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One backend for the session; tests keep apart by using projects of their own."""
    process, running = start_server(tmp_path_factory.mktemp("backend") / "home")
    yield running
    stop_server(process)


@pytest.fixture
def wandb_env(server: RunningServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """The environment and working directory of a user whose wandb client talks to ``server``."""
    variables = {**server.environment(), "WANDB_DIR": str(tmp_path)}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return variables
