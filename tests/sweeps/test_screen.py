"""Drawing in place on a real pty: messages above, resizing, a defect, and nothing left at the end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TextIO

import pytest
from sweepkit.output import is_terminal
from sweepkit.sweeps.screen import Draw, Screen

from .terminal import Terminal


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    it = Terminal(40, 8)
    yield it
    it.close()


def stream_of(terminal: Terminal) -> TextIO:
    return os.fdopen(os.dup(terminal.theirs), "w", encoding="utf-8")


def drawing(state: dict[str, int]) -> Draw:
    def draw(width: int, height: int, colours: bool, plain: bool) -> list[str]:
        if state.get("broken"):
            raise ZeroDivisionError("on purpose")
        return [f"line {n} tick {state['tick']}".ljust(width, ".") for n in range(min(height, 3))]

    return draw


def test_lines_stay_below_the_messages_and_leave_nothing(terminal: Terminal) -> None:
    state = {"tick": 1}
    with stream_of(terminal) as stream:
        with Screen(drawing(state), stream=stream) as screen:
            rows = terminal.until(lambda rows: len(rows) == 3)
            assert rows[0] == "line 0 tick 1".ljust(39, ".")
            screen.say("one\x1b[2J")
            state["tick"] = 2
            terminal.until(lambda rows: rows[0] == "one\\x1b[2J" and "tick 2" in rows[1])
            screen.say("two")
            rows = terminal.until(lambda rows: len(rows) == 5)
            assert rows[:2] == ["one\\x1b[2J", "two"] and rows[4].startswith("line 2")
        assert terminal.until(lambda rows: len(rows) == 2) == ["one\\x1b[2J", "two"]


def test_it_writes_nothing_while_nothing_changes(terminal: Terminal) -> None:
    with stream_of(terminal) as stream:
        screen = Screen(drawing({"tick": 1}), stream=stream)
        screen.refresh()
        terminal.until(lambda rows: len(rows) == 3)
        before = terminal.bytes
        for _ in range(5):
            screen.refresh()
        terminal.read(0.1)
        assert terminal.bytes == before


def test_a_terminal_that_changes_its_size_gets_lines_that_fit(terminal: Terminal) -> None:
    with stream_of(terminal) as stream, Screen(drawing({"tick": 1}), stream=stream):
        terminal.until(lambda rows: len(rows) == 3)
        terminal.resize(70, 8)
        terminal.until(lambda rows: [len(row) for row in rows] == [69] * 3)
        terminal.resize(70, 3)
        terminal.until(lambda rows: len(rows) == 2)


def test_a_defect_ends_the_drawing_and_nothing_else(terminal: Terminal, capsys: pytest.CaptureFixture[str]) -> None:
    state = {"tick": 1}
    with stream_of(terminal) as stream, Screen(drawing(state), stream=stream) as screen:
        terminal.until(lambda rows: len(rows) == 3)
        state["broken"] = 1
        terminal.until(lambda rows: rows == [])
        screen.say("trials go on")
        terminal.until(lambda rows: rows == ["trials go on"])
    assert "ended by a defect (ZeroDivisionError('on purpose'))" in capsys.readouterr().err


def test_a_terminal_that_is_gone_ends_nobody_s_work(terminal: Terminal) -> None:
    stream = stream_of(terminal)
    with Screen(drawing({"tick": 1}), stream=stream) as screen:
        terminal.until(lambda rows: len(rows) == 3)
        terminal.close()
        screen.say("nobody sees this")
        screen.refresh()
    with suppress(OSError):  # what could not be written
        stream.close()


def test_what_is_no_terminal(terminal: Terminal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with os.fdopen(os.dup(terminal.theirs), "w") as stream, (tmp_path / "file").open("w") as file:
        monkeypatch.setenv("TERM", "xterm")
        assert is_terminal(stream) and not is_terminal(file)
        monkeypatch.setenv("TERM", "dumb")
        assert not is_terminal(stream)
