"""A real table: the error of small networks on scikit-learn's digits, for every configuration of a grid.

    python bench/searching/digits_table.py     # makes digits_table.csv anew, in about ten minutes on a core

Searches draw from this grid, so that a real objective costs a look-up.
"""

from __future__ import annotations

import csv
import functools
import itertools
import warnings
from pathlib import Path
from typing import Any

TABLE = Path(__file__).with_suffix(".csv")
GRID: dict[str, list[Any]] = {
    "lr": [0.0003, 0.001, 0.003, 0.01, 0.03, 0.1],
    "alpha": [1e-05, 0.001, 0.1, 3.0],
    "width": [8, 16, 32, 64, 128],
    "activation": ["logistic", "relu", "tanh"],
    "solver": ["adam", "sgd"],
}
EPOCHS = 8
SPLITS = 3  # of the digits into halves; the error is their mean


@functools.cache
def table() -> dict[tuple[Any, ...], float]:
    """The error, a share of wrong digits, by configuration (values in the order of GRID)."""
    with TABLE.open(newline="") as file:
        rows = {tuple(row[name] for name in GRID): float(row["error"]) for row in csv.DictReader(file)}
    return {config: rows[tuple(map(str, config))] for config in itertools.product(*GRID.values())}


def _error(config: dict[str, Any]) -> float:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
    from sklearn.neural_network import MLPClassifier

    images, digits = load_digits(return_X_y=True)
    errors = []
    for split in range(SPLITS):
        one, other, ones, others = train_test_split(images / 16, digits, test_size=0.5, random_state=split)
        network = MLPClassifier(
            config["width"], activation=config["activation"], solver=config["solver"], alpha=config["alpha"],
            learning_rate_init=config["lr"], max_iter=EPOCHS, batch_size=32, random_state=split,
        )  # fmt: skip
        errors.append(1 - network.fit(one, ones).score(other, others))
    return sum(errors) / SPLITS


def main() -> None:
    warnings.simplefilter("ignore")  # scikit-learn says that eight epochs are few
    with TABLE.open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow([*GRID, "error"])
        for config in itertools.product(*GRID.values()):
            rows.writerow([*config, f"{_error(dict(zip(GRID, config, strict=True))):.5f}"])


if __name__ == "__main__":
    main()
