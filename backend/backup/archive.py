"""A backup's format: one tar of ``backup.json``, the database, the account, the secret, and the contents it needs.

Nothing in it is trusted: names are compared with what may be there and never used as paths otherwise, and every file
must have the SHA-256 that is written for it. A content's own name is its SHA-256.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ...errors import UsageError

FORMAT = 1
HEAD = "backup.json"
STORE = "store.sqlite3"
KEPT = ("account.json", "secret")  # beside the store; whoever has them has the key
_BLOB = re.compile(r"blobs/([0-9a-f]{64})")
_HEAD_BYTES = 64 * 2**20
_PIECE = 2**20
Opener = Callable[[], IO[bytes]]


@dataclass(frozen=True)
class Member:
    """A file that goes into the archive: exactly ``size`` bytes."""

    name: str
    size: int
    open: Opener


def in_memory(name: str, content: bytes) -> Member:
    return Member(name, len(content), lambda: io.BytesIO(content))


def from_disk(name: str, file: Path) -> Member | None:
    """A file that does not change any more, opened when its turn comes; None where there is none."""
    try:
        return Member(name, file.stat().st_size, lambda: file.open("rb"))
    except FileNotFoundError:
        return None


def size_of(members: Iterable[Member]) -> int:
    """The bytes of the whole archive."""
    return sum(512 + member.size + _padding(member.size) for member in members) + 1024


def pieces(members: Iterable[Member]) -> Iterator[bytes]:
    """The archive, piece by piece. Raises OSError when a file cannot be read, or is not as long as it was."""
    for member in members:
        info = tarfile.TarInfo(member.name)
        info.size, info.mode = member.size, 0o600
        yield info.tobuf(tarfile.GNU_FORMAT)
        left = member.size
        with member.open() as file:
            while piece := file.read(min(_PIECE, left)):
                left -= len(piece)
                yield piece
        if left:
            raise OSError(f"{member.name} is {left} bytes shorter than it was")
        yield bytes(_padding(member.size))
    yield bytes(1024)


def _padding(size: int) -> int:
    return -size % 512


def digest_of(file: IO[bytes]) -> str:
    """SHA-256, in hex."""
    sha = hashlib.sha256()
    while piece := file.read(_PIECE):
        sha.update(piece)
    return sha.hexdigest()


def unpack(file: Path, folder: Path, progress: Callable[[int], object] = lambda count: None) -> dict[str, Any]:
    """Unpack a backup into ``folder``, as a data folder has it, and compare all SHA-256; its head.

    ``progress`` is told how many bytes were unpacked since it was told last. Raises UsageError for a file that is no
    backup, is damaged, or holds anything that does not belong into one.
    """
    try:
        with tarfile.open(file, "r:") as archive:
            head = _head(file, archive)
            written = {}
            while (member := archive.next()) is not None:
                written[member.name] = _write(file, archive, member, folder, progress)
    except (tarfile.TarError, EOFError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is no backup, or is damaged: {error}", "choose another backup") from error
    expected = dict(head["files"])
    for name, digest in written.items():
        known = expected.pop(name, None) if not _BLOB.fullmatch(name) else name.removeprefix("blobs/")
        if digest != known:
            raise _damaged(file, f"the SHA-256 of {name} is not what it should be")
    blobs = sum(1 for name in written if _BLOB.fullmatch(name))
    if expected or blobs != head["blobs"]:
        raise _damaged(file, f"it ends early: {', '.join(expected) or head['blobs'] - blobs} of its files are missing")
    return head


def head_of(file: Path) -> dict[str, Any]:
    """What a backup says of itself. Raises UsageError for a file that is none."""
    try:
        with tarfile.open(file, "r:") as archive:
            return _head(file, archive)
    except (tarfile.TarError, EOFError) as error:
        raise UsageError(f"{file} is no backup, or is damaged: {error}", "choose another backup") from error


def _head(file: Path, archive: tarfile.TarFile) -> dict[str, Any]:
    member = archive.next()
    content = archive.extractfile(member) if member and member.name == HEAD and member.isreg() else None
    if member is None or content is None or member.size > _HEAD_BYTES:
        raise UsageError(f"{file} is no backup of sweepkit", "`sweepkit backup FILE` makes one")
    try:
        head = json.load(content)
        known = isinstance(head["blobs"], int) and isinstance(head["missing"], list) and set(head["files"]) >= {STORE}
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise _damaged(file, f"its {HEAD} cannot be read")
    if head.get("format") != FORMAT:
        raise UsageError(
            f"{file} is a backup of format {head.get('format')}, this sweepkit knows {FORMAT}", "use a newer sweepkit"
        )
    return dict(head)


def _write(
    file: Path, archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path, progress: Callable[[int], object]
) -> str:
    """One file, to its own place, which its name only chooses; its SHA-256."""
    blob = _BLOB.fullmatch(member.name)
    if not member.isreg() or not (blob or member.name in (STORE, *KEPT)):
        raise _damaged(file, f"{member.name[:200]!r} does not belong into a backup")
    target = folder / "blobs" / blob[1][:2] / blob[1] if blob else folder / member.name
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    content = archive.extractfile(member)
    assert content is not None
    sha = hashlib.sha256()
    try:
        out = target.open("xb")
    except FileExistsError:
        raise _damaged(file, f"{member.name} is in it twice") from None
    with out:
        target.chmod(0o600)
        while piece := content.read(_PIECE):
            sha.update(piece)
            out.write(piece)
            progress(len(piece))
    return sha.hexdigest()


def _damaged(file: Path, what: str) -> UsageError:
    return UsageError(f"the backup {file} is damaged: {what}", "choose another backup; nothing was changed")
