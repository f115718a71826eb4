"""What a run wrote, from wherever it is whole: the file of a trial of this host, or the backend's console lines."""

from __future__ import annotations

import os
import re
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TextIO

from ..home import home
from ..moments import moment
from ..output import printable
from .agents.bounded_log import left_out, moved

if TYPE_CHECKING:
    from .wandb_api import Run, WandbApi

ALIVE = ("pending", "running", "preempting")
FILE_PAUSE, BACKEND_PAUSE = 0.25, 2.0  # seconds between two looks at what is followed
_LATE = 120.0  # seconds by which a run may outlive what it writes: it sends files, and clocks differ
_STATE_PAUSE = 2.0  # seconds between two looks at the run's state
_BLOCK = 2**16  # bytes
_LONGEST = 2**20  # bytes of a line without an end that are kept together
_TAIL = 1000  # lines that W&B's servers give of the end
_COLOUR = re.compile(r"(\x1b\[[0-9;]*m)")
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")  # ECMA-48, and OSC


class Source(Protocol):
    """Where a run's lines come from."""

    pause: float

    def more(self) -> Iterator[str]:
        """The lines that came since the last call, each whole."""

    def rest(self) -> str:
        """The line that has no end yet, or may still change: a progress bar."""


def show(api: WandbApi, run: Run, last: int | None = None, follow: bool = False, out: TextIO | None = None) -> int:
    """Write the log of ``run`` to ``out`` (standard output), its ``last`` lines only or all; how many lines it had.

    ``follow`` goes on until the run has ended. Of a progress bar, what it showed last is written; on a terminal it
    moves. What would steer a terminal is left out, but for colours on a terminal.
    """
    file = local_log(api, run)
    source: Source = FileLog(file, last) if file else BackendLog(api, run, last)
    paper = Paper(out or sys.stdout)
    looked = 0.0
    while True:
        if follow and time.monotonic() > looked + _STATE_PAUSE:
            follow = api.run(run.path).state in ALIVE
            looked = time.monotonic()
        for line in source.more():
            paper.line(line)
        if not follow:
            break
        paper.unfinished(source.rest())
        time.sleep(source.pause)
    if rest := source.rest():
        paper.line(rest)
    return paper.count


def local_log(api: WandbApi, run: Run) -> Path | None:
    """The file of a trial that runs, or ran last, on this host; it holds what was written before ``wandb.init``, too.

    A trial that another host took over is not read here: this host's file would end in the middle.
    """
    from .wandb_api import SweepRef

    if run.sweep is None or not (file := log_file(run.sweep, run.id)).is_file():
        return None
    for agent in api.agents(SweepRef(run.entity, run.project, run.sweep)):
        if run.id in [edge["node"]["name"] for edge in (agent.get("runs") or {}).get("edges") or []]:
            return file if str(agent.get("host")).split(" ")[0] == os.uname().nodename else None
    return file if _written_until(run, file) else None  # its agent works on another run by now, or is not told


def _written_until(run: Run, file: Path) -> bool:
    """Whether the file was written to about as long as the run lived."""
    heard = moment(run.heartbeat_at)
    return heard is None or file.stat().st_mtime > heard.timestamp() - _LATE


def log_file(sweep: str, run: str) -> Path:
    """Where ``agents.trial`` has a trial's output go; the ids are a server's, so nothing in them leads elsewhere."""
    return home() / "trials" / re.sub(r"[^\w-]", "_", sweep) / (re.sub(r"[^\w-]", "_", run) + ".log")


class FileLog:
    """A file that may grow, and out of whose middle something may be cut (``bounded_log.py``). One that was made anew
    is read from its start again."""

    pause = FILE_PAUSE

    def __init__(self, path: Path, last: int | None) -> None:
        self._path = path
        self._open = b""
        self._at = 0 if last is None else _start_of_last(path, last)
        self._cut: int | None = None

    def more(self) -> Iterator[str]:
        try:
            with self._path.open("rb") as file:
                cut = left_out(file.fileno())
                self._at = moved(self._at, cut if self._cut is None else self._cut, cut)
                self._cut = cut
                if os.fstat(file.fileno()).st_size < self._at:
                    self._at, self._open = 0, b""
                file.seek(self._at)
                while block := file.read(_BLOCK):
                    self._at += len(block)
                    yield from self._taken(block)
        except FileNotFoundError:  # just now, it was there
            return

    def _taken(self, block: bytes) -> Iterator[str]:
        *whole, self._open = (self._open + block).split(b"\n")
        for line in whole:
            yield _shown(line)
        if len(self._open) > _BLOCK:
            self._open = self._open[self._open.rstrip(b"\r").rfind(b"\r") + 1 :]  # what the bar showed before is gone
        if len(self._open) > _LONGEST:
            yield _shown(self._open)
            self._open = b""

    def rest(self) -> str:
        return _shown(self._open)


