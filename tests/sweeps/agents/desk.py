"""A user's folder with a program, sweepkit's commands in it, and what they left: for the tests of agents."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from sweepkit.sweeps.wandb_api import SweepRef, WandbApi

GRID = {"program": "train.py", "method": "grid", "metric": {"name": "score", "goal": "maximize"},
        "parameters": {"lr": {"values": [0.1, 0.3, 0.2]}, "fixed": {"value": 7}}}  # fmt: skip


@dataclass
class Desk:
    """A user's folder with a program, and sweepkit's commands in it."""

    folder: Path
    api: WandbApi
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def sweep(self, program: str, **changes: Any) -> SweepRef:
        (self.folder / "train.py").write_text(textwrap.dedent(program))
        return self.api.create_sweep({**GRID, **changes}, "agents")

    def agents(
        self, ref: SweepRef, *options: str, stderr: int | None = None, name: str = "", **variables: str
    ) -> subprocess.Popen[bytes]:
        return self.command("agents", ref.path, *options, stderr=stderr, name=name, **variables)

    def command(
        self, *words: str, stderr: int | None = None, name: str = "", **variables: str
    ) -> subprocess.Popen[bytes]:
        """A command of sweepkit; its standard streams go to files whose names begin with ``name``."""
        line = [sys.executable, "-m", "sweepkit", *words, "--format", "json"]
        line += [] if "--backend" in words else ["--backend", "embedded"]
        errors = stderr if stderr is not None else (self.folder / f"{name}stderr").open("wb")
        process = subprocess.Popen(
            line, cwd=self.folder, stdout=(self.folder / f"{name}stdout").open("wb"), stderr=errors,
            env={**os.environ, **variables},
        )  # fmt: skip
        self.started.append(process)
        return process

    def outcome(
        self, process: subprocess.Popen[bytes], seconds: float = 60, name: str = ""
    ) -> tuple[int, dict[str, Any], str]:
        """Exit code, the data on stdout, the words on stderr."""
        code = process.wait(seconds)
        data = (self.folder / f"{name}stdout").read_text()
        return code, json.loads(data) if data else {}, self.words(name)

    def words(self, name: str = "") -> str:
        return (self.folder / f"{name}stderr").read_text()

    def there(self, pattern: str, number: int = 1) -> Callable[[], bool]:
        return lambda: len(list(self.folder.glob(pattern))) >= number

    def left(self) -> list[psutil.Process]:
        """What still runs in this folder, the test itself left out."""
        found = [each for each in psutil.process_iter() if _folder(each) == str(self.folder)]
        return [each for each in found if each.pid != os.getpid()]


def _folder(process: psutil.Process) -> str:
    try:
        return "" if process.status() == psutil.STATUS_ZOMBIE else process.cwd()
    except psutil.Error:
        return ""


def until(condition: Callable[[], object], seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
