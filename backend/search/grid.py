"""Grid search: a counter over the space. The grid is never listed, however large it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .interface import Engine, RunWithMetrics


@dataclass
class GridEngine(Engine):
    """Configurations in W&B's order: names sorted, the last one turning fastest.

    The counter is the ledger's, so that a restarted server goes on where it stood. What it has passed and what is free
    again since comes first.
    """

    @cached_property
    def _size(self) -> int:
        return self.space.grid_size()

    def _propose(self) -> dict[str, Any] | None:
        for flat in self._released():
            if not self._is_taken(flat):
                return flat
        while self.ledger.position < self._size:
            flat = self.space.grid_at(self.ledger.position)
            self.ledger.position += 1
            if not self._is_taken(flat):
                return flat
        return None

    def _released(self) -> Iterator[dict[str, Any]]:
        """What deleted runs have given back of what the counter has passed."""
        for config in self.ledger.released():
            position = self.space.grid_position(self.space.flat(config))
            if position is not None and position < self.ledger.position:
                yield self.space.grid_at(position)

    def _forgotten(self, run: RunWithMetrics) -> None:
        """Walk again from there: what is taken is passed over, what was given back is found."""
        position = self.space.grid_position(self.space.flat(run.config))
        if position is not None:
            self.ledger.position = min(self.ledger.position, position)
