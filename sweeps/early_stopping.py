"""Early termination as status tells it: at which iterations runs are judged, by what, and who was stopped and why.

Worked out from what the runs have logged, which any backend gives. Why a run was stopped is in its notes where the
embedded backend decided it; elsewhere it is judged by the thresholds as they are now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..hyperband import Bands, HyperbandError, read_note
from ..output import aligned
from .best import better

if TYPE_CHECKING:
    from .metric import Metric
    from .wandb_api import Run

LISTED = 10  # stopped runs; JSON has all
Values = Mapping[str, Mapping[int, float]]  # by run id: the value at each band that it has reached


def bands_in(config: Mapping[str, Any]) -> Bands | None:
    """The bands of a sweep's configuration; None where it has no early termination that can be read."""
    if not config.get("early_terminate") or not config.get("metric"):
        return None
    try:
        return Bands.read(config["early_terminate"])
    except HyperbandError:
        return None


def explained(bands: Bands, metric: Metric, runs: Sequence[Run], values: Values) -> dict[str, Any]:
    """The documented keys: every band that a run has reached, and every run that was stopped, the latest last."""
    thresholds: dict[int, float] = {}
    reached: dict[int, int] = {}
    for band in bands.bands:
        there = sorted((found[band] for found in values.values() if band in found), reverse=metric.goal == "maximize")
        if there:
            thresholds[band], reached[band] = there[bands.rank(len(there))], len(there)
    stops = [stop for run in runs if (stop := _stop(run, metric, values.get(run.id, {}), thresholds))]
    rows = [
        {
            "iteration": band,
            "runs": reached[band],
            "threshold": threshold,
            "stopped": sum(stop["iteration"] == band for stop in stops),
        }
        for band, threshold in thresholds.items()
    ]
    return {"bands": rows, "stops": stops}


def _stop(run: Run, metric: Metric, values: Mapping[int, float], now: Mapping[int, float]) -> dict[str, Any] | None:
    """Why a run was stopped; None for one that was not, or by a person."""
    told = read_note(run.notes)
    if told is None and run.stopped and values:
        band = max(values)
        if better(now[band], values[band], metric):
            told = (band, values[band], now[band])
            return _record(run, told, exact=False)
    return _record(run, told, exact=True) if told else None


def _record(run: Run, told: tuple[int, float, float], exact: bool) -> dict[str, Any]:
    iteration, value, threshold = told
    named = {"id": run.id, "name": run.name}
    return {**named, "iteration": iteration, "value": value, "threshold": threshold, "exact": exact}


def lines(early: Mapping[str, Any] | None, metric: str) -> list[str]:
    """The same for people."""
    if not early or not early["bands"]:
        return []
    cells = [[row["iteration"], row["runs"], f"{row['threshold']:.6g}", row["stopped"]] for row in early["bands"]]
    found = ["", *aligned([["iteration", "runs there", f"{metric} to reach", "stopped"], *cells])]
    shown = early["stops"][-LISTED:][::-1]
    if shown:
        cells = [[each["name"], each["iteration"], f"{each['value']:.6g}", _threshold(each)] for each in shown]
        found += ["", *aligned([["stopped early", "iteration", metric, "to reach"], *cells])]
    more = len(early["stops"]) - len(shown)
    return [*found, *([f"… and {more} more; --format json has all"] if more else [])]


def _threshold(stop: Mapping[str, Any]) -> str:
    return f"{stop['threshold']:.6g}" + ("" if stop["exact"] else " (now)")
