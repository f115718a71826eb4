"""Names that come from clients: entities, projects, runs. They become parts of addresses, never of file paths."""

from __future__ import annotations

LONGEST = 128
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
