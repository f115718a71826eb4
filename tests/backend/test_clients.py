"""A short life of a sweep with the oldest and the newest client that are supported, each in its own environment.

The oldest is the least that ``pyproject.toml`` allows, and comes from the package registry (20 s); the newest is the
one installed here.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import wandb
from wandb import __version__ as newest_version

from ..conftest import RunningServer
from .test_client_documents import unanswered

ROOT = Path(__file__).parents[2]
SWEEP = """
program: trial.py
method: grid
metric: {name: loss, goal: minimize}
parameters:
  lr: {values: [0.1, 0.2]}
"""
TRIAL = """
import wandb

with wandb.init() as run:
    for epoch in range(3):
        run.log({"loss": run.config["lr"] * (3 - epoch), "epoch": epoch})
    with open("notes.txt", "w") as file:
        file.write(f"lr {run.config['lr']}")
    run.save("notes.txt")
    artifact = wandb.Artifact("cases", type="result")
    artifact.add(wandb.Table(columns=["case", "loss"], data=[["a", 0.5], ["b", run.config["lr"]]]), "cases")
    run.log_artifact(artifact).wait()
"""
READ = """
import json, sys, wandb

api = wandb.Api()
sweep = api.sweep(sys.argv[1])
runs = sorted(sweep.runs, key=lambda run: run.config["lr"])
first = runs[0]
artifact = next(iter(first.logged_artifacts()))
print(json.dumps({
    "version": wandb.__version__,
    "state": sweep.state,
    "states": [run.state for run in runs],
    "best": sweep.best_run().config["lr"],
    "summary": first.summary["epoch"],
    "history": [round(row["loss"], 3) for row in first.scan_history(keys=["loss"])],
    "sampled": len(first.history(pandas=False)),
    "file": first.file("notes.txt").download(replace=True).read(),
    "table": artifact.get("cases").data,
    "types": [kind.name for kind in api.artifact_types(first.project)],
}))
"""


@dataclass(frozen=True)
class Client:
    """A wandb of one version: the Python it runs in, and the folder of its package."""

    version: str
    python: Path

    @property
    def package(self) -> Path:
        code = "import pathlib, wandb; print(pathlib.Path(wandb.__file__).parent)"
        return Path(
            subprocess.run([self.python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        )


def floor() -> str:
    """The oldest version that the package lets in."""
    match = re.search(r'"wandb>=([0-9.]+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert match is not None
    return match[1]


@pytest.fixture(scope="session")
def oldest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """The oldest client, installed once for all workers of this session.

    Without a package registry the tests that need it are skipped; in CI, where there is one, they fail.
    """
    folder = tmp_path_factory.getbasetemp().parent / f"wandb-{floor()}"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "ready").exists():
            _install(folder / "env", f"wandb=={floor()}")
            (folder / "ready").touch()
    yield Client(floor(), folder / "env" / "bin" / "python")


def _install(environment: Path, requirement: str) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--clear", environment], check=True)
    pip = [environment / "bin" / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    done = subprocess.run([*pip, requirement], capture_output=True, text=True, timeout=240)
    if done.returncode and os.environ.get("CI") == "true":
        pytest.fail(f"{requirement} cannot be installed: {done.stderr[-2000:]}")
    if done.returncode:
        pytest.skip(f"{requirement} cannot be installed here: {done.stderr.strip().splitlines()[-1]}")


@pytest.fixture(params=["oldest", "newest"])
def client(request: pytest.FixtureRequest) -> Client:
    if request.param == "newest":
        return Client(newest_version, Path(sys.executable))
    return request.getfixturevalue("oldest")  # type: ignore[no-any-return]


def test_a_short_life_of_a_sweep(client: Client, server: RunningServer, tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    (tmp_path / "trial.py").write_text(TRIAL)
    project = f"client-{client.version.replace('.', '-')}"

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, **server.environment(), "WANDB_PROJECT": project, "WANDB_DIR": str(tmp_path)}
        environment["PATH"] = f"{client.python.parent}{os.pathsep}{environment['PATH']}"
        del environment["WANDB_SILENT"]
        done = subprocess.run(
            [client.python, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    created = run("-m", "wandb", "sweep", "sweep.yaml")
    made = re.search(r"wandb agent (\S+)", created.stdout + created.stderr)
    assert made is not None, created
    run("-m", "wandb", "agent", "--count", "2", made[1])
    run("-m", "wandb", "sweep", "--stop", made[1])
    seen = json.loads(run("-c", READ, made[1]).stdout.strip().splitlines()[-1])
    assert seen == {
        "version": client.version,
        "state": "FINISHED",
        "states": ["finished", "finished"],
        "best": 0.1,
        "summary": 2,
        "history": [0.3, 0.2, 0.1],
        "sampled": 3,
        "file": "lr 0.1",
        "table": [["a", 0.5], ["b", 0.1]],
        "types": ["result"],
    }


def test_all_that_the_oldest_client_can_send_is_answered_or_listed(oldest: Client) -> None:
    assert unanswered(oldest.package) == {}


def test_the_oldest_and_the_newest_client_are_two() -> None:
    """The floor is an exact release, and the environment of the tests holds a newer one."""
    assert re.fullmatch(r"\d+\.\d+\.\d+", floor())
    assert tuple(map(int, floor().split("."))) < tuple(map(int, wandb.__version__.split(".")[:3]))
