"""The search of digits-conditional.yaml: a space whose parameters depend on each other, and how Optuna samples it."""

from __future__ import annotations

from typing import Any

import optuna


def space(trial: optuna.Trial) -> dict[str, Any]:
    """All that a trial is given, what is the same for all of them too."""
    optimizer = trial.suggest_categorical("optimizer", ["SGD", "Adam", "AdamW"])
    found: dict[str, Any] = {
        "task": "digits",
        "epochs": 8,
        "batch_size": 64,
        "seed": 0,
        "optimizer": optimizer,
        "lr": trial.suggest_float("lr", 1e-3, 3e-2, log=True),
        "width": trial.suggest_categorical("width", [16, 32, 48, 64]),
        "dropout": trial.suggest_float("dropout", 0.0, 0.3),
    }
    if optimizer == "SGD":
        found["momentum"] = trial.suggest_float("momentum", 0.5, 0.99)
    if optimizer == "AdamW":
        found["weight_decay"] = trial.suggest_float("weight_decay", 1e-4, 1e-1, log=True)
    return found


def study(sweep: Any) -> optuna.Study:
    """The study of W&B's ``sweep``: TPE that knows which parameters belong together (``group``)."""
    goal = sweep.config["metric"]["goal"]
    sampler = optuna.samplers.TPESampler(n_startup_trials=6, multivariate=True, group=True, constant_liar=True)
    return optuna.create_study(direction=goal, sampler=sampler)
