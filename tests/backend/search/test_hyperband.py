"""Hyperband: W&B's bands, thresholds and decisions."""

from __future__ import annotations

from typing import Any

import pytest
from sweepkit.backend import search
from sweepkit.backend.search import MemoryLedger, Metric, RunWithMetrics, Settings, StopDecision
from sweepkit.backend.search import settings as sweep_settings
from sweepkit.backend.search.hyperband import Hyperband, HyperbandError
from sweepkit.space import Space

LOSS = Metric("loss")


def judge(stopper: Hyperband, histories: Any, running: Any, metric: Metric) -> tuple[dict[str, StopDecision], Any]:
    """What is stopped of ``running`` where a ledger knows all ``histories``; and the threshold of each band."""
    settings = Settings("random", Space(()), metric, None, stopper, None, False, ())
    ledger = MemoryLedger(settings)
    for run_id, history in histories.items():
        ledger.reach(run_id, {band: history[band - 1] for band in stopper.bands if band <= len(history)})
    decisions = stopper.decide({name: histories[name] for name in running}, ledger.threshold, metric)
    return decisions, [ledger.threshold(band) for band in stopper.bands]


ACCURACY = Metric("acc", maximize=True)


@pytest.mark.parametrize(
    ("given", "bands"),
    [
        ({"max_iter": 27, "s": 2}, (3, 9)),
        ({"max_iter": 27, "s": 9}, (1, 3, 9)),
        ({"max_iter": 5, "s": 2, "eta": 2}, (1, 2)),
        ({"min_iter": 3}, (3, 9, 27)),
        ({"min_iter": 2, "eta": 1.5}, (2, 3, 4)),
    ],
)
def test_bands(given: dict[str, Any], bands: tuple[int, ...]) -> None:
    assert Hyperband.read({"type": "hyperband", **given}).bands[: len(bands)] == bands


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"type": "hyperband"},
        {"type": "hyperband", "min_iter": 0},
        {"type": "hyperband", "max_iter": 2, "s": 1},
        {"type": "hyperband", "min_iter": 1, "strict": "false"},
    ],
)
def test_what_gives_no_bands_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(HyperbandError):
        Hyperband.read(given)


def test_the_example_of_w_and_b() -> None:
    """Five runs, bands 1 and 2, eta 2: the one that is strictly worse than the median at its highest band stops."""
    histories = {"a": [10, 9], "b": [10, 10], "c": [10, 8, 8], "d": [10, 7, 7], "e": [10, 6, 6]}
    stopper = Hyperband.read({"type": "hyperband", "max_iter": 5, "eta": 2, "s": 2})
    decisions, thresholds = judge(stopper, histories, {"b", "c", "d"}, LOSS)
    assert thresholds == [10, 8]
    assert set(decisions) == {"b"}
    assert (decisions["b"].band, decisions["b"].value, decisions["b"].threshold) == (2, 10, 8)


def test_maximizing_is_the_mirror_image() -> None:
    histories = {"a": [0.1], "b": [0.5], "c": [0.9]}
    decisions, thresholds = judge(Hyperband((1,), 3), histories, set(histories), ACCURACY)
    assert (thresholds, set(decisions)) == ([0.5], {"a"})


def test_strict_looks_at_the_band_and_lenient_at_the_best_so_far() -> None:
    histories = {"a": [1.0, 9.0], "b": [5.0, 5.0], "c": [5.0, 4.0], "d": [5.0, 3.0]}
    assert "a" in judge(Hyperband((2,), 2, strict=True), histories, {"a"}, LOSS)[0]
    assert "a" not in judge(Hyperband((2,), 2, strict=False), histories, {"a"}, LOSS)[0]


def test_a_run_alone_or_below_the_first_band_goes_on() -> None:
    assert judge(Hyperband((1, 3), 3), {"a": [5.0]}, {"a"}, LOSS)[0] == {}
    assert judge(Hyperband((3,), 3), {"a": [5.0, 5.0], "b": [0.0] * 3}, {"a"}, LOSS)[0] == {}


def test_an_engine_names_a_run_once_and_keeps_the_reason() -> None:
    config = {
        "method": "random",
        "parameters": {"x": {"min": 0.0, "max": 1.0}},
        "metric": {"name": "loss"},
        "early_terminate": {"type": "hyperband", "min_iter": 1, "eta": 2},
    }
    engine = search.make(sweep_settings.read(config), "s")
    ids = [one.run_id for one in engine.ask_n_runs(3) or ()]
    runs = [RunWithMetrics({}, "running", "w", (value,)) for value in (1.0, 2.0, 3.0)]
    assert engine.prune_runs(ids, runs) == [ids[2]]
    assert engine.prune_runs(ids, runs) == []
    decision = engine.decision(ids[2])
    assert decision is not None and (decision.band, decision.value, decision.threshold) == (1, 3.0, 2.0)
