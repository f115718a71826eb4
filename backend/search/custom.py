"""No search of the server's own: another process (W&B's local controller or sweep scheduler) enqueues the runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .interface import Engine, RunSuggestion


class CustomEngine(Engine):
    """Always says later."""

    def ask_n_runs(self, n: int) -> Sequence[RunSuggestion] | None:
        return None

    def _propose(self) -> dict[str, Any] | None:
        return None
