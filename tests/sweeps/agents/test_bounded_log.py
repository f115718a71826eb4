"""Output within bounds: what is kept, what the file says of the rest, and that a full disk disturbs nobody."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from sweepkit.sweeps.agents.bounded_log import BoundedLog, left_out, moved

HEAD, TAIL = 1000, 500


class File:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.open()

    def open(self) -> None:
        self.descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        self.log = BoundedLog(self.descriptor, HEAD, TAIL)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[File]:
    yield (it := File(tmp_path / "log"))
    os.close(it.descriptor)


def test_what_fits_is_kept_as_it_is(file: File) -> None:
    file.log.write(b"a" * 900)
    file.log.write(b"b" * 900)
    assert file.path.read_bytes() == b"a" * 900 + b"b" * 900 and file.log.left_out == 0


@pytest.mark.parametrize("seed", range(5))
def test_of_much_the_first_and_the_last_is_kept_and_every_byte_accounted_for(file: File, seed: int) -> None:
    dice = random.Random(seed)
    written = b""
    for _ in range(60):
        data = dice.randbytes(dice.choice([1, 50, 499, 3000])).replace(b"\n", b".")
        file.log.write(data)
        written += data
        if dice.random() < 0.1:  # the trial is resumed, by another guard
            os.close(file.descriptor)
            file.open()
        kept = file.path.read_bytes()
        assert len(kept) <= HEAD + 2 * TAIL + 100
    head, mark, tail = kept.split(b"\n")
    assert head == written[:HEAD] and len(tail) >= TAIL and written.endswith(tail)
    assert mark == b"[sweepkit: %015d bytes of output are left out here]" % (len(written) - HEAD - len(tail))


def test_a_file_that_takes_nothing_loses_output_and_raises_nothing() -> None:
    descriptor = os.open("/dev/full", os.O_RDWR)
    log = BoundedLog(descriptor, HEAD, TAIL)
    for _ in range(10):
        log.write(b"x" * 1000)
    os.close(descriptor)


@pytest.mark.parametrize("seed", range(5))
def test_a_reader_that_follows_meets_every_line_once_or_the_line_that_says_what_went(file: File, seed: int) -> None:
    dice = random.Random(seed)
    at = cut = 0
    read: list[bytes] = []
    lines = [f"{number:09d}" for number in range(2000)]
    for number, line in enumerate(lines):
        file.log.write(f"{line}\n".encode())
        if dice.random() < (0.3 if number < 1000 else 0.005):  # it looks often, then hardly ever
            at, cut = moved(at, cut, now := left_out(file.descriptor, HEAD), HEAD), now
            read.append(os.pread(file.descriptor, 10**6, at))
            at += len(read[-1])
    told = b"".join(read).split(b"\n")
    whole = [int(line) for line in told if len(line) == 9]
    assert whole == sorted(set(whole)) and set(range(700)) <= set(whole)
    assert sum(b"left out here" in line for line in told) > 0
