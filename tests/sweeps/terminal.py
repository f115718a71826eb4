"""A terminal to look at: a real pty, and what would stand on its screen, as far as sweepkit steers it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import termios
import time
from collections.abc import Callable

_TOKEN = re.compile(r"\x1b\[([0-9;]*)([A-Za-z])|(\r)|(\n)|([^\x1b\r\n]+)")


class Terminal:
    """``theirs`` is the end for the program; ``rows()`` is the screen, and what scrolled off its top."""

    def __init__(self, columns: int = 80, rows: int = 24) -> None:
        self.ours, self.theirs = pty.openpty()
        self.resize(columns, rows)
        self.bytes = 0
        self._lines: list[str] = [""]
        self._row = self._column = 0
        self._rest = b""

    def resize(self, columns: int, rows: int) -> None:
        self.columns = columns
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, seconds: float = 0.0) -> None:
        """Take in what was written; waits for it for ``seconds``."""
        while select.select([self.ours], [], [], seconds)[0]:
            try:
                data = os.read(self.ours, 65536)
            except OSError:  # the program is gone
                return
            self.bytes += len(data)
            text = (self._rest + data).decode("utf-8", "replace")
            self._rest = b""
            for number, letter, back, down, words in _TOKEN.findall(text):
                self._obey(number, letter, back, down, words)
            seconds = 0.0

    def _obey(self, number: str, letter: str, back: str, down: str, words: str) -> None:
        if letter == "A":
            self._row = max(0, self._row - int(number or 1))
        elif letter == "K":
            self._lines[self._row] = self._lines[self._row][: self._column]
        elif letter == "J":
            self._lines[self._row] = self._lines[self._row][: self._column]
            del self._lines[self._row + 1 :]
        elif back:
            self._column = 0
        elif down:
            self._row += 1
            self._lines += [""] * (self._row + 1 - len(self._lines))
        elif words:
            line = self._lines[self._row].ljust(self._column)
            self._lines[self._row] = line[: self._column] + words + line[self._column + len(words) :]
            self._column += len(words)
            assert self._column <= self.columns, f"a line is too long: {self._lines[self._row]!r}"

    def rows(self) -> list[str]:
        self.read()
        return [line.rstrip() for line in self._lines if line.strip()]

    def until(self, condition: Callable[[list[str]], object], seconds: float = 60) -> list[str]:
        """The screen, once it is as ``condition`` wants it."""
        deadline = time.monotonic() + seconds
        while not condition(self.rows()):
            assert time.monotonic() < deadline, "\n".join(self.rows())
            self.read(0.1)
        return self.rows()

    def close(self) -> None:
        for end in (self.ours, self.theirs):
            try:
                os.close(end)
            except OSError:
                continue
