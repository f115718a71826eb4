"""Promotion: a process outside the sweep; a sweep or a run may be named; what goes wrong is told."""

from __future__ import annotations

from typing import Any

import pytest
from sweepkit.errors import SweepkitError, UsageError
from sweepkit.sweeps import promote as promoting
from sweepkit.sweeps.backends import Backend
from sweepkit.sweeps.wandb_api import WandbApi

CONFIG = {
    "method": "grid",
    "program": "train.py",
    "metric": {"name": "acc", "goal": "maximize"},
    "parameters": {"lr": {"values": [0.1, 0.2]}},
}


def test_the_child_knows_nothing_of_a_sweep() -> None:
    backend = Backend("embedded", "http://127.0.0.1:1", "k" * 40, "me")
    around = {"WANDB_SWEEP_ID": "s", "WANDB_RUN_ID": "r", "WANDB_MODE": "offline", "WANDB_API_KEY": "x", "PATH": "/bin"}
    given = promoting.environment(backend, around)
    assert not {"WANDB_SWEEP_ID", "WANDB_RUN_ID", "WANDB_MODE"} & set(given)
    assert (given["PATH"], given["WANDB_API_KEY"], given["WANDB_BASE_URL"]) == ("/bin", "k" * 40, "http://127.0.0.1:1")


def test_promoting(
    record: Any, api: WandbApi, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A sweep or a run is named; twice changes nothing; what was left out is said (the script kept nothing)."""
    ref, ids = record(CONFIG, [("a", [{"acc": 0.5}], 0), ("b", [{"acc": 0.7}], 0)])
    assert promoting.choose(api, f"{ref.entity}/{ref.project}/{ids[0]}").id == ids[0]
    with pytest.raises(UsageError, match="there is no sweep and no run 'nix'"):
        promoting.choose(api, "nix")

    monkeypatch.setenv("WANDB_SWEEP_ID", ref.id)  # as in the shell of someone who ran an agent
    monkeypatch.setenv("WANDB_RUN_ID", "another")
    first = promoting.promote(api, ref.id)
    before = [(each.name, each.version) for each in api.artifacts(api.run(f"{ref.project}/{ids[1]}"))]
    second = promoting.promote(api, ids[1])
    assert first.run == second.run == f"{ref.entity}/{ref.project}/{ids[1]}"
    assert first.left_out
    assert all(artifact["unchanged"] for artifact in second.artifacts)
    run = api.run(f"{ref.project}/{ids[1]}")
    assert (run.sweep, run.state, run.name) == (ref.id, "finished", "b")
    assert [(each.name, each.version) for each in api.artifacts(run)] == before
    capfd.readouterr()
    _a_report_that_fails(api, ref.id, capfd)


def _a_report_that_fails(api: WandbApi, sweep: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SweepkitError, match=r"the report on run .* failed \(exit code 2\)") as raised:
        promoting.promote(api, sweep, "nowhere:report")
    assert raised.value.exit_code == 2
    said = capfd.readouterr().err
    assert "nowhere" in said
    assert "Traceback" not in said
