"""The server's memory in huge pages, where Linux lets it: a fork copies the table of the pages.

That is one entry for 2 MiB then, in place of 512. A fork that writes still copies 4 KiB at a time.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

HUGE = 2**21  # bytes, of a page one level up; where it is another size, nothing is found to do
MADV_COLLAPSE = 25  # Linux 6.1
_libc = ctypes.CDLL(None, use_errno=True)
_libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


def collapse() -> Iterator[bool]:
    """Make huge pages of the process's own memory, one at each step, which takes some milliseconds."""
    for start, end in _own():
        for address in range(-(-start // HUGE) * HUGE, end - HUGE + 1, HUGE):
            _libc.madvise(address, HUGE, MADV_COLLAPSE)
            yield True


def _own() -> list[tuple[int, int]]:
    """Where memory lies that is no file's."""
    found = []
    with open("/proc/self/maps") as file:
        for line in file:
            place, rights, *_, name = line.rstrip("\n").split(" ", 5)
            if rights == "rw-p" and name.strip() in ("", "[heap]"):
                start, end = place.split("-")
                found.append((int(start, 16), int(end, 16)))
    return found
