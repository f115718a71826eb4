"""Tasks: data, and how a case of it is drawn. One kind of task a file; a user's own by import path."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import numpy as np
import platformdirs
import torch
from PIL import Image
from torch import Tensor

from ...errors import UsageError
from ..importing import did_you_mean
from ..importing import load as load_object
from . import digits, torchvision


@dataclass(frozen=True)
class Data:
    """A training and a validation set, held in memory.

    Images have shape (N, C, H, W) and are uint8 (four times smaller than float) or float32, in any unit: the model
    normalises them. Labels have shape (N,), int64, from 0 to the number of classes - 1.
    """

    train_x: Tensor
    train_y: Tensor
    val_x: Tensor
    val_y: Tensor


class Task(Protocol):
    """What a task must have. A class, a function without arguments that makes one, or an object will do."""

    @property
    def name(self) -> str:
        """For file and artifact names: letters, digits, ``-`` and ``_``."""

    @property
    def classes(self) -> Sequence[str]:
        """The name of each class, in the order of the labels."""

    @property
    def in_channels(self) -> int:
        """Channels C of the images."""

    def load(self, data_root: Path, fraction: float, seed: int) -> Data:
        """The data, with ``fraction`` (0 to 1) of the training set, drawn with ``seed``: the same every time."""

    def draw(self, x: Tensor) -> Image.Image:
        """One image, shape (C, H, W), as a picture for tables and figures."""


_MEMBERS = ("name", "classes", "in_channels", "load", "draw")

BUILT_IN: dict[str, Callable[[], object]] = {"digits": digits.Digits, **torchvision.KINDS}


def find(name: str) -> Task:
    """The task called ``name``: a built-in one, or the user's own at ``module:attribute``.

    Raises:
        UsageError: no such task, or an object that lacks a part of ``Task``.
    """
    if ":" not in name:
        if name not in BUILT_IN:
            known = list(BUILT_IN)
            hint = f"one of {', '.join(known)}, or your own as module:attribute.{did_you_mean(name, known)}"
            raise UsageError(f"unknown task {name!r}", hint)
        return cast(Task, BUILT_IN[name]())
    found = load_object(name, "the task")
    task = found() if callable(found) and not hasattr(found, "load") or isinstance(found, type) else found
    lacking = [member for member in _MEMBERS if not hasattr(task, member)]
    if lacking:
        raise UsageError(f"the task {name} lacks {', '.join(lacking)}", f"a task has {', '.join(_MEMBERS)}")
    return cast(Task, task)


def fraction_of(task: Task, given: float | None) -> float:
    """The share of the training set to use: as given, else the task's own ``default_fraction``, else a fifth."""
    return given if given is not None else getattr(task, "default_fraction", 0.2)


def data_root(given: str) -> Path:
    """The folder of the datasets: as given, else ``$SWEEPKIT_DATA_ROOT``, else the user's cache folder."""
    chosen = given or os.environ.get("SWEEPKIT_DATA_ROOT")
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("sweepkit")) / "data"


def load(task: Task, data_root: Path, fraction: float, seed: int) -> Data:
    """``task.load``, checked, so that a wrong shape is told by name and not by a stack of torch frames.

    Raises:
        UsageError: no data where they were looked for, or arrays of a wrong shape, type or range.
    """
    data = task.load(data_root, fraction, seed)
    for x, y, part in ((data.train_x, data.train_y, "train"), (data.val_x, data.val_y, "val")):
        if x.ndim != 4 or x.shape[1] != task.in_channels or min(x.shape[2:]) < 4:
            wanted = f"(N, {task.in_channels}, H, W) with H and W from 4"
            raise UsageError(f"task {task.name}: {part}_x has shape {tuple(x.shape)}", f"it must be {wanted}")
        if len(x) == 0 or y.shape != (len(x),):
            raise UsageError(f"task {task.name}: {len(x)} images but labels of shape {tuple(y.shape)} in {part}")
        if y.dtype != torch.int64 or int(y.min()) < 0 or int(y.max()) >= len(task.classes):
            raise UsageError(f"task {task.name}: labels of {part} must be int64 from 0 to {len(task.classes) - 1}")
    return data


def subset(size: int, fraction: float, seed: int) -> Tensor:
    """Indices of a seeded random share of ``size`` things, at least one, in ascending order; shape (n,)."""
    chosen = torch.randperm(size, generator=torch.Generator().manual_seed(seed))
    return chosen[: max(1, round(size * fraction))].sort().values


def grey_or_colour(x: Tensor, side: int = 84) -> Image.Image:
    """A uint8 image, shape (1 or 3, H, W), as a picture enlarged by a whole factor to about ``side`` pixels."""
    pixels = x.permute(1, 2, 0).numpy().astype(np.uint8)
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    factor = max(1, side // max(image.size))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
