"""Checkpoints: written whole or not at all, and read without running anything that is in them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import torch

from ..errors import SweepkitError

VERSION = 1


class CheckpointError(SweepkitError):
    """A checkpoint that is not there, or cannot be read."""


def folder(run_id: str) -> Path:
    """Where the checkpoints of a run lie: ``$SWEEPKIT_CHECKPOINTS/<run id>``.

    Without that variable ``sweepkit-checkpoints`` in ``$WANDB_DIR``, else in the working directory. The folder
    outlives the process and is found again by the run's id alone, which is what resuming needs.
    """
    base = os.environ.get("SWEEPKIT_CHECKPOINTS")
    root = Path(base) if base else Path(os.environ.get("WANDB_DIR") or ".") / "sweepkit-checkpoints"
    return root.absolute() / run_id


def save(path: Path, content: dict[str, Any]) -> None:
    """Write ``content`` (tensors and plain values) so that ``path`` is at any moment the old or the new file, whole.

    Raises:
        SweepkitError: the disk is full, or the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _replacing(path) as file:
            torch.save({"version": VERSION, **content}, file)
    except (OSError, RuntimeError) as error:  # torch turns a failed write into a RuntimeError
        hint = "free some space there, or set SWEEPKIT_CHECKPOINTS to a folder elsewhere"
        raise SweepkitError(f"cannot write the checkpoint {path}: {error}", hint) from error


def load(path: Path, mapped: bool = False) -> dict[str, Any]:
    """Read a checkpoint onto the CPU, with ``weights_only=True``: no code of the file is run.

    ``mapped``: its tensors are pages of the file, shared with all who map it; what is written to stays in this process.

    Raises:
        CheckpointError: no such file, a damaged one, or one of a newer version.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path}")
    try:
        _check_sums(path)
        content = torch.load(str(path), map_location="cpu", mmap=mapped, weights_only=True)
    except Exception as error:  # a damaged file raises nearly anything: RuntimeError, UnpicklingError, EOFError, ...
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"the checkpoint {path} is damaged and cannot be read ({reason})") from error
    version = content.get("version") if isinstance(content, dict) else None
    if version != VERSION:
        raise CheckpointError(f"the checkpoint {path} has version {version}; this sweepkit reads {VERSION}")
    return content


def digest(path: Path) -> str:
    """SHA-256 of the file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _check_sums(path: Path) -> None:
    """torch.load does not look at the archive's check sums: flipped bits in a weight would pass for a weight."""
    with zipfile.ZipFile(path) as archive:
        broken = archive.testzip()
    if broken:
        raise ValueError(f"wrong check sum of {broken}")


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """A temporary file beside ``path`` that takes its place once it is on the disk."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
    _sync_folder(path.parent)


def _sync_folder(directory: Path) -> None:
    """Make the new name itself durable; some filesystems (and Windows) cannot, and there it is not needed."""
    with contextlib.suppress(OSError):
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
