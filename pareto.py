"""Pareto fronts: which of several points nobody else beats, where each point has several values to improve."""

from __future__ import annotations

from collections.abc import Sequence

Point = Sequence[float]


def fronts(points: Sequence[Point], maximize: Sequence[bool]) -> list[int]:
    """The front of each point, from 1: the points of front 1 are dominated by none, those of front 2 by these only, ...

    One point dominates another if it is at least as good in every value and better in one; equal points share a front.
    ``maximize`` says of each value whether more is better. Values are finite.

    Method: X. Zhang et al., "An Efficient Approach to Nondominated Sorting" (2015): in the order of their values a
    point is dominated by earlier ones only, so each goes to the first front that holds none that dominates it.
    """
    costs = [tuple(-value if more else value for value, more in zip(p, maximize, strict=True)) for p in points]
    found: list[list[tuple[float, ...]]] = []
    numbers: dict[tuple[float, ...], int] = {}
    for cost in sorted(set(costs)):
        number = next((n for n, front in enumerate(found) if not _is_dominated(cost, front)), len(found))
        if number == len(found):
            found.append([])
        found[number].append(cost)
        numbers[cost] = number + 1
    return [numbers[cost] for cost in costs]


def _is_dominated(cost: tuple[float, ...], front: Sequence[tuple[float, ...]]) -> bool:
    """Whether one of ``front`` is as good in every value; the latest ones are the nearest, and so most likely."""
    return any(all(a <= b for a, b in zip(other, cost, strict=True)) for other in reversed(front))
