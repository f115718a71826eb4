"""Nobody is taken for dead by a backend that could not hear: one that was frozen, or whose clock was set."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
from sweepkit.backend import clock, silence
from sweepkit.backend.storage import agents
from sweepkit.backend.storage.database import Database
from sweepkit.sweeps.backends import Backend
from sweepkit.sweeps.wandb_api import WandbApi

from .conftest import Launched


class Clocks:
    """The two clocks of a machine, in the hands of a test."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.steady, self.wall = 1000.0, time.time()
        patch.setattr(silence.time, "monotonic", lambda: self.steady)
        patch.setattr(silence.time, "time", lambda: self.wall)

    def go(self, steady: float, wall: float | None = None) -> None:
        self.steady += steady
        self.wall += steady if wall is None else wall


async def look(listening: silence.Listening, set_back: Callable[[], object] = lambda: None) -> None:
    """One look of the watch; it goes on watching."""
    watch = asyncio.ensure_future(listening.watch(set_back))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    looked, since = listening._looked, listening._since
    watch.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watch
    listening._looked, listening._since = looked, since


@pytest.mark.parametrize("lapse", [(3600.0, 3600.0), (0.5, 3600.0), (0.5, -3600.0), (3600.0, 0.5)])
def test_after_a_lapse_everybody_has_the_whole_time_again(
    monkeypatch: pytest.MonkeyPatch, lapse: tuple[float, float]
) -> None:
    """The process was frozen, the host slept (the monotonic clock stands still then), or the clock was set."""
    clocks, listening = Clocks(monkeypatch), silence.Listening()
    assert listening.before(60) > clock.ago(61), "one that nobody watches always listened"
    asyncio.run(look(listening))
    assert listening.before(60) == "", "it has just begun to listen"
    for _ in range(121):
        clocks.go(0.5)
        asyncio.run(look(listening))
    assert listening.before(60) > clock.ago(61)
    clocks.go(*lapse)
    assert listening.before(60) == "", "the first request comes before the watch looks again"
    for _ in range(121):
        clocks.go(0.5)
        asyncio.run(look(listening))
    assert listening.before(60) != ""


def test_a_clock_that_was_set_back_leaves_no_times_in_the_future(
    monkeypatch: pytest.MonkeyPatch, store: Database
) -> None:
    clocks, listening, told = Clocks(monkeypatch), silence.Listening(), []
    asyncio.run(look(listening, lambda: told.append(1)))
    clocks.go(0.5, 0.5)
    asyncio.run(look(listening, lambda: told.append(1)))
    assert told == []
    clocks.go(0.5, -3600)
    asyncio.run(look(listening, lambda: told.append(1)))
    assert told == [1]


def test_times_in_the_future_become_now(store: Database) -> None:
    from sweepkit.backend.graphql import sweep_changes

    wanted = sweep_changes.read({"config": json.dumps({"method": "random", "parameters": {"x": {"values": [1]}}})})
    sweep = store.write(lambda conn: sweep_changes.apply(conn, wanted, "me"))
    agent = store.write(lambda conn: agents.create(conn, sweep["id"], "host"))["id"]
    store.write(lambda conn: conn.execute("UPDATE agents SET heartbeat_at = ?", (clock.ago(-3600),)))
    store.write(agents.forget_future)
    row = agents.by_id(store.read(), agent)
    assert row is not None and clock.ago(5) < row["heartbeat_at"] <= clock.now()


def test_a_backend_that_was_frozen_takes_no_trial_away(launch: Callable[..., Launched]) -> None:
    """Longer than a lease; the agent that waits for work is the first to be heard afterwards."""
    server = launch(SWEEPKIT_AGENT_LOST_AFTER="3")
    api: Any = WandbApi(Backend("embedded", server.url, server.key, server.entity))
    ref = api.create_sweep({"method": "grid", "parameters": {"a": {"values": [1]}}}, "frozen")
    busy, idle = (api.create_agent(ref, host) for host in "ab")
    (command,) = api.heartbeat(busy, {})
    server.process.send_signal(signal.SIGSTOP)
    time.sleep(4)
    server.process.send_signal(signal.SIGCONT)
    assert api.heartbeat(idle, {}) == []
    assert api.heartbeat(busy, {command["run_id"]: True}) == []
    deadline = time.monotonic() + 30
    while not (taken := api.heartbeat(idle, {})):  # now the busy one is silent indeed
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert taken[0]["run_id"] == command["run_id"] and taken[0]["lease"] == 2
