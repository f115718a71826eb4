"""Grid search: a counter over the space. The grid is never listed, however large it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ...permutation import Permutation
from ...space import canonical
from .interface import Engine, RunWithMetrics


@dataclass
class GridEngine(Engine):
    """Configurations in W&B's order: names sorted, the last one turning fastest; or shuffled by the seed.

    Where each is to be tried several times, the whole grid is walked as often, so that it is whole early. The counter
    is the ledger's, so that a restarted server goes on where it stood. What it has passed and what is free again since
    comes first.
    """

    @cached_property
    def _size(self) -> int:
        return self.space.grid_size()

    @cached_property
    def _order(self) -> Permutation | None:
        return Permutation(self._size, self.seed) if self.settings.shuffle else None

    def _propose(self) -> dict[str, Any] | None:
        for flat in self._released():
            if not self._is_taken(flat):
                return flat
        while self.ledger.position < self._size * self.settings.repeats:
            flat = self._at(self.ledger.position % self._size)
            self.ledger.position += 1
            if not self._is_taken(flat):
                return flat
        return None

    def _at(self, position: int) -> dict[str, Any]:
        return self.space.grid_at(self._order.at(position) if self._order else position)

    def _position(self, config: Mapping[str, Any]) -> int | None:
        """Where a configuration stands in the first walk; None for one that the grid does not have."""
        position = self.space.grid_position(self.space.flat(config))
        return self._order.position(position) if self._order and position is not None else position

    def _released(self) -> Iterator[dict[str, Any]]:
        """What deleted runs have given back of what the counter has passed."""
        for config in self.ledger.released():
            position = self._position(config)
            if position is not None and position < self.ledger.position:
                yield self._at(position)

    def _text(self, config: Mapping[str, Any]) -> str:
        position = self.space.grid_position(self.space.flat(config))
        if position is None:
            return super()._text(config)
        return canonical(self.space.configuration(self.space.grid_at(position)))

    def _forgotten(self, run: RunWithMetrics) -> None:
        """Walk again from there: what is taken is passed over, what was given back is found."""
        position = self._position(run.config)
        if position is not None:
            walks = self._tries(self._at(position))  # so many have passed it
            self.ledger.position = min(self.ledger.position, walks * self._size + position)
