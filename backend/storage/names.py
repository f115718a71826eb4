"""Names that come from clients: entities, projects, runs. They become parts of addresses, never of file paths."""

from __future__ import annotations

import re

LONGEST = 128
LONGEST_ENTRY = 4096  # no file system takes a longer path
_DRIVE = re.compile(r"[A-Za-z]:[/\\]")
_FORBIDDEN = set("/\\#?%:")  # what W&B forbids too


class BadName(ValueError):
    """A name that cannot be part of an address; the message says why."""


def checked(kind: str, name: str) -> str:
    """The name itself. Raises BadName when it is empty, too long or holds a forbidden character."""
    if not name or name in {".", ".."}:
        raise BadName(f"{name!r} cannot be the name of a {kind}")
    if len(name) > LONGEST:
        raise BadName(f"the name of a {kind} has at most {LONGEST} characters, this one {len(name)}")
    if any(char in _FORBIDDEN or not char.isprintable() for char in name):
        raise BadName(f"{name!r} cannot be the name of a {kind}: / \\ # ? % : and control characters are not allowed")
    return name


def checked_file(name: str) -> str:
    """A run file's name, which may hold slashes. Raises BadName for one that no folder could hold."""
    parts = name.split("/")
    if len(name) > 1024 or "\x00" in name or "\\" in name or any(part in {"", ".", ".."} for part in parts):
        raise BadName(f"{name[:80]!r} cannot be the name of a file")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise BadName("the name of a file is no Unicode text") from None
    return name


def checked_entry(name: str) -> str:
    """The name of a file in an artifact. Raises BadName for one that would leave the folder it is downloaded to.

    W&B's client joins it to that folder; a backslash parts names where the client runs on Windows.
    """
    parts = name.replace("\\", "/").split("/")
    leaves = not parts[0] or ".." in parts or _DRIVE.match(name) is not None
    if leaves or len(name) > LONGEST_ENTRY or "\x00" in name or not name.strip("./\\"):
        raise BadName(f"{name[:80]!r} cannot be the name of a file in an artifact")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise BadName("the name of a file in an artifact is no Unicode text") from None
    return name
