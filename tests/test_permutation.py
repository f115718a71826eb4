"""A seeded order: a true permutation of any size, and no order is favoured."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sweepkit.permutation import Permutation


@given(size=st.integers(1, 400), seed=st.text(max_size=5))
def test_it_holds_every_number_once(size: int, seed: str) -> None:
    order = Permutation(size, seed)
    assert sorted(order.at(n) for n in range(size)) == list(range(size))


@given(size=st.integers(1, 10**400), share=st.fractions(0, 1), seed=st.integers())
def test_places_are_found_again_however_large_it_is(size: int, share: float, seed: int) -> None:
    order = Permutation(size, str(seed))
    number = min(int(share * size), size - 1)
    assert 0 <= order.at(number) < size
    assert order.position(order.at(number)) == number == order.at(order.position(number))


@pytest.mark.parametrize("number", [-1, 5])
def test_what_is_outside_is_refused(number: int) -> None:
    order = Permutation(5, "s")
    with pytest.raises(IndexError, match="order of 5"):
        order.at(number)
    with pytest.raises(IndexError, match="order of 5"):
        order.position(number)


def test_every_order_of_four_comes_about_as_often() -> None:
    """24 orders, 2,400 seeds: each is expected 100 times; chi-squared of 23 degrees is below 60 but for 4e-5."""
    found = Counter(tuple(Permutation(4, str(seed)).at(n) for n in range(4)) for seed in range(2400))
    assert sum((found[each] - 100) ** 2 / 100 for each in permutations(range(4))) < 60


def test_neighbours_are_torn_apart() -> None:
    """The mean distance of two numbers drawn from 0 .. n is n / 3."""
    order = Permutation(10_000, "s")
    walk = [order.at(n) for n in range(2000)]
    mean = sum(abs(one - other) for one, other in zip(walk, walk[1:], strict=False)) / 1999
    assert 3000 < mean < 3700
