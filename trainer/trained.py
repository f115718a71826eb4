"""The report on a run of this trainer: dataset, code and model as artifacts, cases, grid and confusion matrix."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import wandb

from .. import __version__
from ..errors import SweepkitError
from . import cases, checkpoint, code, config, tasks
from .model import SmallCNN
from .report import Report
from .state import BEST
from .train import METRICS


def report(run: wandb.Run, report: Report) -> None:
    """Promote what ``sweepkit.trainer`` left behind for ``run``.

    Raises:
        SweepkitError: no best checkpoint that can be read, on this host or among the run's files.
        UsageError: the task or its data are not there.
    """
    for metric in METRICS:
        run.define_metric(metric, step_metric="epoch")
    path, best = best_checkpoint(run.id, report)
    hyper = config.read(best["config"])
    task = tasks.find(hyper.task)
    data = tasks.load(task, tasks.data_root(hyper.data_root), tasks.fraction_of(task, hyper.data_fraction), hyper.seed)

    used = {"task": task.name, "data_fraction": hyper.data_fraction, "seed": hyper.seed, "classes": best["classes"]}
    report.artifact(task.name, "dataset", save_data(task, data, report.directory / "dataset"), metadata=used)
    sources = code.collect(report.directory / "code", task)
    report.artifact("sweepkit-trainer", "code", sources, metadata={"sweepkit": __version__})
    metadata = {**best["metric"], "epoch": best["epoch"], "config": best["config"], "run": run.id}
    report.artifact(f"{task.name}-model", "model", path, metadata=metadata, aliases=["best"])
    show_cases(report, model_of(best), task, data)


def best_checkpoint(run_id: str, report: Report) -> tuple[Path, dict[str, Any]]:
    """The best checkpoint, from this host's checkpoints or else from the run's files: (a copy of it, its content)."""
    copy = report.directory / "model" / BEST
    copy.parent.mkdir()
    try:
        local = checkpoint.folder(run_id) / BEST
        content = checkpoint.load(local)
        shutil.copyfile(local, copy)
        return copy, content
    except checkpoint.CheckpointError as error:
        first = error
    kept = report.file(f"checkpoint/{BEST}")
    if kept is None:
        raise SweepkitError(f"{first.message}, and the run kept none among its files", "train the run again")
    print(f"sweepkit: {first.message}; using the one among the run's files", file=sys.stderr)
    content = checkpoint.load(kept)
    shutil.copyfile(kept, copy)
    return copy, content


def model_of(best: dict[str, Any]) -> SmallCNN:
    """The model of a best checkpoint, on the CPU, ready to predict."""
    hyper = config.read(best["config"])
    model = SmallCNN(best["in_channels"], len(best["classes"]), hyper.hidden_layer_width, hyper.dropout_p)
    model.load_state_dict(best["model"])
    return model.eval()


def save_data(task: tasks.Task, data: tasks.Data, directory: Path) -> Path:
    """Write what the task used as .npy files, whose bytes (and so the artifact's digest) are the same every time.

    A task with a method ``save(data, directory)`` writes what it likes instead.
    """
    directory.mkdir()
    own = getattr(task, "save", None)
    if own is not None:
        own(data, directory)
        return directory
    for name in ("train_x", "train_y", "val_x", "val_y"):
        np.save(directory / f"{name}.npy", getattr(data, name).numpy())
    (directory / "classes.json").write_text(json.dumps(list(task.classes)))
    return directory


def show_cases(report: Report, model: SmallCNN, task: tasks.Task, data: tasks.Data) -> None:
    """Tables of good and bad cases, a 3 x 3 grid and a confusion matrix of the first validation images."""
    x, truth = data.val_x[: cases.LOOKED_AT], data.val_y[: cases.LOOKED_AT]
    predicted, confidence = cases.predict(model, x)
    good, bad = cases.choose(truth, predicted)
    drawn = cases.draw(task, x, truth, predicted, confidence, good + bad)
    report.cases(drawn[: len(good)], drawn[len(good) :])
    first = cases.draw(task, x, truth, predicted, confidence, list(range(min(9, len(x)))))
    counts = cases.confusion(truth, predicted, len(task.classes))
    report.log(
        {
            "predictions": wandb.Image(cases.grid(first), caption="the first nine validation images"),
            "confusion_matrix": wandb.Image(cases.confusion_figure(counts, task.classes)),
        }
    )
