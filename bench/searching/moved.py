"""Four functions whose optimum lies at a random place of every axis, another one for each seed.

Functions that searches are compared by often have their optimum near the middle of their range, which favours a search
that begins there. Here it is as likely anywhere else.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from .objectives import Config, Objective, levy4


@dataclass(frozen=True)
class Moved:
    """``value`` of a configuration x1, x2, ... is ``least`` at the ``optimum``; each axis is ``width`` long."""

    value: Callable[[Config], float]
    optimum: tuple[float, ...]
    width: float
    least: float = 0.0

    def at(self, name: str, seed: int) -> Objective:
        """The objective of that name whose ranges lie around the optimum as the seed says."""
        place = random.Random(f"{name}:{seed}")
        parameters = {}
        for n, best in enumerate(self.optimum, 1):
            low = best - place.random() * self.width
            parameters[f"x{n}"] = {"distribution": "uniform", "min": low, "max": low + self.width}
        return Objective(name, parameters, self.value, self.least)


def ackley(config: Config) -> float:
    """https://www.sfu.ca/~ssurjano/ackley.html"""
    x = _numbers(config)
    distance = math.sqrt(sum(v * v for v in x) / len(x))
    waves = sum(math.cos(2 * math.pi * v) for v in x) / len(x)
    return 20 + math.e - 20 * math.exp(-0.2 * distance) - math.exp(waves)


def rosenbrock(config: Config) -> float:
    """https://www.sfu.ca/~ssurjano/rosen.html"""
    x = _numbers(config)
    return sum(100 * (b - a * a) ** 2 + (1 - a) ** 2 for a, b in zip(x, x[1:], strict=False))


def styblinski_tang(config: Config) -> float:
    """https://www.sfu.ca/~ssurjano/stybtang.html"""
    return sum(v**4 - 16 * v**2 + 5 * v for v in _numbers(config)) / 2


def _numbers(config: Config) -> list[float]:
    return [config[f"x{n}"] for n in range(1, len(config) + 1)]


MOVED = {
    "levy4-moved": Moved(levy4, (1.0,) * 4, 20.0),
    "ackley4-moved": Moved(ackley, (0.0,) * 4, 15.0),
    "rosenbrock3-moved": Moved(rosenbrock, (1.0,) * 3, 4.0),
    "styblinski5-moved": Moved(styblinski_tang, (-2.903534027771177,) * 5, 10.0, -195.83082851885707),
}