class BackendLog:
    """The lines that the wandb client sent. It sends a line again when it changes, so the last one is not whole yet."""

    pause = BACKEND_PAUSE

    def __init__(self, api: WandbApi, run: Run, last: int | None) -> None:
        self._api, self._run = api, run
        self._last = last
        self._begun = False
        self._seen = -1  # the place of the last line that was given out
        self._open: tuple[int, str] | None = None

    def more(self) -> Iterator[str]:
        lines = self._new() if self._begun else self._first()
        self._begun, self._open = True, None
        for place, line in lines:
            if self._open is not None:
                self._seen = self._open[0]
                yield _last_shown(self._open[1])
            self._open = (place, line)

    def _first(self) -> Iterator[tuple[int, str]]:
        if self._last is None:
            return self._api.all_lines(self._run)
        if self._last > _TAIL:
            return iter(deque(self._api.all_lines(self._run), maxlen=self._last))
        tail = self._api.last_lines(self._run, max(1, self._last))
        if self._last == 0:
            self._seen = tail[-1][0] if tail else -1
            return iter(())
        return iter(tail)

    def _new(self) -> Iterator[tuple[int, str]]:
        """What lies behind ``_seen``: from the end where that is near, else by pages from the beginning."""
        tail = self._api.last_lines(self._run, _TAIL)
        near = not tail or tail[0][0] <= self._seen + 1
        return (each for each in (tail if near else self._api.all_lines(self._run)) if each[0] > self._seen)

    def rest(self) -> str:
        return _last_shown(self._open[1]) if self._open else ""


class Paper:
    """What the lines are written on; an unfinished one is shown on a terminal only, and goes when more comes."""

    def __init__(self, out: TextIO) -> None:
        self.count = 0
        self._out = out
        self._terminal = out.isatty()
        self._colours = self._terminal and not os.environ.get("NO_COLOR")
        self._loose = ""

    def line(self, text: str) -> None:
        self._wipe()
        self._out.write(self._harmless(text) + "\n")
        self.count += 1

    def unfinished(self, text: str) -> None:
        if self._terminal and text != self._loose:
            self._wipe()
            width = os.get_terminal_size(self._out.fileno()).columns or 80  # a terminal may not know
            self._out.write(_ESCAPE.sub("", printable(_ESCAPE.sub("", text)))[: max(1, width - 1)])
            self._loose = text
        self._out.flush()

    def _wipe(self) -> None:
        if self._loose:
            self._out.write("\r\x1b[K")
            self._loose = ""

    def _harmless(self, text: str) -> str:
        if not self._colours:
            return printable(_ESCAPE.sub("", text))
        parts = _COLOUR.split(text)
        told = [part if _COLOUR.fullmatch(part) else printable(_ESCAPE.sub("", part)) for part in parts]
        return "".join(told) + ("\x1b[0m" if len(parts) > 1 else "")


def _shown(line: bytes) -> str:
    return _last_shown(line.decode("utf-8", errors="replace"))


def _last_shown(text: str) -> str:
    """Of a progress bar, which goes back to the start of its line again and again, the last picture."""
    return text.rstrip("\r\n").rpartition("\r")[2]


def _start_of_last(path: Path, lines: int) -> int:
    """Where the last ``lines`` lines of the file begin. A line that is not finished yet is one of them."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        if lines == 0:
            return end
        wanted, at = lines, end
        while at > 0:
            start = max(0, at - _BLOCK)
            file.seek(start)
            block = file.read(at - start)
            if at == end and block.endswith(b"\n"):
                wanted += 1
            while (found := block.rfind(b"\n")) >= 0:
                wanted -= 1
                if wanted == 0:
                    return start + found + 1
                block = block[:found]
            at = start
    return 0
