"""Four functions whose optimum lies at a random place of every axis, another one for each seed.

Functions that searches are compared by often have their optimum near the middle of their range, which favours a search
that begins there. Here nothing is gained by that.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .objectives import Config, Objective, levy4


@dataclass(frozen=True)
class Moved:
    """``value`` of as many numbers as ``optimum`` has, where it is ``least``; each axis is ``width`` long."""

    value: Callable[[Sequence[float]], float]
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
        return Objective(name, parameters, lambda config: self.value(_numbers(config)), self.least)


def _numbers(config: Config) -> list[float]:
    return [config[f"x{n}"] for n in range(1, len(config) + 1)]


def _levy(x: Sequence[float]) -> float:
    return levy4({f"x{n}": value for n, value in enumerate(x, 1)})


def ackley(x: Sequence[float]) -> float:
    """https://www.sfu.ca/~ssurjano/ackley.html"""
    distance = math.sqrt(sum(v * v for v in x) / len(x))
    waves = sum(math.cos(2 * math.pi * v) for v in x) / len(x)
    return 20 + math.e - 20 * math.exp(-0.2 * distance) - math.exp(waves)


def rosenbrock(x: Sequence[float]) -> float:
    """https://www.sfu.ca/~ssurjano/rosen.html"""
    return sum(100 * (b - a * a) ** 2 + (1 - a) ** 2 for a, b in zip(x, x[1:], strict=False))


def styblinski_tang(x: Sequence[float]) -> float:
    """https://www.sfu.ca/~ssurjano/stybtang.html"""
    return sum(v**4 - 16 * v**2 + 5 * v for v in x) / 2


_LOWEST = -2.9035340277711770951  # where one axis of Styblinski and Tang's function is least
MOVED = {
    "levy4-moved": Moved(_levy, (1.0,) * 4, 20.0),
    "ackley4-moved": Moved(ackley, (0.0,) * 4, 15.0),
    "rosenbrock3-moved": Moved(rosenbrock, (1.0,) * 3, 4.0),
    "styblinski5-moved": Moved(styblinski_tang, (_LOWEST,) * 5, 10.0, styblinski_tang((_LOWEST,) * 5)),
}
