"""Whether a trial's command can be a fork of a warm server: this interpreter, running a Python program or module."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_PLAIN = frozenset("bBdOquv")  # flags of an interpreter that still reads PYTHONPATH, and takes no value
_VALUED = ("-W", "-X")


@dataclass(frozen=True)
class Plan:
    """What every trial of the sweep has in common: an interpreter, its flags, and a program or a module to run."""

    python: str
    flags: tuple[str, ...]
    program: str
    is_module: bool

    @property
    def command(self) -> list[str]:
        return [self.python, *self.flags, *(["-m"] if self.is_module else []), self.program]

    @property
    def name(self) -> str:
        return f"-m {self.program}" if self.is_module else self.program


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> tuple[Plan, list[str]] | str:
    """The plan of a command and the program's own arguments, or the reason why it cannot be warm."""
    if sys.platform != "linux":
        return "warm trials need Linux"
    rest = list(argv)
    if rest and Path(rest[0]).name == "env":
        del rest[0]
        if rest and (rest[0].startswith("-") or "=" in rest[0]):
            return "the command changes its own environment"
    if not rest or not _is_this_python(rest[0], environ):
        return f"the command runs {Path(rest[0]).name if rest else 'nothing'}, not this Python ({sys.executable})"
    python, flags = rest.pop(0), []
    while rest and rest[0].startswith("-") and rest[0] not in ("-", "-m", "-c"):
        flag = rest.pop(0)
        flags.append(flag)
        if flag in _VALUED and rest:
            flags.append(rest.pop(0))
        elif not (flag[:2] in _VALUED or set(flag[1:]) <= _PLAIN):
            return f"the command runs Python with {flag}"
    is_module = rest[:1] == ["-m"]
    rest = rest[is_module:]
    if not rest or rest[0].startswith("-"):
        return "the command runs no Python program"
    return Plan(python, tuple(flags), rest[0], is_module), rest[1:]


def _is_this_python(name: str, environ: Mapping[str, str]) -> bool:
    """The same file in the same folder: another virtual environment's python leads to the same file, too."""
    found = shutil.which(name, path=environ.get("PATH"))
    if found is None or os.path.realpath(found) != os.path.realpath(sys.executable):
        return False
    here, there = (os.path.dirname(os.path.abspath(each)) for each in (sys.executable, found))
    return os.path.realpath(here) == os.path.realpath(there)
