"""A user's own training script: scikit-learn and wandb, with no line for sweepkit. ``own-script.yaml`` sweeps it.

By itself it trains once with the defaults below; under a sweep's agent, W&B puts the sweep's values into run.config.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import wandb
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

DEFAULTS = {"hidden": 32, "lr": 0.003, "alpha": 0.0001, "epochs": 15, "seed": 0}


def split(seed: int) -> list[Any]:
    """Training and validation images (flat, from 0 to 1), then their labels in the same order."""
    images, labels = load_digits(return_X_y=True)
    return train_test_split(images / 16.0, labels, test_size=0.2, stratify=labels, random_state=seed)


def main() -> None:
    """Train a multilayer perceptron on the digits; log an epoch a row; keep its weights as a file of the run."""
    with wandb.init(project="wandb_demo", config=DEFAULTS) as run:
        config = run.config
        train_x, val_x, train_y, val_y = split(config["seed"])
        model = MLPClassifier(
            hidden_layer_sizes=(config["hidden"],),
            learning_rate_init=config["lr"],
            alpha=config["alpha"],
            batch_size=64,
            random_state=config["seed"],
        )
        for epoch in range(1, config["epochs"] + 1):
            model.partial_fit(train_x, train_y, classes=range(10))
            val_loss = log_loss(val_y, model.predict_proba(val_x), labels=range(10))
            run.log({"epoch": epoch, "val_acc": model.score(val_x, val_y), "val_loss": val_loss})
        (hidden, output), (hidden_bias, output_bias) = model.coefs_, model.intercepts_
        file = Path(run.dir) / "model.npz"
        np.savez(file, hidden=hidden, hidden_bias=hidden_bias, output=output, output_bias=output_bias)
        run.save(str(file), base_path=run.dir, policy="end")


if __name__ == "__main__":
    main()
