"""How long a sweep will still take: an honest guess with its spread, or no guess at all.

What has ended says how long a trial takes, whatever way it ended: trials that are stopped early, fail or are tried
again count as they are, and so does what several hosts do at once. A running trial that tells its epochs takes as long
as they say; another as long as those took that lasted longer than it has lasted (a fraction of its own time where none
did). The waiting ones are then dealt to the places that work, each to the one that is free first, as agents do it. The
spread is one standard deviation: of the trials' own variation, and of the mean that so few ended trials tell.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_DEALT = 5000  # waiting trials up to which they are dealt one by one; of more, the end hardly matters


@dataclass(frozen=True)
class Running:
    """A trial at work: for how many seconds, and which part of it is done if it tells (0 to 1)."""

    seconds: float
    done: float | None = None


@dataclass(frozen=True)
class Left:
    """Seconds until the last trial ends: as expected, and one standard deviation less and more."""

    seconds: float
    low: float
    high: float


def time_left(
    ended: Sequence[float], running: Sequence[Running], waiting: int | None, places: int
) -> Left | None:  # fmt: skip
    """What is left of a sweep, or None where nothing tells.

    ``ended`` holds the seconds of each trial that is over, all its tries together; ``waiting`` is how many trials have
    not begun (None: the search has no end of its own); ``places`` is how many trials can run at once.
    """
    known = [each for each in ended if math.isfinite(each) and each >= 0]
    lengths = known or list(_foretold(running))
    if waiting is None or (waiting > 0 and not (lengths and (places or running))):
        return None
    waiting = max(0, waiting)
    rests = [_rest(each, lengths) for each in running]
    if any(rest is None for rest in rests):
        return None
    mean = math.fsum(lengths) / len(lengths) if lengths else 0.0
    places = max(places, len(running), 1)
    seconds = _dealt([rest for rest in rests if rest is not None], waiting, mean, places)
    spread = _spread(lengths, waiting, sum(each.done is None for each in running), places)
    return Left(seconds, max(0.0, seconds - spread), seconds + spread)


def _foretold(running: Iterable[Running]) -> Iterable[float]:
    """How long trials will take in all that tell how far they are."""
    for each in running:
        if each.done is not None and 0.02 <= each.done <= 1 and math.isfinite(each.seconds):
            yield max(0.0, each.seconds) / each.done


def _rest(trial: Running, lengths: Sequence[float]) -> float | None:
    """Seconds that a running trial still needs, or None where nothing tells."""
    seconds = trial.seconds if math.isfinite(trial.seconds) else 0.0
    seconds = max(0.0, seconds)
    if trial.done is not None and 0.02 <= trial.done <= 1:
        return seconds * (1 - trial.done) / trial.done
    if not lengths:
        return None
    longer = [length for length in lengths if length > seconds]
    if longer:
        return math.fsum(longer) / len(longer) - seconds
    return seconds / (len(lengths) + 1)


def _dealt(rests: Sequence[float], waiting: int, mean: float, places: int) -> float:
    """When the last place is done, each waiting trial going to the place that is free first."""
    free = [*rests, *[0.0] * (places - len(rests))]
    many = max(0, waiting - _DEALT)
    if many:
        shift = many * mean / places
        free = [each + shift for each in free]
    heapq.heapify(free)
    for _ in range(waiting - many):
        heapq.heapreplace(free, free[0] + mean)
    return max(free)


def _spread(lengths: Sequence[float], waiting: int, unsure: int, places: int) -> float:
    """One standard deviation of the end: the sum of what is still to be done, shared by the places."""
    count = len(lengths)
    if count < 2:
        return 0.0
    mean = math.fsum(lengths) / count
    variance = math.fsum((each - mean) ** 2 for each in lengths) / (count - 1)
    open_trials = waiting + unsure
    work = variance * (open_trials + open_trials**2 / count)
    return math.sqrt(work) / min(places, max(1, open_trials))


def told(left: Left) -> str:
    """``left`` in a few words: ``about 12m left``, or ``9m to 15m left`` where the spread is worth saying."""
    if left.high - left.low > 0.2 * left.seconds and short(left.low) != short(left.high):
        return f"{short(left.low)} to {short(left.high)} left"
    return f"about {short(left.seconds)} left"


def short(seconds: float) -> str:
    """``5s``, ``40s``, ``12m``, ``1h 30m``, ``3d 4h``: no more exactly than a guess is worth."""
    if seconds < 60:
        return f"{round(seconds) if seconds < 10 else 5 * round(seconds / 5)}s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes}m"
    hours, minutes = divmod(5 * round(minutes / 5), 60)
    if hours < 24:
        return f"{hours}h {minutes}m" if minutes else f"{hours}h"
    days, hours = divmod(hours, 24)
    return f"{days}d {hours}h" if hours else f"{days}d"
