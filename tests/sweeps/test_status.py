"""Status: counts by state, the best so far with its run, agents; and `--watch`, which ends with the sweep."""

from __future__ import annotations

from typing import Any

from sweepkit.sweeps import status as standing
from sweepkit.sweeps.wandb_api import WandbApi

CONFIG = {
    "method": "grid",
    "program": "train.py",
    "metric": {"name": "loss"},
    "parameters": {"lr": {"values": [0.1, 0.2, 0.3]}},
}


def test_a_sweep_in_the_middle_and_at_its_end(record: Any, api: WandbApi) -> None:
    ref, ids = record(CONFIG, [("a", [{"loss": 0.5}, {"loss": 0.7}], 0), ("b", [{"loss": 0.1}], 1)])
    now = standing.status(api, ref)
    assert (now["id"], now["path"], now["state"]) == (ref.id, ref.path, "RUNNING")
    assert (now["metric"], now["goal"]) == ("loss", "minimize")
    assert (now["runs"], now["run_count"], now["expected"]) == ({"failed": 1, "finished": 1}, 2, 3)
    assert (now["best"]["id"], now["best"]["value"]) == (ids[0], 0.5)
    assert {agent["host"] for agent in now["agents"]} == {"a", "b"}
    assert standing.show(now)["progress"] == "2 of 3 (1 failed, 1 finished)"
    assert not standing.over(now)

    said: list[str] = []
    moments = standing.watch(api, ref, seconds=0.1)
    first = next(moments)
    api.set_state(ref, "CANCELED")
    last = standing.lines(moments, said.append)
    assert first["state"] == "RUNNING"
    assert last["state"] == "CANCELED"
    assert said == [f"{ref.id} CANCELED: 2 of 3 (1 failed, 1 finished); best loss 0.5 (a, finished)"]
