"""Editing a sweep: what changes is shown, the change goes through W&B's API, and the search goes on from there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from sweepkit.errors import SweepkitError, UsageError
from sweepkit.sweeps import edit, spec
from sweepkit.sweeps.backends import Backend
from sweepkit.sweeps.wandb_api import SweepRef, WandbApi
from sweepkit.sweeps.wandb_queries import UPSERT_SWEEP

from ..conftest import start_server, stop_server
from .terminal import Terminal

Spec = Callable[..., spec.Spec]
GRID = {"method": "grid", "program": "train.py", "metric": {"name": "loss"}, "parameters": {"x": {"values": [1, 2, 3]}}}
LOSS = [{"loss": 0.5}]


@pytest.fixture
def new(wandb_env: dict[str, str], tmp_path: Path) -> Spec:
    """A sweep's configuration with some keys changed, as a file of the user's."""
    (tmp_path / "train.py").write_text("")

    def made(config: dict[str, Any], **changes: Any) -> spec.Spec:
        kept = {key: value for key, value in {**config, **changes}.items() if value is not None}
        (tmp_path / "new.yaml").write_text(yaml.safe_dump(kept))
        return spec.load("new.yaml")

    return made


def next_of(api: WandbApi, ref: SweepRef) -> dict[str, Any] | str | None:
    """What the next agent is told: a configuration, ``exit``, or None for later."""
    commands = api.heartbeat(api.create_agent(ref, "next"), {})
    if not commands:
        return None
    if commands[0]["type"] != "run":
        return str(commands[0]["type"])
    return {name: entry["value"] for name, entry in commands[0]["args"].items()}


def edited(api: WandbApi, ref: SweepRef, wanted: spec.Spec) -> edit.Edit:
    planned = edit.look(api, ref, wanted)
    assert edit.apply(api, planned) == []
    return planned


def test_a_finished_grid_that_is_extended_goes_on(record: Any, api: WandbApi, new: Spec) -> None:
    ref, ids = record(GRID, [("a", LOSS, 0), ("b", LOSS, 0), ("c", LOSS, 0)])
    assert next_of(api, ref) == "exit" and api.sweep(ref).state == "FINISHED"
    wanted = new(GRID, parameters={"x": {"values": [0, 2, 3, 4]}}, description="wider", name="second")
    planned = edited(api, ref, wanted)
    assert [(change.key, change.kind) for change in planned.changes] == [
        ("description", "added"), ("name", "added"), ("parameters.x", "changed"),
    ]  # fmt: skip
    assert (planned.inside, planned.outside, planned.left, planned.state) == (2, (ids[0],), 2, "RUNNING")
    assert planned.lines() == [
        "key            change",
        'description    added: "wider"',
        'name           added: "second"',
        "parameters.x   values [1, 2, 3] -> values [0, 2, 3, 4]",
        "",
        "runs      2 inside the new space; 1 outside: kept, and left out of the search",
        "to come   2; it is FINISHED and goes on",
    ]
    now = api.sweep(ref)
    assert (now.state, now.name, now.run_count, now.expected) == ("RUNNING", "second", 3, 5)
    assert [next_of(api, ref), next_of(api, ref), next_of(api, ref)] == [{"x": 0}, {"x": 4}, None]
    assert (api.sweep(ref).run_count, api.sweep(ref).expected) == (5, 5)
    again = edit.look(api, ref, wanted)
    assert again.changes == () and "has already" in again.lines()[0]


def test_a_cap_is_raised_and_a_backend_that_was_restarted_keeps_to_it(new: Spec, tmp_path: Path) -> None:
    home = tmp_path / "own"
    process, server = start_server(home)
    try:
        api = WandbApi(Backend("embedded", server.url, server.key, server.entity))
        config = {**GRID, "run_cap": 2, "parameters": {"x": {"values": [1, 2, 3]}, "y": {"values": ["a", "b"]}}}
        ref = api.create_sweep(config, "edit")
        assert [next_of(api, ref) for _ in range(3)] == [{"x": 1, "y": "a"}, {"x": 1, "y": "b"}, None]
        edited(api, ref, new(config, run_cap=5, parameters={"x": {"values": [0, 1]}, "y": {"values": ["b", "c"]}}))
        assert next_of(api, ref) == {"x": 0, "y": "b"}
        stop_server(process)
        process, server = start_server(home)
        api = WandbApi(Backend("embedded", server.url, server.key, server.entity))
        assert [next_of(api, ref) for _ in range(3)] == [{"x": 0, "y": "c"}, {"x": 1, "y": "c"}, None]
    finally:
        stop_server(process)


@pytest.mark.parametrize("method", ["random", "bayes"])
def test_a_search_that_is_narrowed_stays_within(record: Any, api: WandbApi, new: Spec, method: str) -> None:
    config = {**GRID, "method": method, "parameters": {"x": {"min": 0.0, "max": 1.0}, "old": {"values": [1, 2]}}}
    ref, _ = record(config, [(str(n), LOSS, 0) for n in range(3)])
    space = {"x": {"min": 0.4, "max": 0.5}, "new": {"values": [7, 8]}}
    planned = edited(api, ref, new(config, parameters=space, run_cap=9))
    assert (planned.inside, planned.left, planned.state) == (0, 6, "RUNNING")
    assert [change.key for change in planned.changes] == ["run_cap", "parameters.new", "parameters.old", "parameters.x"]
    found = [next_of(api, ref) for _ in range(7)]
    assert found[6] is None
    assert all(isinstance(each, dict) and set(each) == {"x", "new"} and 0.4 <= each["x"] <= 0.5 for each in found[:6])


def test_what_means_the_same_is_no_change(api: WandbApi, wandb_env: dict[str, str], new: Spec) -> None:
    """W&B's client writes a sweep in its own way: with distributions, and 1e-4 as a text."""
    config = {**GRID, "method": "random", "parameters": {"lr": {"min": 0.0001, "max": 0.1}, "w": {"min": 1, "max": 9}}}
    import wandb

    ref = api.find_sweep(f"edit/{wandb.sweep(config, project='edit')}")
    assert edit.look(api, ref, new(config, project="edit", controller={"type": "cloud"})).changes == ()
    nested = {**config, "parameters": {"o": {"parameters": {"lr": {"value": 1}, "k": {"values": [1, 2]}}}}}
    ref = api.create_sweep({**nested, "early_terminate": {"type": "hyperband", "min_iter": 3}}, "edit")
    other = {"o": {"parameters": {"lr": {"value": 2}, "k": {"values": [1, 2]}}}}
    planned = edit.look(api, ref, new(nested, parameters=other, metric={"name": "acc", "goal": "maximize"}))
    assert [(change.key, change.kind) for change in planned.changes] == [
        ("early_terminate.min_iter", "removed"), ("early_terminate.type", "removed"), ("metric.goal", "added"),
        ("metric.name", "changed"), ("parameters.o.lr", "changed"),
    ]  # fmt: skip
    assert planned.notes == ("all runs are judged by the new metric, those from before too",)


