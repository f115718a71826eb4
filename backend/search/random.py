"""Random search: independent draws, repeatable by the seed, never the same configuration twice."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import Any

from ...space import Space
from .interface import Engine

_DRAWS = 200
_LAST_DRAWS = 5000  # before what is left of a space is held to be out of reach
_LISTABLE = 100_000
_LISTED = frozenset({"constant", "categorical", "int_uniform"})


class RandomEngine(Engine):
    """Draws from the space's distributions."""

    def _next(self) -> dict[str, Any] | None:
        return self._again() or super()._next()

    def _propose(self) -> dict[str, Any] | None:
        return self._draw()

    def _again(self) -> dict[str, Any] | None:
        """The newest configuration of the space that has not been tried as often as was asked for."""
        if self.settings.repeats == 1:
            return None
        for config in (*(run.config for run in reversed(self._runs.values())), self.ledger.newest() or {}):
            flat = self.space.flat(config)
            if self.space.holds(flat) and not self._is_taken(flat):
                return flat
        return None

    def _draw(self) -> dict[str, Any] | None:
        """A random configuration that is not taken, or None when none is left."""
        if self._is_used_up():
            return None
        rng = random.Random(f"{self.seed}:{self._known_runs()}")
        drawn = self._first_free(self.space.sample(rng) for _ in range(_DRAWS))
        if drawn is not None:
            return drawn
        if _is_listable(self.space):
            free = [flat for flat in _listed(self.space) if not self._is_taken(flat)]
            return rng.choice(free) if free else None
        return self._first_free(self.space.sample(rng) for _ in range(_LAST_DRAWS))

    def _first_free(self, drawn: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
        return next((flat for flat in drawn if not self._is_taken(flat)), None)

    def _is_used_up(self) -> bool:
        """Whether all is taken. Runs from outside the space count too, so what can be listed is looked through."""
        size = self.space.size()
        if size is None or self._known_runs() < size * self.settings.repeats or not _is_listable(self.space):
            return False
        return self._first_free(_listed(self.space)) is None


def _listed(space: Space) -> Iterator[dict[str, Any]]:
    return map(space.grid_at, range(space.grid_size()))


def _is_listable(space: Space) -> bool:
    known = all(parameter.distribution in _LISTED for parameter in space.parameters)
    return known and space.grid_size() <= _LISTABLE
