"""Decoded datasets, kept once per user and host as a file that every trial maps into its memory."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import platformdirs
from torch import Tensor

from ...errors import SweepkitError
from .. import checkpoint

_PATIENCE = 60.0  # seconds that another process is waited for while it decodes; it may be frozen

Tensors = tuple[Tensor, ...]


def shared(name: str, files: Sequence[Path], make: Callable[[], Tensors]) -> Tensors:
    """What ``make`` gives, decoded once: later calls, in any process, map the kept copy and share its pages.

    The copy is made anew when one of ``files`` has another size or time of change, and when it is damaged. Where it
    cannot be kept (a full or read-only disk), ``make`` is called each time. The tensors may be written to; that
    changes this process's pages only.

    Args:
        name: of the dataset and of how it is decoded: a new one when ``make`` gives something else.
        files: what ``make`` reads. One that is not there means that ``make`` will see to it.
        make: reads and decodes; gives contiguous tensors.
    """
    paths = [str(file.absolute()) for file in files]
    path = folder() / f"{name}-{hashlib.sha256(os.fsencode(os.pathsep.join(paths))).hexdigest()[:12]}.pt"
    kept = _kept(path, files)
    if kept is not None:
        return kept
    with _alone(path):
        kept = _kept(path, files)  # by another process, while this one waited for it
        if kept is not None:
            return kept
        before = _stamp(files)
        made = make()
        stamp = before or _stamp(files)  # files that changed while they were read have another stamp than this one
        if stamp is None:
            return made
        with contextlib.suppress(SweepkitError, OSError):
            for left in path.parent.glob(f".{path.name}.*"):  # by a process that was killed while it wrote
                left.unlink()
            checkpoint.save(path, {"files": stamp, "tensors": list(made)})
        return _kept(path, files) or made


def folder() -> Path:
    """Where the copies lie: ``datasets`` in the user's cache folder, whatever data folders the agents have."""
    return Path(platformdirs.user_cache_dir("sweepkit")) / "datasets"


def _kept(path: Path, files: Sequence[Path]) -> Tensors | None:
    """The kept copy, if it is whole and that of these very files."""
    stamp = _stamp(files)
    if stamp is None:
        return None
    with contextlib.suppress(SweepkitError, KeyError, TypeError):
        content = checkpoint.load(path, mapped=True)
        if content["files"] == stamp:
            return tuple(content["tensors"])
    return None


def _stamp(files: Sequence[Path]) -> list[list[Any]] | None:
    """By what a change of the files is known; None if one is not there."""
    try:
        return [[file.name, found.st_size, found.st_mtime_ns] for file in files for found in [file.stat()]]
    except OSError:
        return None


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time, so that a hundred trials that start together do not decode a hundred times.

    Only for that: without the lock (none to be had, or its holder is frozen) the result is the same.
    """
    with contextlib.ExitStack() as opened:
        with contextlib.suppress(OSError, ImportError):
            import fcntl  # not on Windows

            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = opened.enter_context(path.with_suffix(".lock").open("w"))
            deadline = time.monotonic() + _PATIENCE
            while time.monotonic() < deadline:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(0.02)
        yield
