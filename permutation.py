"""A seeded order of 0 .. size - 1 in which any place can be looked up, so that it is never listed.

A Feistel network over the pairs of halves of a number is a permutation whatever its rounds compute; results beyond
the size are permuted again until one lies within it (cycle walking; Black and Rogaway, "Ciphers with arbitrary finite
domains", 2002). The domain is less than four times the size, so that takes few steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from hashlib import shake_256

_ROUNDS = 8


@dataclass(frozen=True)
class Permutation:
    """The order that ``seed`` gives. ``at`` and ``position`` raise IndexError outside of 0 .. size - 1."""

    size: int
    seed: str

    def at(self, position: int) -> int:
        """What stands at a position."""
        return self._walk(position, backwards=False)

    def position(self, number: int) -> int:
        """Where a number stands: the inverse of ``at``."""
        return self._walk(number, backwards=True)

    def _walk(self, number: int, backwards: bool) -> int:
        if not 0 <= number < self.size:
            raise IndexError(f"{number} is not in an order of {self.size}")
        number = self._permuted(number, backwards)
        while number >= self.size:
            number = self._permuted(number, backwards)
        return number

    @cached_property
    def _bits(self) -> int:
        """Of a half: both halves together can hold every number below ``size``."""
        return max(1, ((self.size - 1).bit_length() + 1) // 2)

    def _permuted(self, number: int, backwards: bool) -> int:
        left, right = number >> self._bits, number & ((1 << self._bits) - 1)
        if backwards:
            for n in reversed(range(_ROUNDS)):
                left, right = right ^ self._mixed(n, left), left
        else:
            for n in range(_ROUNDS):
                left, right = right, left ^ self._mixed(n, right)
        return left << self._bits | right

    def _mixed(self, n: int, half: int) -> int:
        digest = shake_256(f"{self.seed}:{n}:{half:x}".encode()).digest((self._bits + 7) // 8)
        return int.from_bytes(digest, "big") >> (-self._bits % 8)
