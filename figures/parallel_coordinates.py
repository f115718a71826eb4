"""Parallel coordinates of runs, drawn as plain lines.

Plotly's own parallel coordinates need WebGL and ``eval``, which the pages' content security policy forbids.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .drawing import MISSING, Figure, Row, is_number, label, layout, number, share_of, text_of

# From poor to good; readable on white and on black, and for the colour-blind (after ColorBrewer's YlGnBu, darkened).
SCALE = ((0.0, "#e9b64d"), (0.35, "#8fb876"), (0.7, "#3593a0"), (1.0, "#3558b8"))
_SHADES = 24  # lines of one shade share one trace, so that a thousand runs are still a small figure


def parallel(
    rows: Sequence[Row], dimensions: Sequence[str], metric: str, goal: str = "minimize", name: str = "name"
) -> Figure:
    """Parallel coordinates: an axis a dimension and the metric last, one line a run, coloured by the metric.

    ``goal`` is ``maximize`` or ``minimize``: the better a run, the darker its line; the best one is drawn thick.
    ``rows[i][name]`` is shown under the pointer. Runs without a finite metric are left out, as in W&B's chart.
    """
    shown = [row for row in rows if is_number(row.get(metric))]
    axes = [_Axis.of(key, [row.get(key) for row in shown]) for key in (*dimensions, metric)]
    best_first = sorted(shown, key=lambda row: row[metric], reverse=goal == "maximize")
    values = [float(row[metric]) for row in shown]
    shaded: dict[int, list[Row]] = {}
    for row in reversed(best_first):
        shaded.setdefault(_shade(float(row[metric]), values, goal), []).append(row)
    traces = [_lines(group, axes, name, _colour(shade / (_SHADES - 1)), 1.4) for shade, group in sorted(shaded.items())]
    if best_first:
        traces.append(_lines(best_first[:1], axes, name, _colour(1.0), 3.5))
        traces.append(_colour_bar(metric, values, goal))
    return {"data": traces, "layout": _parallel_layout(axes)}


@dataclass(frozen=True)
class _Axis:
    """One vertical axis of parallel coordinates: where a value lies on it, from 0 to 1, and its ticks."""

    key: str
    low: float
    high: float
    log: bool
    categories: tuple[str, ...]  # empty for numbers

    @classmethod
    def of(cls, key: str, values: Sequence[Any]) -> _Axis:
        given = [value for value in values if value not in MISSING]
        if not given or not all(is_number(value) for value in given):
            return cls(key, 0, 1, False, tuple(sorted({text_of(value) for value in given})))
        low, high = float(min(given)), float(max(given))
        crowded = sorted(given)[len(given) // 2] - low < 0.3 * (high - low)  # most values lie at the lower end
        return cls(key, low, high, low > 0 and high / low >= 50 and crowded, ())

    def place(self, value: Any) -> float | None:
        if value in MISSING:
            return None
        if self.categories:
            return share_of(self.categories.index(text_of(value)), 0, len(self.categories) - 1)
        if self.log:
            return share_of(math.log(value), math.log(self.low), math.log(self.high))
        return share_of(float(value), self.low, self.high)

    def ticks(self) -> list[tuple[float, str]]:
        if self.categories:
            return [(self.place(value) or 0.0, value) for value in self.categories]
        if self.low == self.high:
            return [(0.5, number(self.low))]
        return [(i / 4, f"{self._value(i / 4):.3g}") for i in range(5)]

    def _value(self, share: float) -> float:
        if self.log:
            return self.low * (self.high / self.low) ** share
        return self.low + (self.high - self.low) * share


def _shade(value: float, values: Sequence[float], goal: str) -> int:
    share = share_of(value, min(values), max(values))
    return round((share if goal == "maximize" else 1 - share) * (_SHADES - 1))


def _colour(share: float) -> str:
    """The colour at ``share`` of the scale, between its two neighbours."""
    upper = next(i for i, (at, _) in enumerate(SCALE) if at >= share)
    (low, first), (high, second) = SCALE[max(upper - 1, 0)], SCALE[upper]
    part = share_of(share, low, high) if upper else 0.0
    channels = [(int(first[i : i + 2], 16), int(second[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(a + (b - a) * part):02x}" for a, b in channels)


def _lines(rows: Sequence[Row], axes: Sequence[_Axis], name: str, colour: str, width: float) -> Figure:
    """One trace for all ``rows``: the gap after each row is a null, which ends its line."""
    places: list[float | None] = []
    texts: list[str] = []
    for row in rows:
        places += [*(axis.place(row.get(axis.key)) for axis in axes), None]
        head = f"<b>{label(row.get(name, ''))}</b><br>"
        texts += [*(f"{head}{label(axis.key)}: {label(text_of(row.get(axis.key)))}" for axis in axes), ""]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "x": [*range(len(axes)), None] * len(rows),
        "y": places,
        "text": texts,
        "hoverinfo": "text",
        "line": {"color": colour, "width": width},
        "marker": {"size": 4 + width, "color": colour},
        "opacity": 0.85,
        "showlegend": False,
    }


def _colour_bar(metric: str, values: Sequence[float], goal: str) -> Figure:
    """An invisible point that carries the bar from poor to good."""
    scale = [[at, colour] for at, colour in SCALE]
    bar = {
        "title": {"text": label(metric), "side": "right"},
        "thickness": 10,
        "len": 0.9,
        "outlinewidth": 0,
        "x": 1.03,
    }
    marker = {
        "size": 0.1,
        "color": [values[0]],
        "cmin": min(values),
        "cmax": max(values),
        "colorscale": scale,
        "reversescale": goal != "maximize",
        "showscale": len(set(values)) > 1,
        "colorbar": bar,
    }
    point = {"type": "scatter", "mode": "markers", "x": [0], "y": [None], "marker": marker}
    return {**point, "hoverinfo": "skip", "showlegend": False}


def _parallel_layout(axes: Sequence[_Axis]) -> Figure:
    last = len(axes) - 1
    posts = [
        {"type": "line", "x0": i, "x1": i, "y0": 0, "y1": 1, "layer": "below", "line": {"color": "#9aa3af", "width": 1}}
        for i in range(len(axes))
    ]
    notes = [
        {
            "x": i,
            "y": y,
            "text": label(text),
            "showarrow": False,
            "xanchor": "left" if i < last else "right",
            "xshift": 6 if i < last else -6,
            "font": {"size": 11},
            "yanchor": "bottom",
        }
        for i, axis in enumerate(axes)
        for y, text in axis.ticks()
    ]
    names = {"tickvals": list(range(len(axes))), "ticktext": [label(axis.key) for axis in axes]}
    return layout(
        "Parallel coordinates",
        height=380,
        showlegend=False,
        shapes=posts,
        annotations=notes,
        xaxis={**names, "range": [-0.08, last + 0.08], "showgrid": False, "zeroline": False, "side": "bottom"},
        yaxis={"range": [-0.05, 1.09], "visible": False, "fixedrange": True},
        margin={"l": 40, "r": 90, "t": 46, "b": 48},
    )
