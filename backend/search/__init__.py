"""Search: which configuration to try next, which run to stop. One ask/tell interface, an engine for each method."""

from __future__ import annotations

from .hyperband import StopDecision
from .interface import Engine, Run, RunSuggestion, RunWithMetrics
from .metric import Metric
from .settings import Settings, SettingsError

__all__ = [
    "Engine",
    "Metric",
    "Run",
    "RunSuggestion",
    "RunWithMetrics",
    "Settings",
    "SettingsError",
    "StopDecision",
    "make",
]


def make(settings: Settings, seed: str) -> Engine:
    """The engine for a sweep's settings, knowing no run yet. ``seed`` makes its choices repeat."""
    if settings.external:
        from .custom import CustomEngine

        return CustomEngine(settings, seed)
    if settings.method == "grid":
        from .grid import GridEngine

        return GridEngine(settings, seed)
    if settings.method == "random":
        from .random import RandomEngine

        return RandomEngine(settings, seed)
    from .bayes import BayesEngine  # Optuna takes half a second to import

    return BayesEngine(settings, seed)
