"""W&B's own search engine, beside which sweepkit's is held."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "bench"))

from searching import wandb_engine  # noqa: E402
from searching.wandb_engine import EngineError, WandbEngine  # noqa: E402


@pytest.fixture(scope="session")
def theirs() -> Iterator[WandbEngine]:
    """The engine's process. Without the internet what needs it is skipped, but never in CI."""
    try:
        wandb_engine.python()
    except EngineError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    with WandbEngine.started() as engine:
        yield engine
