"""Client processes that all start at the same moment."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CLIENTS = Path(__file__).resolve().parent / "clients"


@dataclass(frozen=True)
class Result:
    """What they did together, from the first one's start to the last one's end."""

    rows: int
    seconds: float

    @property
    def rate(self) -> float:
        return self.rows / self.seconds


def run(python: str, script: str, options: Sequence[dict[str, Any]], **variables: str) -> Result:
    """One process for each of ``options``. Raises SystemExit with what a client said when it fails."""
    with tempfile.TemporaryDirectory() as folder:
        processes = [_start(python, script, given, Path(folder), variables) for given in options]
        try:
            for process in processes:
                _line(process)
            for process in processes:
                assert process.stdin is not None
                process.stdin.write("go\n")
                process.stdin.flush()
            told = [json.loads(_line(process)) for process in processes]
        finally:
            for process in processes:
                process.communicate(timeout=60)
    seconds = max(one["ended"] for one in told) - min(one["began"] for one in told)
    return Result(sum(one["rows"] for one in told), seconds)


def ask(python: str, script: str, options: dict[str, Any], **variables: str) -> dict[str, list[float]]:
    """The JSON that a script prints last."""
    done = subprocess.run(
        [python, str(CLIENTS / script), json.dumps(options)],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=600,
    )
    if done.returncode:
        raise SystemExit(f"{script} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    answer: dict[str, list[float]] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def _start(
    python: str, script: str, options: dict[str, Any], folder: Path, variables: dict[str, str]
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [python, str(CLIENTS / script), json.dumps(options)],
        cwd=folder,
        env={**os.environ, **variables},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=(folder / f"{os.urandom(4).hex()}.log").open("wb"),
        text=True,
    )


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"a client ended early: {' '.join(map(str, process.args))}")  # type: ignore[arg-type]
    return line
