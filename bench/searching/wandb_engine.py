"""W&B's own search engine, the package ``sweeps``, in an environment and a process of its own.

It wants an old numpy, so it cannot be imported beside sweepkit. The bench of searches and tests ask it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import venv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import platformdirs

VERSION = "0.3.0"
_NEEDS = ("scipy>=1.11", "PyYAML>=6", "scikit-learn>=1.4", "jsonschema>=4", "jsonref>=1", "pydantic>=2.6,<3")
_CHILD = Path(__file__).with_name("wandb_child.py")
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class EngineError(RuntimeError):
    """The engine could not be installed, or raised; the message is its own."""


def python() -> Path:
    """The interpreter of the engine's environment, made in the user's cache when it is not there. Raises EngineError.

    No numpy below 2 is built for Python 3.13 and later. There the engine gets numpy 2, with which it answers alike.
    """
    release = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = platformdirs.user_cache_path("sweepkit-engines") / f"wandb-{release}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    numpy = "numpy>=1.26,<2" if sys.version_info < (3, 13) else "numpy>=2.1,<3"
    wanted = json.dumps([VERSION, numpy, _NEEDS, sys.base_prefix, sys.version])
    with (folder.parent / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists() or (folder / "done").read_text() != wanted:
            print(f"Installing sweeps {VERSION} into {folder}; this happens once.", file=sys.stderr, flush=True)
            venv.create(folder, with_pip=True, clear=True)
            _install(folder, "--no-deps", f"sweeps=={VERSION}")
            _install(folder, numpy, *_NEEDS)
            (folder / "done").write_text(wanted)
    return folder / "bin" / "python"


def _install(folder: Path, *what: str) -> None:
    command = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "--only-binary", ":all:", *what]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise EngineError(f"{' '.join(what)} cannot be installed: {done.stderr.strip()[-500:]}")


class WandbEngine:
    """The engine's process: one question and one answer at a time, each a line of JSON."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [str(python()), "-I", "-W", "ignore", str(_CHILD)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **_ONE_THREAD},
        )  # fmt: skip

    @classmethod
    @contextlib.contextmanager
    def started(cls) -> Iterator[WandbEngine]:
        engine = cls()
        try:
            yield engine
        finally:
            engine.close()

    def close(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()

    def next_run(self, config: Mapping[str, Any], runs: Sequence[Mapping[str, Any]], seed: int) -> dict[str, Any]:
        """The configuration that the engine tries next. ``runs`` are as its ``SweepRun`` takes them."""
        return self._ask(do="next", config=config, runs=runs, seed=seed)  # type: ignore[no-any-return]

    def draws(self, parameter: Mapping[str, Any], count: int, seed: int) -> list[Any]:
        """So many values as the engine's random search draws them."""
        return self._ask(do="draw", parameter=parameter, count=count, seed=seed)  # type: ignore[no-any-return]

    def distribution(self, parameter: Mapping[str, Any]) -> str:
        """The engine's own name for a parameter's distribution. Raises EngineError where the engine refuses it."""
        return self._ask(do="read", parameter=parameter)  # type: ignore[no-any-return]

    def quantiles(self, parameter: Mapping[str, Any], shares: Sequence[float]) -> list[Any]:
        """The values below which these shares of a distribution lie, as the engine has them."""
        return self._ask(do="quantiles", parameter=parameter, shares=shares)  # type: ignore[no-any-return]

    def grid(
        self, parameters: Mapping[str, Any], most: int, runs: Sequence[Mapping[str, Any]] = ()
    ) -> list[dict[str, Any]]:
        """What a grid tries after the ``runs``, in order, at most so many. Raises EngineError where it is refused."""
        return self._ask(do="grid", parameters=parameters, runs=runs, most=most)  # type: ignore[no-any-return]

    def stopped(self, config: Mapping[str, Any], runs: Sequence[Mapping[str, Any]]) -> list[str]:
        """Names of the runs that early termination stops. Raises EngineError where the engine refuses."""
        return self._ask(do="stop", config=config, runs=runs)  # type: ignore[no-any-return]

    def _ask(self, **question: Any) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise EngineError(f"the engine's process ended with {self._process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise EngineError(answer["error"])
        return answer["answer"]
