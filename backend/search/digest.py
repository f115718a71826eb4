"""What a search needs of a metric's history, in a few numbers however long it is."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any


class Digest(Sequence[float]):
    """A history by its length, its values at the bands of early termination, its best, its worst and its last value.

    As a sequence it has the length of the history, and a value at every band and at its end. Going through it gives
    the kept values only; the best, the worst and the last of them are those of the whole history.
    """

    def __init__(self, bands: Collection[int] = ()) -> None:
        self._bands = frozenset(bands)
        self._at: dict[int, float] = {}
        self._length = 0
        self._extremes: tuple[float, ...] = ()
        self._last: tuple[float, ...] = ()

    def add(self, value: float) -> None:
        """The next value of the history, a finite number."""
        self._length += 1
        if self._length in self._bands:
            self._at[self._length] = value
        seen = (*self._extremes, value)
        self._extremes = (min(seen), max(seen))
        self._last = (value,)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[float]:
        return iter((*self._at.values(), *self._extremes, *self._last))

    def __getitem__(self, index: Any) -> Any:
        """The value at a band, counted from 0 as in any sequence, or the last one. Raises IndexError for others."""
        if self._last and index in (-1, self._length - 1):
            return self._last[0]
        try:
            return self._at[index + 1]
        except KeyError:
            raise IndexError(f"value {index} of {self._length} is not kept") from None
