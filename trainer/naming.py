"""Readable names of runs: the time, and the swept parameters only."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from . import config

if TYPE_CHECKING:
    import wandb

# What a sweep usually fixes; left out of the name where the sweep itself cannot be asked.
_SELDOM_SWEPT = {"task", "data_root", "data_fraction", "epochs"}


def name_run(run: wandb.Run, arguments: Mapping[str, Any]) -> None:
    """Name a new run after its time and swept parameters; a resumed one, or one that the user named, keeps its name."""
    if run.resumed or os.environ.get("WANDB_NAME"):
        return
    chosen = dict(run.config) if run.sweep_id else dict(arguments)
    swept = _swept(run)
    run.name = describe(time.localtime(), {key: value for key, value in _flat(chosen).items() if swept(key)})


def describe(moment: time.struct_time, parameters: Mapping[str, Any]) -> str:
    """For example ``1123-2352 lr=0.01 width=32 Adam``: month and day, hour and minute, numbers, then bare texts."""
    numbers = [f"{key}={_short(value)}" for key, value in parameters.items() if not isinstance(value, str)]
    texts = [value for value in parameters.values() if isinstance(value, str)]
    return " ".join([time.strftime("%m%d-%H%M", moment), *numbers, *texts])


def _swept(run: wandb.Run) -> Any:
    """A test whether a parameter is swept: has more than one value to choose from in the sweep's configuration."""
    if not run.sweep_id or run.offline:
        return lambda key: key not in _SELDOM_SWEPT
    import wandb

    try:
        path = f"{run.entity}/{run.project}/{run.sweep_id}"
        parameters = wandb.Api(timeout=10).sweep(path).config.get("parameters", {})
    except Exception as error:  # a name is not worth a trial, whatever goes wrong
        print(f"sweepkit: the sweep was not told ({error}); the run is named after all it was given", file=sys.stderr)
        return lambda key: key not in _SELDOM_SWEPT
    names = set(_varying(parameters))
    return lambda key: key in names


def _varying(parameters: Mapping[str, Any], parent: str = "") -> list[str]:
    names = []
    for key, space in parameters.items():
        if not isinstance(space, Mapping) or "value" in space or len(space.get("values") or "..") == 1:
            continue
        if "parameters" in space:
            names += _varying(space["parameters"], key)
        else:
            names.append(_label(key, parent))
    return names


def _flat(values: Mapping[str, Any], parent: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if str(key).startswith("_"):
            continue
        if isinstance(value, Mapping):
            flat.update(_flat(value, str(key)))
        else:
            flat[_label(str(key), parent)] = value
    return flat


def _label(key: str, parent: str) -> str:
    """The short spelling of a hyperparameter; ``name`` below ``optimizer`` is the optimizer."""
    short = {long: alias for alias, long in config.ALIASES.items()}
    key = parent if key == "name" and parent else key
    return short.get(key, key)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
