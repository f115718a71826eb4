"""The state of a trial: everything that training changes, as checkpoints keep it and a resumed run finds it again."""

from __future__ import annotations

import shutil
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import wandb

from ..errors import SweepkitError
from . import checkpoint, tasks
from .compute import Computing
from .config import Hyperparameters
from .distributed import Ranks
from .model import SmallCNN

BEST, LAST = "best.pt", "last.pt"


@dataclass
class Progress:
    """How far a trial has come; part of the last checkpoint."""

    epoch: int = 1  # the epoch under way, counted from 1
    batch: int = 0  # its batches that are done
    loss_sum: float = 0.0  # over the images of these batches
    best_val_acc: float = -1.0
    history: list[dict[str, float]] = field(default_factory=list)  # the rows of the epochs that are done


@dataclass
class Trial:
    """Everything that training changes or reads."""

    run: wandb.Run
    hyper: Hyperparameters
    task: tasks.Task
    data: tasks.Data
    model: SmallCNN
    optimizer: torch.optim.Optimizer
    computing: Computing
    ranks: Ranks  # the processes that train it together; mostly there is one
    folder: Path
    progress: Progress = field(default_factory=Progress)


def log_row(run: wandb.Run, row: dict[str, float]) -> None:
    """Log an epoch with the epoch as its step, unless the backend has it already (the run was resumed)."""
    if row["epoch"] >= run.step:
        run.log(row, step=int(row["epoch"]), commit=True)


def save_best(trial: Trial, metric: dict[str, float]) -> None:
    """What predicting and reporting need, and nothing of the training."""
    if not trial.ranks.leads:
        return
    content = {
        "run": trial.run.id,
        "epoch": trial.progress.epoch,
        "metric": metric,
        "config": asdict(trial.hyper),
        "task": trial.task.name,
        "classes": list(trial.task.classes),
        "in_channels": trial.task.in_channels,
        "model": trial.model.state_dict(),
    }
    checkpoint.save(trial.folder / BEST, content)


def save_last(trial: Trial) -> None:
    """What going on needs: the state of everything that the next batch depends on."""
    if not trial.ranks.leads:
        return
    content = {
        "run": trial.run.id,
        "config": asdict(trial.hyper),
        "progress": asdict(trial.progress),
        "model": trial.model.state_dict(),
        "optimizer": trial.optimizer.state_dict(),
        "rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state_all() if trial.computing.device.type == "cuda" else [],
    }
    checkpoint.save(trial.folder / LAST, content)


def keep_best(trial: Trial) -> None:
    """Save the best checkpoint as the run's file ``checkpoint/best.pt``, so that it is found on any host."""
    best = trial.folder / BEST
    if not trial.ranks.leads or not best.is_file():
        return
    kept = Path(trial.run.dir) / "checkpoint" / BEST
    kept.parent.mkdir(exist_ok=True)
    shutil.copyfile(best, kept)
    trial.run.save(str(kept), base_path=trial.run.dir, policy="now")


def resume(trial: Trial) -> None:
    """Go on from the last checkpoint if this run is to be resumed and has one; otherwise start from the beginning.

    Rows that the checkpoint knows and the backend does not (a kill came between the two) are logged again.
    """
    wanted = trial.run.resumed or trial.run.settings.resume in ("allow", "must", "auto")
    if not wanted:
        shutil.rmtree(trial.folder, ignore_errors=True)  # of an earlier run that had the same id
        return
    if not (trial.folder / LAST).is_file():
        return
    try:
        content = checkpoint.load(trial.folder / LAST)
        best = checkpoint.load(trial.folder / BEST) if content["progress"]["best_val_acc"] >= 0 else None
        _check_same(trial, content, best)
        _restore(trial, content)
    except (SweepkitError, RuntimeError, KeyError, ValueError, TypeError) as error:
        print(f"sweepkit: {error}; starting over from the first epoch", file=sys.stderr)
        shutil.rmtree(trial.folder, ignore_errors=True)
        return
    print(f"sweepkit: resumed in epoch {trial.progress.epoch} of {trial.hyper.epochs}", file=sys.stderr)
    for row in trial.progress.history:
        log_row(trial.run, row)


def _check_same(trial: Trial, content: dict[str, Any], best: dict[str, Any] | None) -> None:
    """More epochs, data in another folder or another host's precision are the same training; other changes are not."""
    free = {"epochs", "data_root", "precision"}
    for stored in (content, best):
        if stored is None:
            continue
        now = asdict(trial.hyper)
        changed = [name for name in now if name not in free and stored["config"].get(name) != now[name]]
        if changed:
            raise SweepkitError(f"the checkpoint in {trial.folder} was trained with another {', '.join(changed)}")


def _restore(trial: Trial, content: dict[str, Any]) -> None:
    progress = Progress(**content["progress"])
    trial.model.load_state_dict(content["model"])
    trial.optimizer.load_state_dict(content["optimizer"])
    torch.set_rng_state(content["rng"])
    if trial.computing.device.type == "cuda" and content["cuda_rng"]:
        torch.cuda.set_rng_state_all(content["cuda_rng"])
    trial.progress = progress


def start_together(trial: Trial) -> None:
    """Every rank starts where the leader does, who alone looks at the run and at its checkpoints."""
    if trial.ranks.count == 1:
        return
    own = (asdict(trial.progress), trial.model.state_dict(), trial.optimizer.state_dict())
    progress, model, optimizer = trial.ranks.from_leader(own)
    if not trial.ranks.leads:
        trial.progress = Progress(**progress)
        trial.model.load_state_dict(model)
        trial.optimizer.load_state_dict(optimizer)
