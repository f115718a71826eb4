"""Search: which configuration to try next, which run to stop. One ask/tell interface, an engine for each method."""

from __future__ import annotations

from .hyperband import StopDecision
from .interface import Engine, Run, RunSuggestion, RunWithMetrics
from .ledger import Ledger, MemoryLedger, Outcome
from .metric import Metric
from .settings import Settings, SettingsError

__all__ = [
    "Engine",
    "Ledger",
    "MemoryLedger",
    "Metric",
    "Outcome",
    "Run",
    "RunSuggestion",
    "RunWithMetrics",
    "Settings",
    "SettingsError",
    "StopDecision",
    "make",
]


def make(settings: Settings, seed: str, ledger: Ledger | None = None) -> Engine:
    """The engine for a sweep's settings. ``seed`` makes its choices repeat.

    ``ledger`` knows the sweep's runs that are over; without one the engine starts anew and keeps them in memory.
    """
    ledger = MemoryLedger(settings) if ledger is None else ledger
    if settings.external:
        from .custom import CustomEngine

        return CustomEngine(settings, seed, ledger)
    if settings.method == "grid":
        from .grid import GridEngine

        return GridEngine(settings, seed, ledger)
    if settings.method == "random":
        from .random import RandomEngine

        return RandomEngine(settings, seed, ledger)
    from .bayes import BayesEngine  # Optuna takes half a second to import

    return BayesEngine(settings, seed, ledger)
