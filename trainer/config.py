"""Hyperparameters: their defaults, their names, and how they are read from arguments and ``wandb.config``."""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from ..errors import UsageError
from .importing import did_you_mean

PROJECT = "wandb_demo"

#: Short names that sweeps use -> the names of ``Hyperparameters``.
ALIASES = {"width": "hidden_layer_width", "dropout": "dropout_p", "optimizer": "optim_type"}

PRECISIONS = ("auto", "bf16", "fp32")


@dataclass(frozen=True)
class Hyperparameters:
    """What one trial is made of; every field can be swept."""

    task: str = "mnist"  # digits, mnist, fashion_mnist, cifar10, or an import path module:attribute
    data_root: str = ""  # folder of the datasets; "" means $SWEEPKIT_DATA_ROOT, else the user's cache folder
    data_fraction: float | None = None  # share of the training set, 0 < f <= 1; None means the task's own (mnist: 0.2)
    batch_size: int = 512  # images a step
    epochs: int = 15
    seed: int = 0  # of the subset, the weights, the order of the batches and the dropout
    hidden_layer_width: int = 64  # channels of both convolutions and units of the hidden layer
    dropout_p: float = 0.1  # share of whole channels dropped
    optim_type: str = "Adam"  # a class of torch.optim
    lr: float = 1e-4
    momentum: float | None = None  # None means 0.9 for SGD and the optimizer's own default for any other
    weight_decay: float | None = None  # None means the optimizer's own default
    precision: str = "auto"  # auto, bf16 or fp32; auto is bf16 where the hardware computes faster in it


NAMES = [field.name for field in fields(Hyperparameters)]


def read_arguments(argv: Sequence[str]) -> dict[str, Any]:
    """``--key=value``, ``--key value``, ``--flag``, ``key=value``, a JSON object or the path of a JSON file -> values.

    These are all forms in which W&B's ``${args}`` macros hand over a configuration.

    Raises:
        UsageError: an argument that is none of these.
    """
    values: dict[str, Any] = {}
    arguments = list(argv)
    while arguments:
        argument = arguments.pop(0)
        if argument.startswith("{") or argument.endswith(".json"):
            values.update(_json(argument))
        elif "=" in argument:
            key, text = argument.lstrip("-").split("=", 1)
            values[key] = _value(text)
        elif argument.startswith("--"):
            has_value = bool(arguments) and not arguments[0].startswith("--") and "=" not in arguments[0]
            values[argument[2:]] = _value(arguments.pop(0)) if has_value else True
        else:
            raise UsageError(f"cannot read the argument {argument!r}", "write arguments as --key=value")
    return {key.replace("-", "_"): value for key, value in values.items()}


def flatten(config: Mapping[str, Any]) -> dict[str, Any]:
    """A nested configuration by the names of ``Hyperparameters``: ``{optimizer: {name, lr}}`` -> optim_type and lr.

    Raises:
        UsageError: two spellings of one hyperparameter with different values.
    """
    flat: dict[str, Any] = {}
    spelt: dict[str, str] = {}
    for key, value in _leaves(config):
        name = ALIASES.get(key, key)
        if name in flat and flat[name] != value:
            raise UsageError(
                f"{spelt[name]}={flat[name]!r} and {key}={value!r} are the same hyperparameter", "give one"
            )
        flat[name], spelt[name] = value, key
    return flat


def read(config: Mapping[str, Any]) -> Hyperparameters:
    """Hyperparameters from a run's configuration; what is not given has its default.

    Raises:
        UsageError: a value that is no number, or out of its range.
    """
    flat = flatten(config)
    given = {name: _typed(name, flat[name]) for name in NAMES if flat.get(name) is not None}
    return replace(Hyperparameters(), **given)


def check_names(config: Mapping[str, Any]) -> None:
    """Refuse a name that is no hyperparameter: a misspelt one would silently train with the default.

    Raises:
        UsageError: with the valid names and the nearest one.
    """
    known = [*NAMES, *ALIASES]
    for name in flatten(config):
        if name not in known:
            hint = f"hyperparameters are {', '.join(known)}.{did_you_mean(name, known)}"
            raise UsageError(f"unknown hyperparameter {name!r}", hint)


def missing(config: Mapping[str, Any], hyper: Hyperparameters) -> dict[str, Any]:
    """The values in use that ``config`` does not name yet in any spelling, for the record of the run."""
    there = flatten(config)
    values = {name: getattr(hyper, name) for name in NAMES if name not in there}
    return {name: value for name, value in values.items() if value not in (None, "")}


def _leaves(config: Mapping[str, Any], parent: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if str(key).startswith("_"):
            continue  # wandb's own
        if isinstance(value, Mapping):
            yield from _leaves(value, str(key))
        else:
            yield (parent if key == "name" and parent else str(key)), value


def _json(argument: str) -> dict[str, Any]:
    try:
        values = json.loads(argument if argument.startswith("{") else Path(argument).read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the configuration {argument!r}: {error}") from error
    if not isinstance(values, dict):
        raise UsageError(f"the configuration {argument!r} is no JSON object")
    return values


def _value(text: str) -> Any:
    """A number, boolean, None, list or dict written by Python or JSON; anything else is a text."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for parse in (ast.literal_eval, json.loads):
        try:
            return parse(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
    return text


# name -> (type, smallest, largest, what is allowed)
_RANGES: dict[str, tuple[type, float, float, str]] = {
    "data_fraction": (float, 1e-9, 1, "a number above 0 and at most 1"),
    "batch_size": (int, 1, math.inf, "a whole number from 1"),
    "epochs": (int, 1, math.inf, "a whole number from 1"),
    "seed": (int, 0, 2**63 - 1, "a whole number from 0"),
    "hidden_layer_width": (int, 1, math.inf, "a whole number from 1"),
    "dropout_p": (float, 0, 1, "a number from 0 to 1"),
    "lr": (float, 0, math.inf, "a number from 0"),
    "momentum": (float, 0, math.inf, "a number from 0"),
    "weight_decay": (float, 0, math.inf, "a number from 0"),
}


def _typed(name: str, value: Any) -> Any:
    if name == "precision" and value not in PRECISIONS:
        raise UsageError(f"precision={value!r} is not allowed", f"precision must be one of {', '.join(PRECISIONS)}")
    if name not in _RANGES:
        return str(value)
    kind, low, high, allowed = _RANGES[name]
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or not low <= number <= high or number == math.inf or number != kind(number):
        raise UsageError(f"{name}={value!r} is not allowed", f"{name} must be {allowed}")
    return kind(number) if kind is float or not isinstance(value, int) else value
