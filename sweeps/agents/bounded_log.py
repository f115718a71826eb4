"""A trial's output, kept in a file that cannot fill the disk: its first and its last part.

The file grows like any other up to its bound. From then on what lies between the first part and the last one is cut out
now and then, with a line in its place that says how many bytes went. A reader that follows the file sees it become
shorter. It is used by the guard, which imports only what starts in a few milliseconds.
"""

import os
import re
from contextlib import suppress

MIB = 2**20
HEAD, TAIL = MIB, MIB  # bytes that are kept of the beginning, and at least of the end; the file has up to HEAD + 2 TAIL
_MARK = "\n[sweepkit: {:015d} bytes of output are left out here]\n"
_MARKED = re.compile(rb"\n\[sweepkit: (\d{15}) bytes of output are left out here\]\n")
_LENGTH = len(_MARK.format(0))


def left_out(descriptor: int, head: int = HEAD) -> int:
    """How many bytes are missing behind the first part of an open file, by what it says itself."""
    try:
        marked = _MARKED.match(os.pread(descriptor, _LENGTH, head))
    except OSError:  # it can only be written to
        return 0
    return int(marked[1]) if marked else 0


def moved(at: int, before: int, now: int, head: int = HEAD) -> int:
    """Where a reader that had come to ``at``, when ``before`` bytes were left out, goes on now that ``now`` are.

    If what comes next was cut out, that is the line that says so.
    """
    if at <= head or before == now:
        return at
    place = at - (_LENGTH if before else 0) + before - now + _LENGTH
    return place if place >= head + _LENGTH else head


class BoundedLog:
    """Appends to the open file ``descriptor``, which is also read; a resumed trial's goes on where it was.

    A full disk loses output, and disturbs nobody.
    """

    def __init__(self, descriptor: int, head: int = HEAD, tail: int = TAIL) -> None:
        self._file, self._head, self._tail = descriptor, head, tail
        self.left_out = left_out(descriptor, head)  # bytes, so far

    def write(self, data: bytes) -> None:
        size = self._size()
        room = max(0, self._head - size)
        self._append(data[:room])
        data = data[room:]
        if not data:
            return
        self._append(data)
        if self._size() > self._head + _LENGTH + 2 * self._tail:
            self._cut()

    def _cut(self) -> None:
        size = self._size()
        last = self._read(self._tail, size - self._tail)
        begin = self._head + (_LENGTH if self.left_out else 0)
        self.left_out += size - begin - len(last)
        with suppress(OSError):
            os.ftruncate(self._file, self._head)
        self._append(_MARK.format(self.left_out).encode() + last)

    def _append(self, data: bytes) -> None:
        """As much as the disk takes."""
        view = memoryview(data)
        with suppress(OSError):
            while view:
                view = view[os.write(self._file, view) :]

    def _read(self, length: int, offset: int) -> bytes:
        try:
            return os.pread(self._file, length, offset)
        except OSError:  # it can only be written to
            return b""

    def _size(self) -> int:
        try:
            return os.fstat(self._file).st_size
        except OSError:
            return 0
