"""The bench of trials says what to do when MNIST is not there, and tells equal accuracies from others."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

import throughput  # noqa: E402


def test_data_that_are_not_there_are_told_with_the_fix(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        throughput.check_data(tmp_path)
    assert f"MNIST is not in {tmp_path}" in str(caught.value)
    assert "download=True" in str(caught.value)


def outcome(who: str, seed: int, accuracy: float) -> throughput.Outcome:
    return throughput.Outcome(who, seed, 100, [1.0, 3.0], [1.0], [0.1, accuracy], 9.0, 9.0)


def test_rates_are_over_all_images_and_noise_is_told_from_a_difference() -> None:
    plain = [outcome("plain loop", seed, accuracy) for seed, accuracy in enumerate((0.93, 0.94, 0.95))]
    same = [outcome("trainer bf16", seed, accuracy) for seed, accuracy in enumerate((0.935, 0.945, 0.955))]
    worse = [outcome("trainer bf16", seed, accuracy) for seed, accuracy in enumerate((0.85, 0.86, 0.87))]
    assert plain[0].rate() == 50.0
    assert plain[0].rate(after=1) == pytest.approx(100 / 3)
    assert ": equal within noise" in throughput.accuracies(same, plain)
    assert "NOT equal within noise" in throughput.accuracies(worse, plain)
    assert "one seed tells nothing" in throughput.accuracies(same[:1], plain[:1])
