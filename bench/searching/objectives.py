"""What the searches minimize: four functions whose optimum is known, and a real table.

Each is a sweep's ``parameters`` and a value for a configuration. The regret of a configuration is how far its value
lies above the least of all, without the noise that the searches may be told.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from . import digits_table

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Objective:
    """``value`` is without noise; a search is told it with a normal noise of ``noise``."""

    name: str
    parameters: dict[str, dict[str, Any]]
    value: Callable[[Config], float]
    least: float
    noise: float = 0.0

    def regret(self, config: Config) -> float:
        return max(self.value(config) - self.least, 0.0)

    def measured(self, config: Config, seed: int, trial: int) -> float:
        """What the search is told of its trial number ``trial``: the same noise for every engine."""
        noise = random.Random(f"{self.name}:{seed}:{trial}").gauss(0.0, 1.0) * self.noise if self.noise else 0.0
        return self.value(config) + noise


def _floats(names: str, low: float, high: float) -> dict[str, dict[str, Any]]:
    return {name: {"distribution": "uniform", "min": low, "max": high} for name in names.split()}


def branin(config: Config) -> float:
    """https://www.sfu.ca/~ssurjano/branin.html"""
    x, y = config["x"], config["y"]
    bowl = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
    return float(bowl**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10)


_WEIGHTS = (1.0, 1.2, 3.0, 3.2)
_SCALES = ((10, 3, 17, 3.5, 1.7, 8), (0.05, 10, 17, 0.1, 8, 14), (3, 3.5, 1.7, 10, 17, 8), (17, 8, 0.05, 10, 0.1, 14))
_CENTRES = (
    (0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886),
    (0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991),
    (0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650),
    (0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381),
)


def hartmann6(config: Config) -> float:
    """https://www.sfu.ca/~ssurjano/hart6.html"""
    x = [config[f"x{n}"] for n in range(1, 7)]
    value = 0.0
    for weight, scale, centre in zip(_WEIGHTS, _SCALES, _CENTRES, strict=True):
        value -= weight * math.exp(-sum(a * (x - c) ** 2 for a, x, c in zip(scale, x, centre, strict=True)))
    return value


def levy4(config: Config) -> float:
    """https://www.sfu.ca/~ssurjano/levy.html in four dimensions."""
    w = [1 + (config[f"x{n}"] - 1) / 4 for n in range(1, 5)]
    inner = sum((v - 1) ** 2 * (1 + 10 * math.sin(math.pi * v + 1) ** 2) for v in w[:-1])
    last = (w[-1] - 1) ** 2 * (1 + math.sin(2 * math.pi * w[-1]) ** 2)
    return float(math.sin(math.pi * w[0]) ** 2 + inner + last)


# optimizer -> the decimal logarithm of its best learning rate at width 64, its loss beyond the best, its steepness
_OPTIMIZERS = {"Adam": (-2.8, 0.0, 0.10), "RMSprop": (-3.2, 0.02, 0.14), "SGD": (-1.3, 0.01, 0.20)}
_BEST_WIDTH = 256


def training(config: Config) -> float:
    """Something like a network's validation loss: a valley in lr and width, another one for each optimizer.

    Wider networks want a lower learning rate and more dropout. Least at Adam, width 256, and lr and dropout that fit.
    """
    best_lr, offset, steepness = _OPTIMIZERS[config["optimizer"]]
    octaves = math.log2(config["width"] / 64)
    lr = math.log10(config["lr"]) - (best_lr - 0.15 * octaves)
    width = math.log2(config["width"] / _BEST_WIDTH)
    dropout = config["dropout"] - min(max(0.15 + 0.05 * octaves, 0.0), 0.5)
    return 0.1 + offset + steepness * lr**2 + 0.015 * width**2 + 0.6 * dropout**2


def _digits(config: Config) -> float:
    return digits_table.table()[tuple(config[name] for name in digits_table.GRID)]


OBJECTIVES = {
    objective.name: objective
    for objective in (
        Objective("branin", {**_floats("x", -5.0, 10.0), **_floats("y", 0.0, 15.0)}, branin, 0.39788735772973816),
        Objective("hartmann6", _floats("x1 x2 x3 x4 x5 x6", 0.0, 1.0), hartmann6, -3.32236801141551),
        Objective("levy4", _floats("x1 x2 x3 x4", -10.0, 10.0), levy4, 0.0),
        Objective(
            "training",
            {
                "lr": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1.0},
                "width": {"values": [16, 32, 64, 128, 256, 512]},
                "dropout": {"distribution": "uniform", "min": 0.0, "max": 0.7},
                "optimizer": {"values": sorted(_OPTIMIZERS)},
            },
            training,
            0.1,
            noise=0.02,
        ),
        Objective(
            "digits",
            {name: {"values": values} for name, values in digits_table.GRID.items()},
            _digits,
            min(digits_table.table().values()),
        ),
    )
}
