"""scikit-learn's digits: 1,797 real handwritten digits of 8 x 8 pixels that come with the package. Needs no network."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...errors import SweepkitError

if TYPE_CHECKING:
    from PIL.Image import Image

    from . import Data

VALIDATION = 360  # about a fifth, the same images for every seed, so that trials can be compared


class Digits:
    """Grey images of 8 x 8 pixels in ten classes; 1,437 to train on and 360 to validate on."""

    name = "digits"
    classes = tuple("0123456789")
    in_channels = 1
    default_fraction = 1.0  # a fifth would be 287 images

    def load(self, data_root: Path, fraction: float, seed: int) -> Data:
        """uint8 images, 0 to 255; ``data_root`` is not needed."""
        from . import Data, subset

        table = torch.from_numpy(_table())
        order = torch.randperm(len(table), generator=torch.Generator().manual_seed(0))
        # 0..16 of the file -> 0..255
        x = (table[:, :64] * (255 / 16)).round().to(torch.uint8).reshape(-1, 1, 8, 8)[order]
        y = table[:, 64].long()[order]
        chosen = subset(len(x) - VALIDATION, fraction, seed)
        return Data(x[VALIDATION:][chosen], y[VALIDATION:][chosen], x[:VALIDATION], y[:VALIDATION])

    def draw(self, x: torch.Tensor) -> Image:
        from . import grey_or_colour

        return grey_or_colour(x)


def _table() -> np.ndarray:
    """Shape (1797, 65): 64 pixels from 0 to 16, then the label.

    Read from the package's own file: importing ``sklearn.datasets`` takes two seconds and 60 MiB in every trial.
    """
    spec = importlib.util.find_spec("sklearn")
    for place in (spec.submodule_search_locations or []) if spec else []:
        file = Path(place) / "datasets" / "data" / "digits.csv.gz"
        if file.is_file():
            return np.loadtxt(file, delimiter=",", dtype=np.float32)
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise SweepkitError(
            "the digits come with scikit-learn, which is not installed", "pip install scikit-learn"
        ) from error
    digits = load_digits()
    return np.column_stack([digits.data, digits.target]).astype(np.float32)
