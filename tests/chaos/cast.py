"""Who takes part in a campaign: the backend, the agents, and the processes of trials; each can be hit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

MARK = "CHAOS_CAMPAIGN"
LEASE = 12.0  # seconds after which the backend takes an agent for dead; agents say something every 5
START_SECONDS = 60.0


@dataclass
class Scene:
    """A campaign's folder and its environment, with the mark that every process of it carries."""

    folder: Path
    with_wandb_agent: bool
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def notes(self) -> Path:
        return self.folder / "notes"

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
        return {
            **kept, MARK: self.mark, "SWEEPKIT_HOME": str(self.home), "CHAOS_NOTES": str(self.notes),
            "SWEEPKIT_CHECKPOINTS": str(self.home / "checkpoints"), "WANDB_DIR": str(self.folder),
            "SWEEPKIT_AGENT_LOST_AFTER": str(LEASE), "SWEEPKIT_CRASH_AFTER": str(LEASE),
            "WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false", "WANDB_AGENT_DISABLE_FLAPPING": "true",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
        }  # fmt: skip

    def marked(self) -> list[psutil.Process]:
        """Every living process of the campaign, this one left out."""
        return [each for each in psutil.process_iter() if each.pid != os.getpid() and _carries(each, self.mark)]


def _carries(process: psutil.Process, mark: str) -> bool:
    with suppress(psutil.Error, OSError):
        return process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == mark
    return False


class Backend:
    """The backend's process. An agent that finds none may have started it: what counts is the note in the folder."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.note: dict[str, Any] = {}
        self.starts = 0
        self._children: list[subprocess.Popen[bytes]] = []

    def process(self) -> psutil.Process | None:
        """Whoever serves now."""
        with suppress(OSError, ValueError, psutil.Error):
            self.note = json.loads((self.scene.home / "server.json").read_text())
            process = psutil.Process(self.note["pid"])
            if process.status() != psutil.STATUS_ZOMBIE and _carries(process, self.scene.mark):
                return process
        return None

    def look(self) -> bool:
        """Start it where there is none, as a supervisor would. Whether there is one."""
        self._children = [child for child in self._children if child.poll() is None]
        if self.process() is not None:
            return True
        if not self._children:
            command = [sys.executable, "-m", "sweepkit.backend", "--home", str(self.scene.home)]
            with (self.scene.folder / "backend.log").open("ab") as log:
                self._children.append(
                    subprocess.Popen(
                        command, env=self.scene.environment(), stdout=log, stderr=log, start_new_session=True
                    )
                )
            self.starts += 1
        return False

    def ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self.look():
            assert time.monotonic() < deadline, (self.scene.folder / "backend.log").read_text()[-3000:]
            time.sleep(0.1)

    def stop(self) -> None:
        if process := self.process():
            process.terminate()
            process.wait(60)


class Agents:
    """The agents, started again when they end before the sweep is over: as a person, or a supervisor, would."""

    def __init__(self, scene: Scene, path: str, number: int) -> None:
        self.scene, self.number = scene, number
        self.living: list[subprocess.Popen[bytes]] = []
        self.starts = 0
        self.codes: dict[int, int] = {}
        own = ["-m", "sweepkit", "agents", path, "--backend", "embedded", "--format", "json", "--cpu-slots", "1"]
        own += ["--retries", "5", "--retry-on", "oom,signal,lost,exit:143,exit:1"]
        self._command = [sys.executable, *(["-m", "wandb", "agent", path] if scene.with_wandb_agent else own)]

    def look(self, note: dict[str, Any], again: bool) -> None:
        """Count those that ended; with ``again``, others take their places."""
        for agent in [agent for agent in self.living if agent.poll() is not None]:
            self.living.remove(agent)
            self.codes[agent.returncode] = self.codes.get(agent.returncode, 0) + 1
        while again and len(self.living) < self.number:
            self.living.append(self._start(note))

    def _start(self, note: dict[str, Any]) -> subprocess.Popen[bytes]:
        environment = self.scene.environment()
        if self.scene.with_wandb_agent:
            environment |= {"WANDB_BASE_URL": note["url"], "WANDB_API_KEY": note["key"]}
            environment |= {"WANDB_ENTITY": note["entity"]}
        self.starts += 1
        with (self.scene.folder / f"agent-{self.starts}.log").open("ab") as log:
            return subprocess.Popen(
                self._command, cwd=self.scene.folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )


def trials(scene: Scene) -> list[tuple[str, psutil.Process]]:
    """The trials that run: run id and first process, of those that have come as far as their note."""
    found = []
    for note in scene.notes.iterdir():
        name, _, pid = note.name.partition(".")
        with suppress(psutil.Error, ValueError):
            process = psutil.Process(int(pid))
            if process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= note.stat().st_mtime + 1:
                found.append((name, process))
    return found


def with_descendants(process: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.Error):
        return [process, *process.children(recursive=True)]
    return []
