"""Lines that are drawn in place at the bottom of a terminal, while messages scroll by above them."""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

from ..output import message, printable

_LOOK = 0.25  # seconds between two looks at the terminal's size
_EVERY = 1.0  # seconds between two drawings
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")

#: width, height, colours, ASCII only -> lines
Draw = Callable[[int, int, bool, bool], list[str]]


class Screen:
    """Draws what ``draw`` gives again and again, by a thread of its own, until it is left. Nothing of it remains.

    ``before`` is called ahead of each drawing, for what takes its time. A defect in either ends the drawing, not the
    trials.
    """

    def __init__(self, draw: Draw, before: Callable[[], None] | None = None, stream: TextIO | None = None) -> None:
        self._draw, self._before = draw, before
        self._stream = stream or sys.stderr
        self._lines: list[str] = []
        self._size = (0, 0)
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live view", daemon=True)
        self._colours = not os.environ.get("NO_COLOR")
        self._plain = not (self._stream.encoding or "").lower().startswith("utf")

    def __enter__(self) -> Screen:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join(2.0)
        with self._lock:
            self._put([])

    def say(self, text: str) -> None:
        """A message, above the lines."""
        with self._lock:
            lines = self._lines
            self._put([])
            with suppress(OSError):
                self._stream.write(printable(text) + "\n")
            self._put(lines)

    def refresh(self) -> None:
        """Draw, if anything has changed."""
        columns, rows = self._terminal()
        lines = self._draw(columns - 1, max(1, rows - 1), self._colours, self._plain)  # the last cell would wrap
        with self._lock:
            if not self._ended.is_set() and (lines != self._lines or (columns, rows) != self._size):
                self._put(lines)

    def _run(self) -> None:
        drawn = 0.0
        while not self._ended.wait(_LOOK if drawn else 0.05):
            if time.monotonic() < drawn + _EVERY and self._terminal() == self._size:
                continue
            drawn = time.monotonic()
            try:
                if self._before:
                    self._before()
                self.refresh()
            except Exception as error:
                with self._lock:
                    self._put([])
                    message(f"the live view ended by a defect ({error!r}); trials go on. Please report this")
                return

    def _put(self, lines: list[str]) -> None:
        """Replace the lines that are there, in one write, so that nothing flickers."""
        columns, rows = self._terminal()
        text = ""
        if self._lines:
            narrower = columns < self._size[0]
            height = sum(_rows(line, columns) for line in self._lines) if narrower else len(self._lines)
            up = min(height, rows) - 1
            text = "\r" + (f"\x1b[{up}A" if up else "")
            if narrower:
                text += "\x1b[J"  # what was as wide as the terminal was broken by it
        text += "\n".join(f"{line}\x1b[K" for line in lines) + "\x1b[J"
        with suppress(OSError):  # the terminal is gone: whoever works here must not end for that
            self._stream.write(text)
            self._stream.flush()
        self._lines, self._size = lines, (columns, rows)

    def _terminal(self) -> tuple[int, int]:
        try:
            columns, rows = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            return 80, 24
        return columns or 80, rows or 24  # a terminal may not know


def _rows(line: str, columns: int) -> int:
    """The rows that a terminal makes of a line when it becomes narrower."""
    from rich.cells import cell_len

    return max(1, -(-cell_len(_COLOUR.sub("", line)) // max(1, columns)))
