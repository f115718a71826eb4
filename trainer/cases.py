"""Good and bad cases of a model: predictions, the choice of the cases, a grid and a confusion matrix."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from .model import SmallCNN
from .tasks import Task

LOOKED_AT = 1000  # validation images
KEPT = 50  # of the good and of the bad cases, each


@dataclass(frozen=True)
class Case:
    """One image and what a model made of it; ``confidence`` is the softmax of the prediction, from 0 to 1."""

    image: Image.Image
    truth: str
    prediction: str
    confidence: float

    @property
    def good(self) -> bool:
        return self.truth == self.prediction


@torch.no_grad()
def predict(model: SmallCNN, x: Tensor, size: int = 100) -> tuple[Tensor, Tensor]:
    """Predicted classes, int64, and their probabilities, each of shape (N,), with a progress bar."""
    model.eval()
    batches = tqdm(x.split(size), desc="predicting", unit="batch", disable=None, file=sys.stderr)
    probabilities = torch.cat([model(images).softmax(1) for images in batches])
    best = probabilities.max(1)
    return best.indices, best.values


def choose(truth: Tensor, predicted: Tensor, kept: int = KEPT) -> tuple[list[int], list[int]]:
    """Indices of the first ``kept`` good and the first ``kept`` bad cases."""
    good = (truth == predicted).nonzero().flatten().tolist()
    bad = (truth != predicted).nonzero().flatten().tolist()
    return good[:kept], bad[:kept]


def draw(task: Task, x: Tensor, truth: Tensor, predicted: Tensor, confidence: Tensor, indices: list[int]) -> list[Case]:
    """The cases at ``indices``, drawn by the task, with a progress bar."""
    return [
        Case(
            image=task.draw(x[index]),
            truth=task.classes[int(truth[index])],
            prediction=task.classes[int(predicted[index])],
            # Four digits: the last ones differ between machines, and a case does not change with them.
            confidence=round(float(confidence[index]), 4),
        )
        for index in tqdm(indices, desc="drawing", unit="case", disable=None, file=sys.stderr)
    ]


def confusion(truth: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """Counts, shape (K, K): row the truth, column the prediction."""
    return torch.bincount(truth * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def grid(cases: Sequence[Case]) -> Image.Image:
    """Up to nine cases in three rows of three; the title of a wrong one is red."""
    figure = Figure(figsize=(5.4, 6.0), layout="constrained")
    for place, case in enumerate(cases[:9], start=1):
        axes = figure.add_subplot(3, 3, place)
        axes.imshow(case.image, cmap="gray" if case.image.mode == "L" else None)
        axes.set_axis_off()
        colour = "black" if case.good else "tab:red"
        axes.set_title(f"{case.prediction} ({case.confidence:.0%})\ntruth {case.truth}", color=colour, fontsize=9)
    return _picture(figure)


def confusion_figure(counts: Tensor, classes: Sequence[str]) -> Image.Image:
    """The confusion matrix with its counts."""
    side = max(4.0, 0.55 * len(classes) + 1.5)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(counts.numpy(), cmap="Blues")
    ticks = range(len(classes))
    axes.set_xticks(ticks, classes, rotation=90 if max(map(len, classes)) > 3 else 0)
    axes.set_yticks(ticks, classes)
    axes.set(xlabel="prediction", ylabel="ground truth")
    dark = counts.max().item() / 2
    for row in ticks:
        for column in ticks if len(classes) <= 30 else []:
            count = int(counts[row, column])
            axes.text(column, row, str(count), ha="center", va="center", color="white" if count > dark else "black")
    return _picture(figure)


def _picture(figure: Figure) -> Image.Image:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return Image.open(buffer).convert("RGB")
