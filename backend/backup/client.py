"""Backups from the command's side: written to a file while the backend works, and restored from one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from ... import home
from ...errors import SweepkitError, UsageError
from ...home import Server
from .. import clock, daemon
from ..storage import garbage, opening
from ..storage.disk import sync_folder
from . import archive, swap

_PIECE = 2**20


@dataclass(frozen=True)
class Restored:
    """The backend on the restored store, and where the former store lies (None where there was none)."""

    server: Server
    former: Path | None
    head: dict[str, Any]


def save(server: Server, file: Path, force: bool) -> dict[str, Any]:
    """Have the backend write a backup to ``file``, readable by its owner only; its size and what it says of itself.

    Raises UsageError when the file is there (without ``force``) or cannot be written, SweepkitError when the backend
    does not come to its end. A file that was there stays until the new one is whole.
    """
    file = file.absolute()
    if file.exists() and not (force and file.is_file()):
        raise UsageError(f"{file} is there already", "choose another name, or overwrite it with --force")
    draft = file.with_name(f"{file.name}.part")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            _receive(server, descriptor)
            head = archive.head_of(draft)
            draft.replace(file)
            sync_folder(file.parent)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror or error}", "choose another place") from error
    return {"file": str(file), "bytes": file.stat().st_size, **head}


def _receive(server: Server, descriptor: int) -> None:
    with os.fdopen(descriptor, "wb") as out:
        os.fchmod(out.fileno(), 0o600)
        answer = daemon.administer(server, "POST", "backup", stream=True)
        total = int(answer.headers["content-length"])
        with _progress("backup", total) as progress:
            try:
                for piece in answer.iter_content(_PIECE):
                    out.write(piece)
                    progress(len(piece))
            except requests.RequestException as error:
                hint = f"its log says why: {daemon.log_file()}"
                raise SweepkitError(f"the backend broke off in the middle of the backup: {error}", hint) from error
        out.flush()
        os.fsync(out.fileno())
        if out.tell() != total:
            raise SweepkitError(f"the backend sent {out.tell()} bytes of {total}", f"its log: {daemon.log_file()}")


def restore(file: Path, force: bool) -> Restored:
    """Check a backup, put it in the place of the data folder's store, and start the backend, on the port it had.

    A store that is there is kept beside the new one. Until all of the backup has been checked, nothing is changed, and
    a running backend goes on. Killed at any moment, either the former store or the new one is there.

    Raises UsageError for a file that is no whole backup, or a store that is there without ``force``.
    """
    folder = home.make_home()
    if not file.is_file():
        raise UsageError(f"there is no file {file}", "`sweepkit backup FILE` makes one")
    if (folder / archive.STORE).exists() and not force:
        raise UsageError(
            f"the data folder {folder} holds a store", "add --force: it is kept beside, and the backup takes its place"
        )
    with _alone(folder):
        head = _prepared(file, folder)
        former, server = daemon.restarted(lambda: _swapped(folder))
    return Restored(server, former, head)


def _prepared(file: Path, folder: Path) -> dict[str, Any]:
    """The backup, unpacked and checked in ``restoring/``. A note that a crash left is followed first."""
    new = folder / swap.NEW
    if (folder / swap.NOTE).exists():
        daemon.restarted(lambda: swap.finish(folder))
    try:
        _remove(new)
        (new / "blobs").mkdir(parents=True, mode=0o700)
        with _progress("unpacking", file.stat().st_size) as progress:
            head = archive.unpack(file, new, progress)
        _check(file, new, head)
    except BaseException as error:
        _remove(new)
        if isinstance(error, OSError):
            raise UsageError(f"cannot unpack {file}: {error.strerror}", "free some disk space") from error
        raise
    return head


def _check(file: Path, new: Path, head: dict[str, Any]) -> None:
    """The unpacked database is whole, of a version that is known, and every content that it needs is here."""
    try:
        with contextlib.closing(sqlite3.connect(new / archive.STORE, isolation_level=None)) as conn:
            found = conn.execute("PRAGMA integrity_check(1)").fetchone()[0]
            version = conn.execute("PRAGMA user_version").fetchone()[0]
            needed = {digest for prefix in garbage.PREFIXES for digest in garbage.pointed_to(conn, prefix)}
    except sqlite3.Error as error:
        raise UsageError(f"the database in {file} is damaged: {error}", "choose another backup") from error
    if found != "ok":
        raise UsageError(f"the database in {file} is damaged: {found}", "choose another backup")
    if version > opening.newest():
        raise UsageError(
            f"{file} has a store of version {version}, this sweepkit knows {opening.newest()}", "use a newer sweepkit"
        )
    lost = [d for d in needed - set(head["missing"]) if not (new / "blobs" / d[:2] / d).exists()]
    if lost:
        raise UsageError(f"{len(lost)} contents that the store needs are not in {file}", "choose another backup")


def _swapped(folder: Path) -> Path | None:
    stamp = clock.now()[:19].replace(":", "").replace("-", "")
    there = (folder / archive.STORE).exists()
    swap.decide(folder, f"former-{stamp}-{os.getpid()}")
    former = swap.finish(folder)
    _remove(folder / swap.NEW)
    if former and not there:
        _remove(former)
    return former if there else None


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One restore at a time; the lock is the kernel's and ends with its holder."""
    with (folder / "restore.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"another restore is at work in {folder}", "wait for its end") from None
        yield


@contextlib.contextmanager
def _progress(what: str, total: int) -> Iterator[Callable[[int], object]]:
    """A bar on a terminal; nothing where none is."""
    from tqdm import tqdm

    with tqdm(total=total, desc=what, unit="B", unit_scale=True, file=sys.stderr, disable=None, leave=False) as bar:
        yield bar.update


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
