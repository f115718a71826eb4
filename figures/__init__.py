"""Figures of runs, as plain Plotly JSON, and the statistics behind them. Used by the web pages and by ``compare``.

A figure is a dict of ``data`` and ``layout`` as plotly.js reads it, with SVG traces only, so that it draws under a
strict content security policy. Nothing heavy is imported before it is needed.
"""

from .drawing import Figure, Point, Row, curves, is_number, number, plotly_script, render, text_of, thin
from .front import front_figure
from .parallel_coordinates import parallel
from .parameter_importance import Importance, importance, importance_figure

__all__ = [
    "Figure",
    "Importance",
    "Point",
    "Row",
    "curves",
    "front_figure",
    "importance",
    "importance_figure",
    "is_number",
    "number",
    "parallel",
    "plotly_script",
    "render",
    "text_of",
    "thin",
]
