"""What one GraphQL document may cost: real documents pass, bombs do not, however they are wrapped."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator

import pytest
from graphql import parse, validate
from sweepkit.backend import limits
from sweepkit.backend.graphql import schema


def _check(query: str, **variables: object) -> None:
    document = parse(query)
    assert not validate(schema(), document)
    limits.check(document, variables)


ALIASES = "{" + " ".join(f"a{n}: viewer {{ id }}" for n in range(2000)) + "}"
NESTED = (
    "{ project { entity { user { teams { edges { node " + "{ user { teams { edges { node " * 6 + "{ id }" + "}}}}" * 6
)
DEEP = NESTED + "}}}}}}"
ROWS = """query ($n: Int) { project { runs(first: $n) { edges { node {
    files(first: $n) { edges { node { id } } } } } } } }"""
SPREAD = (
    "{ viewer { ...F0 } } "
    + " ".join(f"fragment F{n} on User {{ ...F{n + 1} a{n}: id ...F{n + 1} }}" for n in range(20))
    + " fragment F20 on User { id }"
)


@pytest.mark.parametrize(("query", "word"), [(ALIASES, "fields"), (DEEP, "deep"), (SPREAD, "fields")])
def test_bombs_are_refused(query: str, word: str) -> None:
    with pytest.raises(limits.TooMuch, match=word) as caught:
        _check(query)
    assert caught.value.status == 400


def test_rows_of_rows_are_refused_whether_literal_or_variable() -> None:
    with pytest.raises(limits.TooMuch, match="values"):
        _check(ROWS, n=1000)
    with pytest.raises(limits.TooMuch, match="values"):
        _check(ROWS.replace("$n: Int", "$n: Int = 1000"))
    with pytest.raises(limits.TooMuch, match="values"):
        _check(ROWS.replace("($n: Int)", "").replace("$n", "100000000000000000000"[:10]))
    _check(ROWS, n=50)


def test_the_clients_own_listing_of_runs_passes() -> None:
    fields = "id tags name displayName state config group jobType createdAt summaryMetrics historyKeys"
    _check(f"query ($n: Int) {{ project {{ runs(first: $n) {{ edges {{ node {{ {fields} }} }} }} }} }}", n=1000)


@pytest.mark.parametrize(
    "packed",
    [b"", b"no gzip", gzip.compress(b"x" * 100, mtime=0)[:-12], gzip.compress(b"x", mtime=0)[:10] + b"\xff" * 9],
)
def test_damaged_gzip_is_the_clients_fault(packed: bytes) -> None:
    if packed == b"":
        assert limits._unpack(packed, 10) == b""
        return
    with pytest.raises(limits.TooMuch) as caught:
        limits._unpack(packed, 1000)
    assert caught.value.status == 400


def test_unfinished_bodies_are_bounded_all_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three clients that send half of a body and wait: the third is told to come again, and then there is room."""
    monkeypatch.setattr(limits, "MOST_HELD", 2500)

    class Sending:
        headers: dict[str, str] = {}

        def __init__(self, go_on: asyncio.Event) -> None:
            self._go_on = go_on

        async def stream(self) -> AsyncIterator[bytes]:
            yield b"x" * 1000
            await self._go_on.wait()
            yield b""

    async def body(go_on: asyncio.Event) -> int:
        return len(await limits.body(Sending(go_on), 5000))  # type: ignore[arg-type]

    async def story() -> None:
        go_on = asyncio.Event()
        waiting = [asyncio.create_task(body(go_on)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(limits.TooMuch, match="try again") as caught:
            await body(go_on)
        assert caught.value.status == 503
        go_on.set()
        assert await asyncio.gather(*waiting) == [1000, 1000]
        assert await body(go_on) == 1000

    asyncio.run(story())
