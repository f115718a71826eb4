"""A content is kept once, completely or not at all."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sweepkit.backend.storage.blobs import Blobs, TooLarge
from sweepkit.backend.storage.names import BadName, checked, checked_file


async def _chunks(*parts: bytes, error: Exception | None = None) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
    if error:
        raise error


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_blob_is_named_by_its_content(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    blob = asyncio.run(blobs.receive(_chunks(b"ab", b"", b"c")))
    assert blob.digest == hashlib.sha256(b"abc").hexdigest()
    assert blob.md5 == base64.b64encode(hashlib.md5(b"abc").digest()).decode()
    assert blob.size == 3
    assert blobs.path(blob.digest).read_bytes() == b"abc"
    assert blobs.add(b"abc") == blob
    assert len(_files(tmp_path)) == 1


def test_too_large_an_upload_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TooLarge):
        asyncio.run(Blobs(tmp_path).receive(_chunks(b"abc", b"def"), limit=5))
    assert _files(tmp_path) == []


def test_an_upload_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="gone"):
        asyncio.run(Blobs(tmp_path).receive(_chunks(b"abc", error=OSError("gone"))))
    assert _files(tmp_path) == []


def test_what_a_crash_left_is_cleared_at_the_next_start(tmp_path: Path) -> None:
    kept = Blobs(tmp_path).add(b"kept")
    (tmp_path / "incoming" / "half").write_bytes(b"x")
    blobs = Blobs(tmp_path)
    assert _files(tmp_path) == [blobs.path(kept.digest)]


@pytest.mark.parametrize(
    "name", ["../x", "/etc/passwd", "a/../b", "a//b", "./a", "a\\b", "a\x00", "", "x" * 2000, "\ud800"]
)
def test_names_that_no_folder_could_hold_are_refused(name: str) -> None:
    with pytest.raises(BadName):
        checked_file(name)


@given(st.text(max_size=200))
def test_a_name_is_taken_as_it_is_or_refused(name: str) -> None:
    for check in (checked_file, lambda text: checked("run", text)):
        try:
            assert check(name) == name
        except BadName as error:
            assert str(error)
