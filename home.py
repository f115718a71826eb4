"""Where sweepkit keeps its data, and the note that a running embedded backend leaves there."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from .errors import UsageError


@dataclass(frozen=True)
class Server:
    """The running embedded backend, as ``server.json`` tells it to people, scripts and commands."""

    url: str
    key: str
    entity: str
    pid: int


def home() -> Path:
    """The data folder: ``SWEEPKIT_HOME``, else the platform's place for a user's data."""
    chosen = os.environ.get("SWEEPKIT_HOME")
    if chosen:
        return Path(chosen).expanduser().absolute()
    from platformdirs import user_data_path  # only needed here, and start-up counts in milliseconds

    return user_data_path("sweepkit", appauthor=False)


def make_home() -> Path:
    """The data folder, made if it is not there; readable by its owner only, also if it was open to others before.

    Raises UsageError when it cannot be made, written or closed to others.
    """
    folder = home()
    fix = "choose another folder with SWEEPKIT_HOME, or mend its permissions"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise UsageError(f"cannot make the data folder {folder}: {error.strerror}", fix) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"the data folder {folder} is not writable", fix)
    _close_to_others(folder)
    return folder


def _close_to_others(folder: Path) -> None:
    mode = folder.stat().st_mode
    if not mode & 0o077:
        return
    if mode & stat.S_ISVTX:  # such as /tmp: all users share it, and must go on doing so
        raise UsageError(f"the data folder {folder} is shared by all users", f"use a folder in it: {folder}/sweepkit")
    try:
        folder.chmod(stat.S_IMODE(mode) & ~0o077)
    except OSError as error:
        raise UsageError(
            f"the data folder {folder} is open to other users, and cannot be closed: {error.strerror}",
            "choose a folder of your own with SWEEPKIT_HOME",
        ) from error


def opened_privately(path: Path, flags: str) -> IO[str]:
    """``open(path, flags)``; a file that this makes is its owner's only, whatever the umask."""
    return open(path, flags, opener=lambda name, how: os.open(name, how, 0o600))


def server_file() -> Path:
    """The note of the running backend: url, key, entity and pid, readable by its owner only."""
    return home() / "server.json"


def read_server() -> Server | None:
    """The backend that says it runs here, or None. It may have died since; ask it before trusting it."""
    try:
        note = json.loads(server_file().read_text(encoding="utf-8"))
        return Server(str(note["url"]), str(note["key"]), str(note["entity"]), int(note["pid"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_server(server: Server) -> None:
    """Leave the note, in one step, never readable by others."""
    draft = server_file().with_suffix(f".{os.getpid()}.tmp")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(asdict(server), file, indent=2)
        draft.replace(server_file())
    finally:
        draft.unlink(missing_ok=True)  # on a full disk
