"""Quick commands stay quick: what they must not import, measured in the process itself. Timings are no tests."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from sweepkit.sweeps.backends import Backend
from sweepkit.sweeps.wandb_api import WandbApi

# Each costs more than the command may take, or a good part of it.
HEAVY = {
    "torch", "torchvision", "wandb", "numpy", "scipy", "sklearn", "pandas", "pyarrow", "matplotlib", "plotly", "PIL",
    "optuna", "sqlalchemy", "ariadne", "graphql", "starlette", "uvicorn", "rich", "pygments", "jinja2", "psutil",
    "pynvml", "tqdm", "asyncio", "multiprocessing", "concurrent",
}  # fmt: skip
NETWORK = {"requests", "urllib3", "http", "ssl", "email", "yaml", "platformdirs", "netrc", "logging"}
RUN = """
import json, sys
from sweepkit.cli import main
try:
    main(json.loads(sys.argv[1]))
finally:
    names = {name if name.startswith("sweepkit") else name.partition(".")[0] for name in sys.modules}
    print(json.dumps(sorted(names)), file=sys.stderr)
"""


def imported(*words: str) -> set[str]:
    """The top-level modules, and sweepkit's own, that a command has imported when it ends."""
    done = subprocess.run([sys.executable, "-c", RUN, json.dumps(words)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["logs", "--help"]])
def test_help_imports_neither_libraries_nor_rooms(words: list[str]) -> None:
    modules = imported(*words)
    assert modules & (HEAVY | NETWORK) == set()
    assert {name for name in modules if name.startswith(("sweepkit.backend.", "sweepkit.trainer"))} == set()
    agents = {f"sweepkit.sweeps.agents.{name}" for name in ("options", "policy", "outcomes")}  # what options may say
    assert {name for name in modules if name.startswith("sweepkit.sweeps.")} <= {"sweepkit.sweeps.agents", *agents}


def test_status_imports_no_more_than_what_asks_and_answers(server: Any, wandb_env: dict[str, str]) -> None:
    """Of libraries: requests, and yaml for the sweep's configuration."""
    api = WandbApi(Backend("embedded", server.url, server.key, server.entity))
    config = {"method": "grid", "program": "x.py", "metric": {"name": "loss"}, "parameters": {"x": {"values": [1, 2]}}}
    ref = api.create_sweep(config, "quick")
    modules = imported("status", ref.path, "--backend", "embedded")
    assert "requests" in modules, "the command did not do its work"
    assert modules & HEAVY == set()
    rooms = ("sweepkit.trainer", "sweepkit.figures", "sweepkit.space", "sweepkit.sweeps.spec")
    assert {name for name in modules if name.startswith(rooms)} == set()
