"""The metric that a sweep optimizes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """The objective. ``impute`` is the value of a run that failed, ``impute_while_running`` that of a running one."""

    name: str
    maximize: bool = False
    target: float | None = None
    impute: str = "worst"
    impute_while_running: str | None = None

    def best(self, values: Iterable[float]) -> float | None:
        """The best of the finite values, None when there is none."""
        finite = [value for value in values if math.isfinite(value)]
        return (max if self.maximize else min)(finite) if finite else None

    def worst(self, values: Iterable[float]) -> float | None:
        """The worst of the finite values, None when there is none."""
        finite = [value for value in values if math.isfinite(value)]
        return (min if self.maximize else max)(finite) if finite else None

    def reached(self, value: float | None) -> bool:
        """Whether ``value`` is as good as the target."""
        if value is None or self.target is None:
            return False
        return value >= self.target if self.maximize else value <= self.target
