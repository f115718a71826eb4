"""Things of the user's, named by import path: ``package.module:attribute`` or ``path/to/file.py:attribute``."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import UsageError


def load(path: str, what: str) -> Any:
    """The object at ``path``; ``what`` names its role in error messages.

    Raises:
        UsageError: no colon in ``path``, no such module, an error while it is imported, or no such attribute.
    """
    module_name, colon, attribute = path.rpartition(":")
    if not colon or not module_name or not attribute:
        raise UsageError(
            f"{what} {path!r} is no import path",
            "write it as package.module:attribute, or path/to/file.py:attribute",
        )
    module = _module(module_name, what)
    try:
        return getattr(module, attribute)
    except AttributeError:
        raise UsageError(f"{what}: {module_name} has no {attribute!r}", _near(attribute, module)) from None


def did_you_mean(name: str, known: list[str]) -> str:
    """`` Did you mean 'x'?`` with the nearest of ``known``, or nothing when none is near."""
    folded = {each.lower(): each for each in known}
    near = get_close_matches(name.lower(), list(folded), n=1, cutoff=0.6)
    return f" Did you mean {folded[near[0]]!r}?" if near else ""


def _module(name: str, what: str) -> ModuleType:
    try:
        return _from_file(Path(name)) if name.endswith(".py") else _from_path(name)
    except FileNotFoundError:
        raise UsageError(f"{what}: there is no file {name}", f"looked in {Path.cwd()}") from None
    except ModuleNotFoundError as error:
        where = f"looked in {Path.cwd()} and the installed packages"
        raise UsageError(f"{what}: no module named {error.name!r}", where) from error
    except Exception as error:
        raise UsageError(f"{what}: importing {name} failed: {type(error).__name__}: {error}") from error


def _from_path(name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    return importlib.import_module(name)


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise FileNotFoundError(path)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)
    spec.loader.exec_module(module)
    return module


def _near(attribute: str, module: ModuleType) -> str:
    public = [name for name in vars(module) if not name.startswith("_")]
    return f"it has {', '.join(sorted(public)) or 'no public names'}.{did_you_mean(attribute, public)}"
