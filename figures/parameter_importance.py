"""How much each hyperparameter matters for a metric."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .drawing import GRID, MISSING, PALETTE, Figure, Row, is_number, label, layout, text_of


@dataclass(frozen=True)
class Importance:
    """What a parameter means for a metric.

    ``importance``: its share in a random forest's decisions, 0 to 1, all together 1.
    ``correlation``: Spearman's rank correlation with the metric, -1 to 1, so that a logarithmic scale changes nothing.
    """

    importance: float
    correlation: float


def importance(rows: Sequence[Row], parameters: Sequence[str], metric: str) -> dict[str, Importance]:
    """How much each parameter matters for ``metric``, most important first.

    A parameter that is not a number gets an entry a value, ``optimizer=Adam``, as on W&B's parameter importance
    panel. Parameters that never change are left out. Fewer than 4 runs with a finite metric tell nothing: empty.
    """
    shown = [row for row in rows if is_number(row.get(metric))]
    columns = {key: column for parameter in parameters for key, column in _columns(parameter, shown).items()}
    columns = {key: column for key, column in columns.items() if len(set(column)) > 1}
    target = [float(row[metric]) for row in shown]
    if len(shown) < 4 or not columns:
        return {}
    from sklearn.ensemble import RandomForestRegressor

    forest = RandomForestRegressor(n_estimators=100, random_state=0, n_jobs=1)
    forest.fit([list(values) for values in zip(*columns.values(), strict=True)], target)
    shares = dict(zip(columns, forest.feature_importances_, strict=True))
    ranked = sorted(columns, key=lambda key: -shares[key])
    return {key: Importance(float(shares[key]), _spearman(columns[key], target)) for key in ranked}


def importance_figure(found: Mapping[str, Importance], metric: str) -> Figure:
    """Bars of importance, coloured by the sign of the correlation; the most important on top."""
    keys = list(found)[::-1]
    bar = {
        "type": "bar",
        "orientation": "h",
        "y": [label(key) for key in keys],
        "x": [found[key].importance for key in keys],
        "marker": {"color": [PALETTE[2] if found[key].correlation >= 0 else PALETTE[3] for key in keys]},
        "text": [f"correlation {found[key].correlation:+.2f}" for key in keys],
        "textposition": "auto",
        "hoverinfo": "x+y+text",
    }
    look = layout(
        f"Parameter importance for {label(metric)}",
        height=130 + 34 * len(keys),
        showlegend=False,
        xaxis={"title": {"text": "importance"}, "gridcolor": GRID, "rangemode": "tozero"},
        yaxis={"type": "category", "automargin": True},
    )
    return {"data": [bar] if keys else [], "layout": look}


def _columns(parameter: str, rows: Sequence[Row]) -> dict[str, list[float]]:
    """A parameter as numbers: itself with its median for what is missing, or a 0/1 column for each of its values."""
    values = [row.get(parameter) for row in rows]
    numbers = sorted(value for value in values if is_number(value))
    unknown = [v for v in values if v not in MISSING and not (isinstance(v, float) and not math.isfinite(v))]
    if numbers and len(numbers) == len(unknown):
        median = float(numbers[len(numbers) // 2])
        return {parameter: [float(v) if is_number(v) else median for v in values]}
    texts = ["" if value in MISSING else text_of(value) for value in values]
    return {f"{parameter}={text}": [float(other == text) for other in texts] for text in sorted(set(texts) - {""})}


def _spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's rank correlation (Pearson's on average ranks); 0 where one of them is constant."""
    a, b = _ranks(first), _ranks(second)
    mean = (len(a) + 1) / 2
    spread = math.sqrt(sum((x - mean) ** 2 for x in a) * sum((y - mean) ** 2 for y in b))
    return sum((x - mean) * (y - mean) for x, y in zip(a, b, strict=True)) / spread if spread else 0.0


def _ranks(values: Sequence[float]) -> list[float]:
    places: dict[float, list[int]] = {}
    for place, value in enumerate(sorted(values), start=1):
        places.setdefault(value, []).append(place)
    return [sum(places[value]) / len(places[value]) for value in values]
