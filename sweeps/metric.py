"""What a sweep improves. By itself, because commands that only look at a sweep need no more of its specification."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """What a search improves. ``target`` ends the sweep once a run reaches it."""

    name: str
    goal: str = "minimize"
    target: float | None = None
