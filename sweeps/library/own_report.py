"""The report on a run of ``own_script``: what promoting it logs, beside what the run itself kept.

sweepkit run own-script --report sweepkit.sweeps.library.own_report:report
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ...errors import SweepkitError
from ...trainer.cases import Case
from . import own_script

if TYPE_CHECKING:
    import wandb

    from ...trainer import Report

MOST = 50  # cases in a table


def report(run: wandb.Run, report: Report) -> None:
    """The script, the weights and the data as artifacts; the validation images as good and bad cases."""
    weights = report.file("model.npz")
    if weights is None:
        raise SweepkitError(f"the run {run.path} kept no model.npz", "promote a run that finished")
    _, val_x, _, val_y = own_script.split(run.config["seed"])
    data = report.directory / "validation.npz"
    np.savez(data, images=val_x, labels=val_y)
    score = {"val_acc": run.summary["val_acc"], "lr": run.config["lr"], "hidden": run.config["hidden"]}
    report.artifact("own-script-data", "dataset", data)
    report.artifact("own-script-code", "code", Path(own_script.__file__))
    report.artifact("own-script-model", "model", weights, metadata=score, aliases=["best"])
    cases = predictions(weights, val_x, val_y)
    report.cases([case for case in cases if case.good][:MOST], [case for case in cases if not case.good][:MOST])


def predictions(weights: Path, images: np.ndarray, labels: np.ndarray) -> list[Case]:
    """What the perceptron says of each image: a hidden layer of rectified units, then softmax."""
    with np.load(weights) as kept:
        hidden = np.maximum(images @ kept["hidden"] + kept["hidden_bias"], 0)
        scores = hidden @ kept["output"] + kept["output_bias"]
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    said = shares.argmax(axis=1)
    return [
        Case(picture(image), str(truth), str(guess), float(share[guess]))
        for image, truth, guess, share in zip(images, labels, said, shares, strict=True)
    ]


def picture(image: np.ndarray) -> Image.Image:
    """An image of 8 by 8 points as one of 64 by 64, to be seen."""
    return Image.fromarray((image.reshape(8, 8) * 255).astype(np.uint8)).resize((64, 64), Image.Resampling.NEAREST)
