"""Put another store in the place of the folder's own, in a way that a crash at any moment can neither lose nor mix.

The new store lies ready in ``restoring/``. The note ``restore.json`` is the decision: before it is there, nothing has
happened; once it is there, whoever finds it (the restore itself, or the next start of a backend) moves the old files
to a folder of their own and the new ones to their places, one rename at a time, and then removes the note. Every move
can be seen from what lies where, so it goes on where a crash cut it off.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from ..storage.disk import sync_folder
from . import archive

NEW = "restoring"
NOTE = "restore.json"
_LOGS = (f"{archive.STORE}-wal", f"{archive.STORE}-shm")  # the old store's: they must never meet the new one
_NAMES = (archive.STORE, "blobs", *archive.KEPT)


def decide(folder: Path, former: str) -> None:
    """Write the note: from now on the store in ``restoring/`` is the folder's, and the old one goes to ``former``."""
    os.sync()  # the new store's many files, before anything relies on them
    draft = folder / f"{NOTE}.tmp"
    with draft.open("w", encoding="utf-8") as file:
        json.dump({"former": former}, file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(folder / NOTE)
    sync_folder(folder)


def finish(folder: Path) -> Path | None:
    """Do what the note says, if there is one; where the former store lies then. The folder must be held.

    Raises OSError when a file cannot be moved; the note stays, and the next call goes on.
    """
    note = folder / NOTE
    try:
        former = folder / Path(json.loads(note.read_text(encoding="utf-8"))["former"]).name
    except FileNotFoundError:
        return None
    former.mkdir(exist_ok=True, mode=0o700)
    new = folder / NEW
    if (new / archive.STORE).exists():
        for name in _LOGS:
            _move(folder / name, former / name)
    for name in _NAMES:
        if (new / name).exists():  # else it is in its place already
            _move(folder / name, former / name)
            (new / name).rename(folder / name)
    for each in (former, folder):
        sync_folder(each)
    note.unlink()
    sync_folder(folder)
    return former


def _move(source: Path, target: Path) -> None:
    if source.exists():
        source.rename(target)
