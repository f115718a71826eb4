"""MNIST, Fashion-MNIST and CIFAR-10 through torchvision: read where they lie, else downloaded."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ...errors import UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

    from . import Data

_DIGITS = tuple("0123456789")
_CLOTHES = ("T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
_OBJECTS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_IDX = "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte"
_PATIENCE = 30.0  # seconds without an answer before a download is given up


class TorchvisionTask:
    """A dataset of ``torchvision.datasets``; its test set is the validation set.

    Args:
        name: name of the task.
        dataset: name of torchvision's class.
        classes: name of each class.
        in_channels: 1 for grey, 3 for colour.
        files: what must lie where below the data root, for the message when it does not.
    """

    default_fraction = 0.2

    def __init__(self, name: str, dataset: str, classes: tuple[str, ...], in_channels: int, files: str) -> None:
        self.name = name
        self.dataset = dataset
        self.classes = classes
        self.in_channels = in_channels
        self.files = files

    def load(self, data_root: Path, fraction: float, seed: int) -> Data:
        """uint8 images, 0 to 255.

        Raises:
            UsageError: the files are not in ``data_root`` and cannot be downloaded, or are damaged.
        """
        from . import Data, subset

        train_x, train_y = self._part(data_root, train=True)
        val_x, val_y = self._part(data_root, train=False)
        chosen = subset(len(train_x), fraction, seed)
        return Data(train_x[chosen], train_y[chosen], val_x, val_y)

    def draw(self, x: torch.Tensor) -> Image:
        from . import grey_or_colour

        return grey_or_colour(x)

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
        return UsageError(message, f"put {self.files} below {root}, or name another folder with --data-root=FOLDER")


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


KINDS: dict[str, Callable[[], object]] = {
    "mnist": partial(TorchvisionTask, "mnist", "MNIST", _DIGITS, 1, f"MNIST/raw/ with {_IDX}"),
    "fashion_mnist": partial(
        TorchvisionTask, "fashion_mnist", "FashionMNIST", _CLOTHES, 1, f"FashionMNIST/raw/ with {_IDX}"
    ),
    "cifar10": partial(TorchvisionTask, "cifar10", "CIFAR10", _OBJECTS, 3, "cifar-10-batches-py/ (unpacked)"),
}
