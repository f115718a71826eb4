"""Environments with packages that tests need and users install themselves: made once, and kept for the next session."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import platformdirs
import pytest


def python_with(name: str, *packages: str) -> Path:
    """The interpreter of the environment ``name``, which has ``packages`` and sees those of this environment.

    Without the internet the test is skipped, but never in CI.
    """
    release = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = platformdirs.user_cache_path("sweepkit-tests") / f"{name}-{release}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = json.dumps([packages, sys.prefix, sys.version])
        if not (folder / "done").exists() or (folder / "done").read_text() != wanted:
            venv.create(folder, with_pip=True, clear=True)  # what another Python of this release left does not fit
            seen = next(path for path in map(Path, sys.path) if path.name == "site-packages")
            (folder / "lib" / f"python{release}" / "site-packages" / "outer.pth").write_text(f"{seen}\n")
            command = [folder / "bin" / "python", "-m", "pip", "install", "-q", *packages]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode and not os.environ.get("CI"):
                pytest.skip(f"the packages cannot be installed here: {done.stderr[-300:]}")
            assert done.returncode == 0, done.stderr
            (folder / "done").write_text(wanted)
    return folder / "bin" / "python"
