"""The bench of searches: its objectives have the optima that they say, its rules hold, and it goes on where it was."""

from __future__ import annotations

import math
import random
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

import search  # noqa: E402
from searching import digits_table, figures  # noqa: E402
from searching.moved import MOVED  # noqa: E402
from searching.objectives import OBJECTIVES  # noqa: E402
from sweepkit import space  # noqa: E402

BEST = {
    "branin": {"x": math.pi, "y": 2.275},
    "hartmann6": {"x1": 0.20169, "x2": 0.150011, "x3": 0.476874, "x4": 0.275332, "x5": 0.311652, "x6": 0.6573},
    "levy4": {"x1": 1.0, "x2": 1.0, "x3": 1.0, "x4": 1.0},
    "training": {"lr": 10**-3.1, "width": 256, "dropout": 0.25, "optimizer": "Adam"},
    "digits": dict(
        zip(digits_table.GRID, min(digits_table.table(), key=digits_table.table().__getitem__), strict=True)
    ),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_least_value_is_where_it_is_said_to_be(name: str) -> None:

    objective = OBJECTIVES[name]
    assert objective.value(BEST[name]) == pytest.approx(objective.least, abs=1e-6)
    rng, drawn = random.Random(name), space.parse(objective.parameters)
    values = [objective.value(drawn.sample(rng)) for _ in range(2000)]
    assert min(values) >= objective.least
    assert max(values) > objective.least + 0.1


@pytest.mark.parametrize("name", MOVED)
def test_a_moved_optimum_lies_elsewhere_for_each_seed_and_is_least(name: str) -> None:
    places = set()
    for seed in range(5):
        objective = MOVED[name].at(name, seed)
        best = {f"x{n}": value for n, value in enumerate(MOVED[name].optimum, 1)}
        assert objective.value(best) == pytest.approx(objective.least, abs=1e-9)
        rng, drawn = random.Random(name), space.parse(objective.parameters)
        samples = [drawn.sample(rng) for _ in range(500)]
        assert min(map(objective.value, samples)) >= objective.least
        for axis, value in best.items():
            low, high = objective.parameters[axis]["min"], objective.parameters[axis]["max"]
            assert low <= value <= high
            places.add((value - low) / (high - low))
    assert len(places) == 5 * len(MOVED[name].optimum)


def test_noise_is_told_and_does_not_count() -> None:
    objective, config = OBJECTIVES["training"], BEST["training"]
    told = [objective.measured(config, seed, trial) for seed in (1, 2) for trial in (0, 1)]
    assert len(set(told)) == 4 and told[0] == objective.measured(config, 1, 0)
    assert objective.regret(config) == pytest.approx(0.0)


def test_the_table_is_the_whole_grid() -> None:
    assert len(digits_table.table()) == math.prod(map(len, digits_table.GRID.values()))


def test_the_rule_of_ratios() -> None:
    assert figures.ratio(0.5, 1.0) == 0.5
    assert figures.ratio(0.001, 1.0) == figures.ratio(0.0, 1.0) == figures.FLOOR == 0.05
    assert figures.ratio(0.0, 0.0) == 1.0
    assert figures.ratio(0.1, 0.0) == math.inf
    assert figures.geometric_mean([0.5, 2.0, 1.0]) == pytest.approx(1.0)
    assert figures.geometric_mean([0.05, math.inf]) == math.inf


def test_intervals() -> None:
    mean, half = figures.mean_interval([1.0, 2.0, 3.0])
    assert (mean, half) == (2.0, pytest.approx(2.4841, abs=1e-4))  # 4.3027 / sqrt(3)
    assert math.isnan(figures.mean_interval([1.0])[1])
    same = {"a": [1.0, 1.0, 1.0], "b": [2.0, 2.0, 2.0]}
    assert figures.interval_of_ratios(same, same) == (1.0, 1.0)


def test_curves_are_measured_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "curves.json"
    options = ["--seeds", "2", "--trials", "6", "--engines", "random", "--objectives", "branin,digits"]
    options += ["--json", str(file)]
    assert search.main(options) == 0
    said = capsys.readouterr()
    assert "8 of 8" in said.err and "Reused" not in said.out
    assert said.out.count("6 trials") == 2 and re.search(r"^branin +random ", said.out, re.MULTILINE)
    kept = file.read_text()
    file.write_text(kept + '{"engine": "random", "mode": ')  # killed while it wrote
    assert search.main(options) == 0
    again = capsys.readouterr()
    assert again.err == "" and "8 curves of random" in again.out
    assert again.out.splitlines()[2:-5] == said.out.splitlines()[1:-5]


def test_an_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        search.main(["--engines", "rondom"])
    assert "allowed are wandb, tpe, gp, random, bayes" in capsys.readouterr().err


@pytest.mark.parametrize("given", ["0", "-3", "two", "1.5"])
@pytest.mark.parametrize("option", ["--seeds", "--trials", "--jobs"])
def test_what_is_no_count_is_refused(option: str, given: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        search.main([f"{option}={given}"])
    assert ended.value.code == 2
    assert f"argument {option}: '{given}' is no whole number from 1" in capsys.readouterr().err
