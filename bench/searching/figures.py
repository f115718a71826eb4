"""What regret curves say: means with their intervals, and ratios to W&B's engine."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Mapping, Sequence

from scipy.stats import t as student

FLOOR = 0.05  # no objective decides alone
_RESAMPLES = 1000


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """The mean, and half the width of its 95 % interval (Student's t); no number where there is one value only."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, math.nan
    half = student.ppf(0.975, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return mean, float(half)


def ratio(mean: float, theirs: float) -> float:
    """An engine's mean regret over that of W&B's engine, not below the floor. 0/0 counts as 1."""
    if theirs == 0:
        return 1.0 if mean == 0 else math.inf
    return max(mean / theirs, FLOOR)


def geometric_mean(ratios: Sequence[float]) -> float:
    return math.exp(statistics.fmean(math.log(one) for one in ratios)) if math.inf not in ratios else math.inf


Regrets = Mapping[str, Sequence[float]]  # objective -> the regret of each seed


def ratios(mine: Regrets, theirs: Regrets) -> dict[str, float]:
    return {name: ratio(statistics.fmean(mine[name]), statistics.fmean(theirs[name])) for name in mine}


def interval_of_ratios(mine: Regrets, theirs: Regrets) -> tuple[float, float]:
    """The 95 % interval of the geometric mean of the ratios, by drawing the seeds anew (bootstrap)."""
    rng = random.Random(0)
    found = []
    for _ in range(_RESAMPLES):
        one, other = ({name: rng.choices(of, k=len(of)) for name, of in side.items()} for side in (mine, theirs))
        found.append(geometric_mean(list(ratios(one, other).values())))
    found.sort()
    return found[int(0.025 * _RESAMPLES)], found[int(0.975 * _RESAMPLES) - 1]
