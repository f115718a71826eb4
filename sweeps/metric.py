"""What a sweep improves. By itself, because commands that only look at a sweep need no more of its specification."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Metric:
    """What a search improves. ``target`` ends the sweep once a run reaches it."""

    name: str
    goal: str = "minimize"
    target: float | None = None


def metric_in(config: Mapping[str, Any]) -> Metric | None:
    """The metric of a sweep's configuration, if it has one. W&B's goal is ``minimize`` where none is named."""
    return _metric(config.get("metric"))


def metrics_in(config: Mapping[str, Any]) -> tuple[Metric, ...]:
    """All metrics of a sweep's configuration: those of `metrics`, or the one of `metric`, or none."""
    several = config.get("metrics")
    entries = several if isinstance(several, list) else [config.get("metric")]
    return tuple(metric for entry in entries if (metric := _metric(entry)) is not None)


def _metric(entry: Any) -> Metric | None:
    name = entry.get("name") if isinstance(entry, Mapping) else None
    return Metric(str(name), str(entry.get("goal") or "minimize"), entry.get("target")) if name else None
