"""What every figure shares: the look, numbers and texts, lines over x, and JSON that is safe in a page."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any, TypeGuard

Figure = dict[str, Any]
Point = tuple[float, float]
Row = Mapping[str, Any]

INK = "#3c4654"
GRID = "#e4e8ee"
PALETTE = ("#3b6fb6", "#e08a2e", "#3f9b6c", "#c2504c", "#8466b0", "#8a6a55", "#cc74ab", "#6f7782", "#a9a437", "#38a3b4")
MISSING = (None, "")


def plotly_script() -> str:
    """The text of plotly.min.js, from the installed plotly package: no network is asked."""
    return (files("plotly") / "package_data" / "plotly.min.js").read_text(encoding="utf-8")


def render(figure: Mapping[str, Any]) -> str:
    """``{data, layout}`` as JSON that is safe inside an HTML ``<script>``: ``<``, ``>``, ``&`` escaped, NaN as null."""
    text = json.dumps(_plain(figure), allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def curves(series: Mapping[str, Sequence[Point]], title: str, x_title: str = "step") -> Figure:
    """One line a series over x; points that are not finite are left out."""
    traces = [_curve(name, points, PALETTE[i % len(PALETTE)]) for i, (name, points) in enumerate(series.items())]
    named = len(traces) if 1 < len(traces) <= 16 else 0
    return {
        "data": traces,
        "layout": layout(
            title,
            height=320 + 10 * named,
            showlegend=named > 0,
            legend={"orientation": "h", "y": -0.25, "yanchor": "top", "font": {"size": 11}},
            xaxis={"title": {"text": x_title}, "gridcolor": GRID, "zeroline": False},
            yaxis={"gridcolor": GRID, "zeroline": False, "automargin": True},
        ),
    }


def thin(points: Sequence[Point], limit: int = 800) -> list[Point]:
    """At most ``limit`` points with the same outline: of each stretch the first, the lowest, the highest, the last."""
    if len(points) <= limit:
        return list(points)
    length = math.ceil(len(points) / max(1, limit // 4))
    kept: list[Point] = []
    for start in range(0, len(points), length):
        stretch = range(start, min(start + length, len(points)))
        low = min(stretch, key=lambda i: points[i][1])
        high = max(stretch, key=lambda i: points[i][1])
        kept += [points[i] for i in sorted({stretch[0], low, high, stretch[-1]})]
    return kept


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether ``value`` is a finite number; a boolean is none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def number(value: float) -> str:
    """A number with 4 significant digits."""
    return f"{value:.4g}"


def text_of(value: Any) -> str:
    """A value as a person reads it: numbers short, everything else as JSON, texts as they are."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return number(value)
    return json.dumps(value, ensure_ascii=False, default=str)


def share_of(value: float, low: float, high: float) -> float:
    return 0.5 if high == low else (value - low) / (high - low)


def label(text: object, longest: int = 60) -> str:
    """Plotly reads a few HTML tags in its texts; a user's text must be shown as it is."""
    short = str(text) if len(str(text)) <= longest else f"{str(text)[: longest - 1]}…"
    return short.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def layout(title: str, **more: Any) -> Figure:
    return {
        "title": {"text": label(title), "font": {"size": 14}, "x": 0.02, "xanchor": "left"},
        "font": {"family": "system-ui, sans-serif", "size": 12, "color": INK},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 56, "r": 20, "t": 46, "b": 48},
        "height": 320,
        "hovermode": "closest",
        **more,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _curve(name: str, points: Iterable[Point], colour: str) -> Figure:
    finite = [(x, y) for x, y in points if is_number(x) and is_number(y)]
    return {
        "type": "scatter",
        "mode": "lines+markers" if len(finite) <= 40 else "lines",
        "name": label(name, 32),
        "x": [x for x, _ in finite],
        "y": [y for _, y in finite],
        "line": {"color": colour, "width": 1.8},
        "marker": {"size": 4 if len(finite) > 2 else 8},
    }
