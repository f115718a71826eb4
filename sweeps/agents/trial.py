"""One trial: a process group of its own, its output in a file, and an end that leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...home import make_home
from ..backends import Backend
from ..wandb_api import SweepRef
from . import leftovers
from .command import HEADERS, headers, render
from .devices import Slot
from .launching import FRESH, Launcher, Order, Process


@dataclass
class Trial:
    """A running (or ended) trial. ``args`` are its parameters as plain values."""

    run_id: str
    args: dict[str, Any]
    slot: Slot
    log: Path
    process: Process
    mark: str
    started: float = field(default_factory=time.monotonic)
    asked_to_stop: float | None = None
    _swept: bool = False

    def poll(self) -> int | None:
        """None while it runs, then its exit code; ``-N`` when signal N killed it, which is a failure like any other."""
        code = self.process.poll()
        if code == -signal.SIGKILL and not self._swept:  # perhaps the guard itself was killed, for memory, say
            self._swept = True
            leftovers.kill_marked(self.mark)
        return code

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def terminate(self) -> None:
        """Ask it to stop: SIGTERM to its process group, on which a trainer checkpoints."""
        self.asked_to_stop = self.asked_to_stop or time.monotonic()
        self.process.tell(b"t")

    def kill(self) -> None:
        """SIGKILL to all of it."""
        self.asked_to_stop = self.asked_to_stop or time.monotonic()
        self.process.tell(b"k")

    def wait(self, timeout: float) -> bool:
        """Whether it ended within ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > deadline:
                return False
            self.pause(0.02)
        return True

    def pause(self, seconds: float) -> None:
        """Wait so long, or until it has ended."""
        self.process.pause(seconds)

    def tail(self, lines: int = 15) -> list[str]:
        """The last lines of its output, without the empty ones; of a progress bar, what it showed last."""
        try:
            with self.log.open(encoding="utf-8", errors="replace", newline="\n") as file:
                shown = (line.rstrip("\n").rpartition("\r")[2].rstrip() for line in file)
                return list(deque((line for line in shown if line), maxlen=lines))
        except OSError as error:
            return [f"(its output in {self.log} cannot be read: {error.strerror})"]


def start(
    config: Mapping[str, Any],
    command: Mapping[str, Any],
    ref: SweepRef,
    slot: Slot,
    backend: Backend,
    launcher: Launcher = FRESH,
) -> Trial:
    """Start the trial of W&B's ``run`` or ``resume`` command. A resumed trial goes on in the same file of output.

    The environment is what W&B's own agent gives (`wandb/wandb_agent.py`), the slot's and the backend's share,
    SWEEPKIT_CHECKPOINTS, where a trial that is resumed finds what it kept, and SWEEPKIT_CONFIG, a JSON file with the
    trial's parameters: of several processes of a trial, only one may call ``wandb.init`` for them.
    """
    home = make_home()
    run_id = str(command["run_id"])
    base = home / "trials" / _file_name(ref.id) / _file_name(run_id)
    base.parent.mkdir(parents=True, exist_ok=True)
    log, parameters, json_file = (base.with_name(base.name + suffix) for suffix in (".log", ".yaml", ".json"))
    mark = leftovers.new_mark()
    environment = _environment(ref, run_id, slot, backend, home)
    environment |= {"WANDB_SWEEP_PARAM_PATH": str(parameters), "SWEEPKIT_CONFIG": str(json_file)}
    environment |= {leftovers.MARK: mark, **_lease(command, environment)}
    if command.get("type") == "resume":
        environment["WANDB_RESUME"] = "allow"  # the run goes on; the program finds its checkpoint
    rendered = render(config, command["args"], environment, json_file)
    _write_parameters(parameters, command["args"])
    json_file.write_text(rendered.json_text, encoding="utf-8")
    with log.open("a+b") as output:  # the guard keeps it within bounds, for which it reads it too
        process = launcher.start(Order(rendered.argv, environment, output))
    return Trial(run_id, {name: entry["value"] for name, entry in command["args"].items()}, slot, log, process, mark)


def _environment(ref: SweepRef, run_id: str, slot: Slot, backend: Backend, home: Path) -> dict[str, str]:
    own = {
        "WANDB_ENTITY": ref.entity,
        "WANDB_PROJECT": ref.project,
        "WANDB_SWEEP_ID": ref.id,
        "WANDB_RUN_ID": run_id,
        "WANDB_DIR": os.environ.get("WANDB_DIR") or str(Path.cwd()),
        "SWEEPKIT_CHECKPOINTS": os.environ.get("SWEEPKIT_CHECKPOINTS") or str(home / "checkpoints"),
        "PYTHONUNBUFFERED": "1",  # the last lines of a trial that is killed are worth having
    }
    merged = {**os.environ, **slot.environment, **backend.environment(), **own}
    merged.pop("WANDB_SERVICE", None)  # a trial has a wandb process of its own
    return merged


def _lease(command: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, str]:
    """Lets the trial's wandb client say its lease with every request, where the backend counts leases.

    Should this host sleep, and its trial go to another meanwhile, the backend so keeps the two apart.
    """
    if "lease" not in command:
        return {}
    return {HEADERS: json.dumps({**headers(environment), "X-Sweepkit-Lease": str(command["lease"])})}


def _file_name(text: str) -> str:
    """An id as a file's name: the server chose it, so nothing in it may lead to another folder."""
    return re.sub(r"[^\w-]", "_", text) or "_"


def _write_parameters(path: Path, args: Mapping[str, Any]) -> None:
    """The file from which ``wandb.init`` takes the trial's configuration."""
    import yaml

    text = "wandb_version: 1\n"
    if args:
        text += "\n" + yaml.safe_dump(dict(args), sort_keys=False, allow_unicode=True)
    path.write_text(text, encoding="utf-8")
