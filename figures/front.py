"""Runs by two of their metrics, with the front of those that no other run beats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .drawing import GRID, INK, PALETTE, Figure, Row, is_number, label, layout, text_of


def front_figure(rows: Sequence[Row], x: str, y: str, goals: Sequence[str], joined: bool = True) -> Figure:
    """A point a run over the metrics ``x`` and ``y``, whose ``goals`` are ``maximize`` or ``minimize``.

    ``rows[i]["front"]`` is 1 for the runs of the front; ``rows[i]["name"]`` is shown under the pointer. Where these two
    metrics are all that there are, the front is ``joined`` by the line that parts what it beats from what none reached.
    """
    shown = [row for row in rows if is_number(row.get(x)) and is_number(row.get(y))]
    best = sorted((row for row in shown if row.get("front") == 1), key=lambda row: (row[x], row[y]))
    others = [row for row in shown if row.get("front") != 1]
    traces = []
    if others:
        traces.append({**_points(others, x, y), "name": "other runs", "marker": {"size": 7, "color": "#aab3bf"}})
    front = {**_points(best, x, y), "name": "front", "marker": {"size": 11, "color": PALETTE[0]}}
    if joined and len(best) > 1:
        shape = "vh" if goals[0] == "maximize" else "hv"
        front |= {"mode": "lines+markers", "line": {"shape": shape, "width": 1.5, "color": PALETTE[0]}}
    traces.append(front)
    axes = {
        f"{axis}axis": {"title": {"text": label(f"{name} ({goal})")}, "gridcolor": GRID, "zeroline": False}
        for axis, name, goal in (("x", x, goals[0]), ("y", y, goals[1]))
    }
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 1, "xanchor": "right", "font": {"color": INK}}
    return {"data": traces, "layout": layout(f"{y} and {x}", height=380, showlegend=True, legend=legend, **axes)}


def _points(rows: Sequence[Row], x: str, y: str) -> Figure:
    def told(row: Row) -> str:
        values = "".join(f"<br>{label(name)}: {label(text_of(row[name]))}" for name in (x, y))
        return f"<b>{label(row.get('name', ''))}</b>{values}"

    found: dict[str, Any] = {"type": "scatter", "mode": "markers", "hoverinfo": "text"}
    return {
        **found,
        "x": [row[x] for row in rows],
        "y": [row[y] for row in rows],
        "text": [told(row) for row in rows],
    }
