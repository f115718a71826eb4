"""The sources that a run was made by, as files to put into an artifact."""

from __future__ import annotations

import inspect
import shutil
from pathlib import Path

from .tasks import Task

_TRAINER = Path(__file__).parent


def collect(directory: Path, task: Task) -> Path:
    """Copy the trainer's modules, and the user's task if it is one, below ``directory``; returns it."""
    for source in sorted(_TRAINER.rglob("*.py")):
        _copy(source, directory / "sweepkit" / "trainer" / source.relative_to(_TRAINER))
    own = inspect.getsourcefile(type(task))
    if own and _TRAINER not in Path(own).resolve().parents:
        _copy(Path(own), directory / "task" / Path(own).name)
    return directory


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
