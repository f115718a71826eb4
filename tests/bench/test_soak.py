"""The backend's memory under load: a short soak. Hours of it are ``python bench/backend.py --soak 2h``. Takes 30 s."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

import servers  # noqa: E402
import soak  # noqa: E402


def test_memory_does_not_grow_with_runs(tmp_path: Path) -> None:
    with servers.sweepkit(tmp_path / "home") as server:
        assert server.memory < 120
        samples = soak.watch(server, 25)
    assert samples[-1].runs >= 100, "too slow a machine to say anything"
    late = samples[len(samples) // 2 :]
    # A store's page caches fill (8 MiB of the writer's, 1 MiB a thread that reads), and stay full; what leaks goes on.
    assert late[-1].memory - late[0].memory < 12
    assert max(sample.memory for sample in samples) < 160


@pytest.mark.parametrize("leak", [0.0, 2.5])
def test_the_slope_is_found(leak: float) -> None:
    samples = [soak.Sample(n, n * 20, 50 + min(n, 10) + leak * n * 20 / 1000) for n in range(200)]
    assert soak.growth(samples) == pytest.approx(leak, abs=0.05)


def test_times_are_read() -> None:
    assert [soak.parse_time(text) for text in ("90s", "10m", "2h")] == [90, 600, 7200]
    with pytest.raises(SystemExit, match="no time"):
        soak.parse_time("later")
