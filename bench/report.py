"""The figures of a benchmark: a table for people, JSON for programs."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """One measured thing. ``ratio`` says how many times better than the peer: above 1 is better."""

    what: str
    unit: str
    ours: float
    peer: str = ""
    theirs: float | None = None
    goal: str = ""
    more_is_better: bool = True

    @property
    def ratio(self) -> float | None:
        if not self.theirs or not self.ours:
            return None
        return self.ours / self.theirs if self.more_is_better else self.theirs / self.ours


@dataclass
class Report:
    """Figures as they come; each is printed at once."""

    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _headed: bool = False

    def add(self, figure: Figure) -> None:
        self.figures.append(figure)
        if not self._headed:
            print(f"{'what':58}  {'sweepkit':>12}  {'peer':>24}  {'ratio':>8}  goal")
            self._headed = True
        theirs = "-" if figure.theirs is None else f"{_number(figure.theirs)} {figure.peer}"
        ratio = "-" if figure.ratio is None else f"{figure.ratio:,.1f}x"
        what = f"{figure.what} ({figure.unit})"
        print(f"{what:58}  {_number(figure.ours):>12}  {theirs:>24}  {ratio:>8}  {figure.goal}", flush=True)

    def note(self, text: str) -> None:
        self.notes.append(text)
        print(f"  {text}", flush=True)

    def save(self, file: Path, **more: object) -> None:
        figures = [{**asdict(figure), "ratio": figure.ratio} for figure in self.figures]
        file.write_text(json.dumps({"machine": machine(), **more, "figures": figures, "notes": self.notes}, indent=2))


def machine() -> dict[str, object]:
    return {
        "cores": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "platform": platform.platform(),
        "python": sys.version.split()[0],
        "sqlite": sqlite3.sqlite_version,
    }


def middle(seconds: Sequence[float]) -> float:
    """The median, in milliseconds."""
    return statistics.median(seconds) * 1000


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.1f}" if value >= 1 else f"{value:.2f}"