def test_what_a_client_has_written_oddly_is_compared_all_the_same(api: WandbApi, new: Spec) -> None:
    text = "method: grid\nparameters: {x: {values: [1]}}\n1: 2\nsince: 2024-01-02\ncontroller: odd\n"
    answer = api._ask(UPSERT_SWEEP, config=text, project="edit")
    ref = api.find_sweep(f"edit/{answer['upsertSweep']['sweep']['name']}")
    planned = edit.look(api, ref, new(GRID, metric=None, parameters={"x": {"values": [1]}}))
    assert [(change.key, change.before) for change in planned.changes] == [
        ("1", 2), ("controller", "odd"), ("program", None), ("since", "2024-01-02"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"method": "random"}, "has method grid; random would be another search"),
        ({"project": "elsewhere"}, "stays in its project, which is not 'elsewhere'"),
        ({"entity": "nobody"}, "stays in its entity"),
        ({"controller": {"type": "local"}}, "search is elsewhere"),
    ],
)
def test_what_would_be_another_sweep_is_refused(api: WandbApi, new: Spec, changes: dict[str, Any], part: str) -> None:
    ref = api.create_sweep(GRID, "edit")
    with pytest.raises(UsageError) as caught:
        edit.look(api, ref, new(GRID, **changes))
    assert part in caught.value.message and caught.value.hint


def test_a_backend_that_takes_no_change_is_told_in_one_message(
    api: WandbApi, new: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As W&B's servers may do with a sweep that runs; here the embedded backend finds a value that it cannot take."""
    ref = api.create_sweep(GRID, "edit")
    planned = edit.look(api, ref, new(GRID, run_cap=7))
    planned.spec.config["run_cap"] = -1
    with pytest.raises(SweepkitError) as caught:
        edit.apply(api, planned)
    assert caught.value.message.startswith(f"sweep {ref.path} stays as it is: ") and "run_cap" in caught.value.message
    assert caught.value.hint and f"--prior {ref.entity}/edit/sweeps/{ref.id}" in caught.value.hint


def test_wandbs_own_update_does_the_same(api: WandbApi, new: Spec) -> None:
    ref = api.create_sweep(GRID, "edit")
    assert next_of(api, ref) == {"x": 1}
    new(GRID, parameters={"x": {"values": [1, 9]}})
    command = ["wandb", "sweep", "--update", ref.path, "new.yaml"]
    done = subprocess.run([sys.executable, "-m", *command], text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert [next_of(api, ref), next_of(api, ref)] == [{"x": 9}, None]


def sweepkit(*words: str, code: int = 0, **more: Any) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, "-m", "sweepkit", *words], text=True, capture_output=True, **more)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_the_command_shows_asks_and_changes(api: WandbApi, new: Spec, record: Any) -> None:
    ref, ids = record(GRID, [("a", LOSS, 0)])
    new(GRID, parameters={"x": {"values": [2]}})
    dry = json.loads(sweepkit("edit", ref.path, "new.yaml", "--dry-run", "--format", "json").stdout)
    assert dry == {
        "id": ref.id, "path": ref.path, "state": "RUNNING", "left": 1, "applied": False,
        "changes": [
            {"key": "parameters.x", "before": {"values": [1, 2, 3]}, "after": {"values": [2]}, "kind": "changed"},
        ],
        "runs": {"inside": 0, "outside": ids},
    }  # fmt: skip
    nobody = sweepkit("edit", ref.path, "new.yaml", code=2, stdin=subprocess.DEVNULL)
    assert "values [1, 2, 3] -> values [2]" in nobody.stdout and "say --yes" in nobody.stderr
    for answer, code in (("n", 1), ("y", 0)):
        assert next_of(api, ref) == ({"x": 2} if answer == "n" else {"x": 3})
        terminal = Terminal()
        os.write(terminal.ours, f"{answer}\n".encode())
        asked = sweepkit("edit", ref.path, "new.yaml", code=code, stdin=terminal.theirs)
        assert f"change sweep {ref.path}? [y/N]" in asked.stderr
        assert ("changed; see it" in asked.stderr) == (answer == "y")
    done = sweepkit("edit", ref.path, "new.yaml", "--trials", "5", "--yes", "--format", "json")
    assert json.loads(done.stdout)["applied"] and json.loads(done.stdout)["changes"][0]["after"] == 5
    assert next_of(api, ref) is None
