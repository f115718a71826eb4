"""Promote a run: a process of its own, outside the sweep, resumes it and logs its artifacts and case tables."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import SweepkitError
from ..home import home
from .best import best

if TYPE_CHECKING:
    from .backends import Backend
    from .wandb_api import Run, WandbApi

# What W&B's client reads to make a process part of a sweep, or another run than the one that is resumed.
_STRANGERS = (
    "WANDB_AGENT_",
    "WANDB_CONFIG",
    "WANDB_DISABLED",
    "WANDB_FORK_FROM",
    "WANDB_JOB_",
    "WANDB_MODE",
    "WANDB_NAME",
    "WANDB_NOTES",
    "WANDB_PROGRAM",
    "WANDB_PROJECT",
    "WANDB_RESUME",
    "WANDB_RUN_",
    "WANDB_SERVICE",
    "WANDB_SWEEP_",
    "WANDB_TAGS",
)


@dataclass(frozen=True)
class Promotion:
    """What the winner has now. ``unchanged`` artifacts were there already, with the same content."""

    run: str
    artifacts: tuple[dict[str, Any], ...]
    tables: dict[str, int]
    left_out: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """The documented keys of a promotion."""
        return {
            "run": self.run,
            "artifacts": [dict(artifact) for artifact in self.artifacts],
            "tables": dict(self.tables),
            "left_out": list(self.left_out),
        }


def promote(api: WandbApi, text: str, report: str | None = None) -> Promotion:
    """Promote the best run of the sweep that ``text`` names, or the run that it names.

    ``report`` is the import path of a user's own report function. Raises SweepkitError when the report fails, and
    UsageError when neither a sweep nor a run of that name exists.
    """
    return promote_run(api.backend, choose(api, text), report)


def choose(api: WandbApi, text: str) -> Run:
    """The run that is meant: the best one of a sweep, or the one that is named."""
    from .wandb_api import NotFound

    try:
        ref = api.find_sweep(text)
    except NotFound:
        try:
            return api.run(text)
        except NotFound as error:
            message = f"there is no sweep and no run {text!r} on the {api.backend.describe()}"
            raise NotFound(message, error.hint) from error
    return best(api, ref).run


def promote_run(backend: Backend, run: Run, report: str | None = None) -> Promotion:
    """Promote ``run`` in a child process, whose messages and progress bars go straight to this process's stderr."""
    command = [sys.executable, "-m", "sweepkit.trainer.report", run.path]
    command += ["--report", report] if report else []
    child = subprocess.Popen(command, env=environment(backend, os.environ), stdout=subprocess.PIPE, text=True)
    try:
        said, _ = child.communicate()
    except KeyboardInterrupt:
        child.wait()  # the terminal interrupted it too, and it ends its run in good order
        raise
    finally:
        if child.poll() is None:
            child.kill()
    if child.returncode != 0:
        raise _failed(run, child.returncode)
    return _read(said, run)


def environment(backend: Backend, surroundings: Mapping[str, str]) -> dict[str, str]:
    """``surroundings`` without anything that ties a process to a sweep or a run, pointed at ``backend``."""
    kept = {name: value for name, value in surroundings.items() if not name.startswith(_STRANGERS)}
    usual = {
        "WANDB_SILENT": "true",  # the report says itself what it does
        "SWEEPKIT_CHECKPOINTS": str(home() / "checkpoints"),  # where the agents had trials keep theirs
    }
    return {**usual, **kept, **backend.environment()}


def _read(said: str, run: Run) -> Promotion:
    """The report's last line on stdout is one JSON object."""
    try:
        answer = json.loads(said.strip().splitlines()[-1])
        return Promotion(
            str(answer["run"]), tuple(answer["artifacts"]), dict(answer["tables"]), tuple(answer.get("left_out") or ())
        )
    except (IndexError, ValueError, KeyError, TypeError) as error:
        raise SweepkitError(
            f"the report on run {run.path} did not say what it logged: {said.strip()[-200:]!r}"
        ) from error


def _failed(run: Run, code: int) -> SweepkitError:
    how = f"was ended by signal {-code}" if code < 0 else f"failed (exit code {code})"
    error = SweepkitError(
        f"the report on run {run.path} {how}; its messages are above",
        f"mend the cause and repeat `sweepkit promote {run.path}`: what is logged already stays as it is",
    )
    if code in (2, 3):  # the report's codes are those of every command
        error.exit_code = code
    return error
