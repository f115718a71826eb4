"""MNIST, Fashion-MNIST and CIFAR-10 through torchvision: read where they lie, else downloaded."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ...errors import UsageError
from .shared import shared

if TYPE_CHECKING:
    from PIL.Image import Image

    from . import Data

_DIGITS = tuple("0123456789")
_CLOTHES = ("T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
_OBJECTS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_IDX = [f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
_BATCHES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta"]
_PATIENCE = 30.0  # seconds without an answer before a download is given up


class TorchvisionTask:
    """A dataset of ``torchvision.datasets``; its test set is the validation set.

    Args:
        name: name of the task.
        dataset: name of torchvision's class.
        classes: name of each class.
        in_channels: 1 for grey, 3 for colour.
        files: what must lie below the data root.
        told: the same, for the message when it does not.
    """

    default_fraction = 0.2

    def __init__(
        self, name: str, dataset: str, classes: tuple[str, ...], in_channels: int, files: Sequence[str], told: str
    ) -> None:
        self.name = name
        self.dataset = dataset
        self.classes = classes
        self.in_channels = in_channels
        self.files = files
        self.told = told

    def load(self, data_root: Path, fraction: float, seed: int) -> Data:
        """uint8 images, 0 to 255.

        Raises:
            UsageError: the files are not in ``data_root`` and cannot be downloaded, or are damaged.
        """
        from . import Data, subset

        files = [data_root / file for file in self.files]
        train_x, train_y, val_x, val_y = shared(self.name, files, partial(self._decode, data_root))
        chosen = subset(len(train_x), fraction, seed)
        if len(chosen) < len(train_x):  # the whole stays what all trials share
            train_x, train_y = train_x[chosen], train_y[chosen]
        return Data(train_x, train_y, val_x, val_y)

    def draw(self, x: torch.Tensor) -> Image:
        from . import grey_or_colour

        return grey_or_colour(x)

    def _decode(self, root: Path) -> tuple[torch.Tensor, ...]:
        return *self._part(root, train=True), *self._part(root, train=False)

    def _part(self, root: Path, train: bool) -> tuple[torch.Tensor, torch.Tensor]:
        dataset = self._open(root, train)
        x = torch.as_tensor(dataset.data)
        x = x[:, None] if x.ndim == 3 else x.permute(0, 3, 1, 2)  # (N, H, W) grey, (N, H, W, C) colour
        return x.contiguous(), torch.as_tensor(dataset.targets).long()

    def _open(self, root: Path, train: bool) -> Any:
        from torchvision import datasets

        make = partial(getattr(datasets, self.dataset), root=str(root), train=train)
        try:
            return make(download=False)
        except RuntimeError:  # torchvision's way to say: not there
            return self._download(root, make)
        except Exception as error:
            raise self._failure(f"the files of {self.name} in {root} are damaged ({error})", root) from error

    def _download(self, root: Path, make: Callable[..., Any]) -> Any:
        print(f"downloading {self.name} to {root}", file=sys.stderr)
        try:
            with _alone(root), _impatient(), contextlib.redirect_stdout(sys.stderr):
                return make(download=True)
        except Exception as error:  # URLError, timeouts, torchvision's own RuntimeError, a folder without permission
            reason = (str(error) or type(error).__name__).strip().splitlines()[0]
            raise self._failure(f"{self.name} is not in {root} and cannot be downloaded ({reason})", root) from error

    def _failure(self, message: str, root: Path) -> UsageError:
        return UsageError(message, f"put {self.told} below {root}, or name another folder with --data-root=FOLDER")


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    """One process at a time: two trials that start together must not write the same files."""
    root.mkdir(parents=True, exist_ok=True)
    with open(root / ".sweepkit-download.lock", "w") as lock:
        if os.name == "posix":
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _impatient() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_PATIENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _like_mnist(name: str, dataset: str, classes: tuple[str, ...]) -> Callable[[], object]:
    files = [f"{dataset}/raw/{file}" for file in _IDX]
    told = f"{dataset}/raw/ with {', '.join(_IDX[:-1])} and {_IDX[-1]}"
    return partial(TorchvisionTask, name, dataset, classes, 1, files, told)


KINDS: dict[str, Callable[[], object]] = {
    "mnist": _like_mnist("mnist", "MNIST", _DIGITS),
    "fashion_mnist": _like_mnist("fashion_mnist", "FashionMNIST", _CLOTHES),
    "cifar10": partial(
        TorchvisionTask,
        "cifar10",
        "CIFAR10",
        _OBJECTS,
        3,
        [f"cifar-10-batches-py/{file}" for file in _BATCHES],
        "cifar-10-batches-py/ (unpacked)",
    ),
}
