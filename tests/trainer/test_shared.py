"""Datasets are decoded once for all trials of a host, and nothing that happens to the kept copy harms a trial."""

from __future__ import annotations

import fcntl
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import sweepkit.trainer.tasks.shared as module
import torch
from sweepkit.trainer.tasks.shared import folder, shared

pytestmark = pytest.mark.usefixtures("own_cache")


class Source:
    """A file of numbers, and how often it was decoded."""

    def __init__(self, path: Path, numbers: int = 50_000) -> None:
        self.path = path
        self.decoded = 0
        path.write_bytes(bytes(index % 251 for index in range(numbers)))

    def load(self) -> tuple[torch.Tensor, ...]:
        return shared("numbers", [self.path], self._make)

    def _make(self) -> tuple[torch.Tensor, ...]:
        self.decoded += 1
        x = torch.frombuffer(bytearray(self.path.read_bytes()), dtype=torch.uint8)
        return x, torch.arange(10)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(tmp_path / "numbers.bin")


def copies() -> list[Path]:
    return sorted(folder().glob("*.pt"))


def right(source: Source, loaded: tuple[torch.Tensor, ...]) -> bool:
    return bytes(loaded[0].numpy()) == source.path.read_bytes() and loaded[1].tolist() == list(range(10))


def test_a_copy_is_kept_mapped_and_its_owners_only(source: Source) -> None:
    assert right(source, source.load())
    assert right(source, source.load())
    assert source.decoded == 1
    (copy,) = copies()
    assert copy.stat().st_mode & 0o077 == 0
    if sys.platform == "linux":
        again = source.load()
        lines = [line for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(copy.name)]
        starts = [tuple(int(end, 16) for end in line.split()[0].split("-")) for line in lines]
        assert any(low <= again[0].data_ptr() < high for low, high in starts)


def test_what_a_trial_writes_into_its_data_stays_its_own(source: Source) -> None:
    first = source.load()
    first[0].zero_()
    assert right(source, source.load())
    assert source.decoded == 1


def test_changed_files_are_decoded_again_into_the_same_place(source: Source) -> None:
    old = source.load()
    source.path.write_bytes(b"\7" * 1000)
    assert right(source, source.load())
    assert len(old[0]) == 50_000  # who has the old data keeps them
    assert int(old[0][250]) == 250
    os.utime(source.path, (1, 1))  # the same bytes with another time may be other bytes
    assert right(source, source.load())
    assert source.decoded == 3
    assert len(copies()) == 1


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "text", "folder"])
def test_a_damaged_copy_is_made_anew(source: Source, damage: str) -> None:
    source.load()
    (copy,) = copies()
    whole = copy.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0x55
    broken = {"empty": b"", "cut": whole[:-100], "flipped": bytes(flipped), "text": b"not tensors"}
    copy.unlink()
    if damage == "folder":
        copy.mkdir()
    else:
        copy.write_bytes(broken[damage])
    assert right(source, source.load())
    assert source.decoded == 2
    assert right(source, source.load())
    assert source.decoded == (3 if damage == "folder" else 2)  # a folder is nothing that a file may replace


def test_a_cache_that_cannot_be_written_means_decoding_as_ever(source: Source, own_cache: Path) -> None:
    own_cache.write_text("no folder")
    assert right(source, source.load())
    assert right(source, source.load())
    assert source.decoded == 2


def test_a_full_disk_means_decoding_as_ever_and_leaves_nothing_half(source: Source) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))  # a file that grows beyond it is refused by the kernel
    try:
        assert right(source, source.load())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.suffix for path in folder().iterdir()] == [".lock"]
    (folder() / f".{next(folder().iterdir()).stem}.pt.killed").write_bytes(b"half")  # by a process that was killed
    assert right(source, source.load())
    assert sorted(path.suffix for path in folder().iterdir()) == [".lock", ".pt"]


def test_a_file_that_is_not_there_is_the_makers_business(tmp_path: Path) -> None:
    def download() -> tuple[torch.Tensor, ...]:
        (tmp_path / "late.bin").write_bytes(b"abc")
        return (torch.arange(3),)

    def fail() -> tuple[torch.Tensor, ...]:
        raise AssertionError("it was decoded again")

    assert shared("late", [tmp_path / "late.bin"], download)[0].tolist() == [0, 1, 2]
    assert shared("late", [tmp_path / "late.bin"], fail)[0].tolist() == [0, 1, 2]


def test_processes_that_start_together_decode_once(source: Source, tmp_path: Path) -> None:
    script = f"""
import time, torch
from pathlib import Path
from sweepkit.trainer.tasks.shared import shared

def make():
    with open({str(tmp_path / "decoded")!r}, "a") as file:
        file.write("once\\n")
    time.sleep(1)
    return (torch.arange(100_000),)

print(int(shared("slow", [Path({str(source.path)!r})], make)[0].sum()))
"""
    started = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate(timeout=120)[0] for process in started] == ["4999950000\n"] * 3
    assert (tmp_path / "decoded").read_text() == "once\n"


def test_a_frozen_process_holds_nobody_up(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    source.load()
    (copy,) = copies()
    copy.unlink()
    monkeypatch.setattr(module, "_PATIENCE", 0.1)
    with copy.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # and never let go of
        assert right(source, source.load())
    assert source.decoded == 2
