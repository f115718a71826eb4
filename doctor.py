"""``sweepkit doctor``: what this machine has, and the command that mends what it has not."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata

from .errors import SweepkitError, UsageError
from .home import home, make_home

OLDEST_PYTHON, NEWEST_PYTHON = (3, 10), (3, 13)
LEAST_DISK = 2 * 2**30  # bytes: a dataset, the runs of a few sweeps, and room for the writer's log


@dataclass(frozen=True)
class Check:
    """``state`` is ``ok``, ``warn`` or ``fail``; ``mend`` is the command or edit that mends it."""

    name: str
    state: str
    found: str
    mend: str = ""


def examine() -> list[Check]:
    """All checks, in order. No key appears in any of them."""
    return [check for examination in _EXAMINATIONS for check in _examined(examination)]


def cause(error: SweepkitError) -> SweepkitError:
    """Why the backend did not start: the data folder, if that cannot be written (nor could its log), else ``error``."""
    if isinstance(error, UsageError):
        return error
    wrong = next((check for check in _examined(_data_folder) if check.state == "fail"), None)
    return UsageError(f"the data folder cannot be used: {wrong.found}", wrong.mend) if wrong else error


def _examined(examination: Callable[[], Iterator[Check]]) -> list[Check]:
    """A check that breaks down is a finding, and must not hide the others."""
    try:
        return list(examination())
    except SweepkitError as error:
        return [Check(_name(examination), "fail", error.message, error.hint or "")]
    except Exception as error:
        return [Check(_name(examination), "fail", f"{type(error).__name__}: {error}")]


def _name(examination: Callable[[], Iterator[Check]]) -> str:
    return examination.__name__.strip("_").replace("_", " ")


def _python() -> Iterator[Check]:
    version = ".".join(map(str, sys.version_info[:3]))
    found = f"{version} at {sys.executable}"
    if sys.version_info[:2] < OLDEST_PYTHON:
        yield Check("python", "fail", found, "install Python 3.10 to 3.13")
    elif sys.version_info[:2] > NEWEST_PYTHON:
        yield Check("python", "warn", f"{found}, newer than any that is tested", "use Python 3.10 to 3.13 if it fails")
    else:
        yield Check("python", "ok", found)


def _packages() -> Iterator[Check]:
    """What the installed distribution asks for, against what is there."""
    try:
        wanted = metadata.requires("sweepkit") or []
    except metadata.PackageNotFoundError:
        yield Check("packages", "warn", "sweepkit runs from a clone and is not installed", "pip install -e .")
        return
    missing = [name for name in map(_requirement, wanted) if name and not _installed(name)]
    if missing:
        yield Check("packages", "fail", f"missing: {', '.join(missing)}", f"pip install {' '.join(missing)}")
    else:
        yield Check("packages", "ok", f"sweepkit {metadata.version('sweepkit')} and all that it needs")


def _requirement(text: str) -> str | None:
    """The name in ``name>=1; extra == "dev"``; None for what only an extra asks for."""
    if "extra ==" in text:
        return None
    return "".join(char if char.isalnum() or char in "-_." else " " for char in text).split()[0]


def _installed(name: str) -> bool:
    try:
        return bool(metadata.version(name))
    except metadata.PackageNotFoundError:
        return False


def _wandb() -> Iterator[Check]:
    version = metadata.version("wandb")
    major, minor = (int(part) for part in version.split(".")[:2])
    if (major, minor) < (0, 28):
        yield Check("wandb", "fail", version, "pip install 'wandb>=0.28'")
    else:
        yield Check("wandb", "ok", version)


def _torch() -> Iterator[Check]:
    try:
        import torch
    except ImportError as error:
        yield Check("torch", "fail", f"cannot be imported: {error}", "pip install torch torchvision")
        return
    devices = f"{torch.cuda.device_count()} CUDA devices" if torch.cuda.is_available() else "on the CPU"
    yield Check("torch", "ok", f"{torch.__version__}, {devices}")


def _gpus() -> Iterator[Check]:
    from .sweeps.agents.devices import slots
    from .sweeps.agents.gpus import visible_gpus

    gpus, problem = visible_gpus()
    found = f"GPU {', '.join(gpu.index for gpu in gpus)}" if gpus else f"no GPU ({problem})"
    yield Check("slots", "ok", f"{found}; {len(slots())} slots")


def _data_folder() -> Iterator[Check]:
    from .backend.process import file_system, refuse_network_folder

    folder = make_home()
    trial = folder / f".doctor.{os.getpid()}"
    try:
        trial.write_bytes(b"x")
    except OSError as error:
        mend = "free space there, mend its permissions, or choose another folder with SWEEPKIT_HOME"
        yield Check("data folder", "fail", f"{folder}: {error.strerror}", mend)
        return
    finally:
        trial.unlink(missing_ok=True)
    refuse_network_folder(folder)  # raises, with what to do
    kind = file_system(folder)
    yield Check("data folder", "ok", f"{folder}{f' ({kind})' if kind else ''}")


def _disk() -> Iterator[Check]:
    free = shutil.disk_usage(next(folder for folder in (home(), *home().parents) if folder.exists())).free
    found = f"{free / 2**30:.1f} GiB free"
    if free < LEAST_DISK:
        yield Check("disk", "warn", found, "free some space, or choose another folder with SWEEPKIT_HOME")
    else:
        yield Check("disk", "ok", found)


def _backend() -> Iterator[Check]:
    from .backend import daemon
    from .home import read_server

    server = daemon.find()
    if server:
        yield Check("embedded backend", "ok", f"{server.url}, process {server.pid}, entity {server.entity}")
    elif read_server():
        yield Check("embedded backend", "warn", "it ended without leaving word", "sweepkit serve")
    else:
        yield Check("embedded backend", "ok", "not running; it is started when it is needed")


def _accounts() -> Iterator[Check]:
    """Which backend ``auto`` means here. A key is never shown."""
    from .home import Server
    from .sweeps.backends import choose

    meant = choose("auto", lambda: Server("", "", "", 0))
    if meant.kind == "wandb":
        yield Check("backend auto", "ok", f"means W&B at {meant.web()}: a key was found (not shown)")
    else:
        yield Check("backend auto", "ok", "means the embedded one: neither a key for W&B nor WANDB_BASE_URL was found")


_EXAMINATIONS = (_python, _packages, _wandb, _torch, _gpus, _data_folder, _disk, _backend, _accounts)
