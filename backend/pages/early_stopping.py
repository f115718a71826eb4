"""What a sweep's page says of early termination: where runs were judged, by what, and which were stopped."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from ..search.settings import Settings
from ..storage import bands as stored_bands
from ..storage import trials
from .data import Rows

SHOWN = 50  # stopped runs, the latest first


@dataclass(frozen=True)
class Band:
    """``iteration`` counts logged values of the metric; ``threshold`` is what a run must reach there as it is now."""

    iteration: int
    runs: int
    threshold: float
    stopped: int


@dataclass(frozen=True)
class EarlyStopping:
    """The bands that runs have reached, and the latest of the runs that were stopped, as the store has them."""

    bands: Sequence[Band]
    stops: Sequence[sqlite3.Row]


def shown(rows: Rows, sweep_id: int, asked: Settings | None) -> EarlyStopping | None:
    """None for a sweep without early termination, and while no run has come to be judged."""
    if asked is None or asked.early is None or asked.metric is None:
        return None
    order = stored_bands.Order(asked.early.rank, asked.metric.maximize)
    stopped = trials.stopped_by_band(rows, sweep_id)
    bands = [
        Band(band, place.runs, place.threshold, stopped.get(band, 0))
        for band in asked.early.bands
        if (place := stored_bands.place(rows, sweep_id, band, order)) is not None
    ]
    return EarlyStopping(bands, trials.stopped(rows, sweep_id, SHOWN)) if bands else None
