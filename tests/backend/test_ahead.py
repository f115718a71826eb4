"""Suggestions that are worked out ahead: what is fresh, what is older, what nobody waits for. No store here."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from sweepkit.backend import ahead
from sweepkit.backend.ahead import Ahead
from sweepkit.backend.search import Engine, RunWithMetrics, make
from sweepkit.backend.search import settings as sweep_settings
from sweepkit.backend.search.bayes import Problem

CONFIG = {
    "method": "bayes",
    "metric": {"name": "loss", "goal": "minimize"},
    "parameters": {"x": {"min": 0.0, "max": 1.0}, "y": {"min": 0.0, "max": 1.0}},
}


def search_that_knows(runs: int) -> Engine:
    engine = make(sweep_settings.read(CONFIG), "seed")
    for _ in range(runs):
        (asked,) = engine.ask_n_runs(1) or ()
        tell(engine, asked.run_id, asked.config)
    return engine


def tell(engine: Engine, run_id: str, config: Any) -> None:
    loss = (config["x"] - 0.3) ** 2 + config["y"]
    engine.tell_run(run_id, RunWithMetrics(config, "finished", run_id, (loss,)))


def ask(engine: Engine, suggestions: Ahead, since: float | None = None) -> Any:
    """As the scheduler does."""
    since = time.monotonic() if since is None else since
    while (waiting := suggestions.awaited(since)) is not None:
        waiting.result(60)
    (asked,) = engine.ask_n_runs(1) or ()
    return asked


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Problems are solved once the event is set."""
    event, solve = threading.Event(), Problem.solve

    def wait(self: Problem) -> Sequence[dict[str, Any]]:
        assert event.wait(60)
        return solve(self)

    monkeypatch.setattr(Problem, "solve", wait)
    yield event
    event.set()


def test_it_is_what_the_search_would_have_said() -> None:
    by_itself, (asked,) = search_that_knows(6), search_that_knows(6).ask_n_runs(1) or ()
    assert ask(by_itself, Ahead(by_itself)).config == asked.config


def test_nothing_is_waited_for_where_nothing_is_known() -> None:
    engine = search_that_knows(0)
    assert Ahead(engine).awaited(time.monotonic()) is None
    assert search_that_knows(3).problem() is None
    assert search_that_knows(6).problem() is not None


def test_a_lone_agent_waits_for_the_newest(held: threading.Event) -> None:
    held.set()
    engine = search_that_knows(6)
    suggestions = Ahead(engine)
    first = ask(engine, suggestions)
    tell(engine, first.run_id, first.config)
    held.clear()
    waiting = suggestions.awaited(time.monotonic() - 10 * ahead.PATIENCE)
    assert waiting is not None and not waiting.done(), "older suggestions are there, and do not know the last run"


def test_one_of_several_takes_what_was_thought_before(held: threading.Event) -> None:
    held.set()
    engine = search_that_knows(8)
    suggestions = Ahead(engine)
    first, second = ask(engine, suggestions), ask(engine, suggestions)
    tell(engine, first.run_id, first.config)
    held.clear()
    assert suggestions.awaited(time.monotonic()) is not None, "at first it waits,"
    assert suggestions.awaited(time.monotonic() - 2 * ahead.PATIENCE) is None, "but not for long"
    (third,) = engine.ask_n_runs(1) or ()
    assert third.config not in (first.config, second.config)


def test_nobody_waits_for_ever(held: threading.Event) -> None:
    engine = make(sweep_settings.read(CONFIG), "seed")
    for one in engine.ask_n_runs(6) or ():
        tell(engine, one.run_id, one.config)
    suggestions = Ahead(engine)
    assert suggestions.awaited(time.monotonic()) is not None
    assert suggestions.awaited(time.monotonic() - 2 * ahead.LONGEST) is None
    assert len(engine.ask_n_runs(1) or ()) == 1


def test_a_search_that_fails_is_drawn_for(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def fail(self: Problem) -> Any:
        raise ArithmeticError("no such matrix")

    engine = search_that_knows(6)
    monkeypatch.setattr(Problem, "solve", fail)
    suggestions = Ahead(engine)
    waiting = suggestions.awaited(time.monotonic())
    assert waiting is not None and waiting.exception(60) is not None
    assert suggestions.awaited(time.monotonic()) is None
    assert len(engine.ask_n_runs(1) or ()) == 1
    assert "no such matrix" in caplog.text
