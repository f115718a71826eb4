"""One trial: read ``wandb.config``, train, checkpoint, resume, log; and the report on a finished run.

Importing this package imports neither torch nor wandb: its public names are loaded when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "main": ".train",
    "Hyperparameters": ".config",
    "Data": ".tasks",
    "Task": ".tasks",
    "Report": ".report",
    "report": ".report",
    "shared": ".tasks.shared",
}

__all__ = ["Data", "Hyperparameters", "Report", "Task", "main", "report", "shared"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)
