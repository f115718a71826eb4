"""Status: counts by state, the best so far, agents, time left; and `--watch`, which ends with the sweep."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sweepkit.errors import Unreachable
from sweepkit.sweeps import status as standing
from sweepkit.sweeps.wandb_api import SweepRef, WandbApi

from .terminal import Terminal

CONFIG = {
    "method": "grid",
    "program": "train.py",
    "metric": {"name": "loss"},
    "parameters": {"lr": {"values": [0.1, 0.2, 0.3]}},
}


def test_a_sweep_in_the_middle_and_at_its_end(record: Any, api: WandbApi) -> None:
    ref, ids = record(CONFIG, [("a", [{"loss": 0.5}, {"loss": 0.7}], 0), ("b gpu:1", [{"loss": 0.1}], 1)])
    now = standing.status(api, ref)
    assert (now["id"], now["path"], now["state"]) == (ref.id, ref.path, "RUNNING")
    assert (now["metric"], now["goal"]) == ("loss", "minimize")
    assert (now["runs"], now["run_count"], now["expected"]) == ({"failed": 1, "finished": 1}, 2, 3)
    assert (now["best"]["id"], now["best"]["value"]) == (ids[0], 0.5)
    assert {(agent["host"], agent["slot"], agent["run"]) for agent in now["agents"]} == {
        ("a", None, None), ("b", "gpu:1", None)
    }  # fmt: skip
    assert now["left"]["low"] <= now["left"]["seconds"] <= now["left"]["high"]
    assert standing.show(now)["progress"] == "2 of 3 (1 failed, 1 finished)"
    assert not standing.over(now)

    said: list[str] = []
    moments = standing.watch(standing.Standing(api, ref), said.append, seconds=0.1)
    first = next(moments)
    api.set_state(ref, "CANCELED")
    last = standing.lines(moments, said.append)
    assert first["state"] == "RUNNING"
    assert last["state"] == "CANCELED"
    assert said == [f"{ref.id} CANCELED: 2 of 3 (1 failed, 1 finished); best loss 0.5 (a, finished)"]


def test_why_a_trial_was_given_up_is_told(record: Any, api: WandbApi) -> None:
    ref, ids = record(CONFIG, [("a", [{"loss": 0.5}], 1), ("b", [{"loss": 0.7}], 0), ("c", [{"loss": 0.7}], 1)])
    tell = """mutation Tell($project: String, $entity: String, $name: String, $notes: String) {
        upsertBucket(input: {modelName: $project, entityName: $entity, name: $name, notes: $notes, state: "failed"})
        { inserted } }"""
    api._ask(tell, project=ref.project, entity=ref.entity, name=ids[0], notes="given up: its agents were lost\nmore")
    now = standing.status(api, ref)
    assert now["reasons"] == {ids[0]: "given up: its agents were lost\nmore"}
    assert standing.show(now)["reason"] == f"{ids[0]} given up: its agents were lost"


def test_a_running_run_is_read_again_and_a_finished_one_is_not(record: Any, api: WandbApi) -> None:
    ref, _ = record(CONFIG, [("a", [{"loss": 0.5}, {"loss": 0.7}], 0), ("b", [{"loss": 0.6}], 0)])
    sweep = standing.Standing(api, ref)
    asked: list[int] = []
    real = api.values
    api.values = lambda runs, key: asked.append(len(runs)) or real(runs, key)  # type: ignore[method-assign, func-returns-value]
    assert [sweep.look()["best"]["value"] for _ in range(3)] == [0.5] * 3
    assert asked == [2]


def test_agents_are_listed_by_what_matters_then_by_host_and_slot() -> None:
    def agent(host: str, slot: str | None, state: str, run: str | None) -> dict[str, Any]:
        return {"host": host, "slot": slot, "state": state, "run": run}

    agents = [
        agent("b2", None, "RUNNING", None),
        agent("a10", "gpu:10", "RUNNING", "r1"),
        agent("a10", "gpu:2", "RUNNING", "r2"),
        agent("a9", "gpu:0", "RUNNING", "r3"),
        agent("z", "gpu:0", "CRASHED", "r4"),
        agent("z", "gpu:1", "CRASHED", None),
    ]
    now = {"state": "RUNNING", "runs": {"running": 4}, "agents": agents}
    assert [line.split() for line in standing.agent_lines(now)[2:]] == [
        ["z", "gpu:0", "crashed", "r4"], ["a9", "gpu:0", "running", "r3"], ["a10", "gpu:2", "running", "r2"],
        ["a10", "gpu:10", "running", "r1"], ["b2", "running", "waiting"],
    ]  # fmt: skip
    assert standing.agent_lines({**now, "state": "FINISHED", "runs": {}}) == []


class Away:
    """A backend that is away for some looks."""

    def __init__(self, times: int) -> None:
        self.times = times

    def look(self) -> dict[str, Any]:
        self.times -= 1
        if self.times >= 0:
            raise Unreachable("the backend is out of reach", "start it")
        return {"state": "FINISHED", "runs": {}}


def test_a_backend_that_goes_away_is_told_once_and_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    moments = standing.watch(Away(3), said.append, seconds=0.01)  # type: ignore[arg-type]
    assert [now["state"] for now in moments] == ["FINISHED"]
    assert said == ["the backend is out of reach; it is asked again and again"]
    monkeypatch.setattr(standing, "PATIENCE", 0.0)
    with pytest.raises(Unreachable):
        next(standing.watch(Away(99), said.append, seconds=0.01))  # type: ignore[arg-type]


@pytest.fixture
def hundred(api: WandbApi, wandb_env: dict[str, str]) -> tuple[SweepRef, list[str]]:
    """A sweep with a hundred agents; ninety have a run that they work on. Nothing of it is faked but the training."""
    endless = {"method": "random", "run_cap": 500, "parameters": {"lr": {"max": 1.0, "min": 0.0}}}
    ref = api.create_sweep({**CONFIG, **endless}, "many")
    agents = [api.create_agent(ref, f"node{n // 8} gpu:{n % 8}") for n in range(100)]
    with ThreadPoolExecutor(4) as threads:
        given = threads.map(lambda agent: api.heartbeat(agent, {}), agents[:90])
        runs = [command["run_id"] for commands in given for command in commands if command["type"] == "run"]
    assert len(runs) == 90
    return ref, runs


def test_a_hundred_agents_on_one_terminal(hundred: tuple[SweepRef, list[str]], api: WandbApi) -> None:
    ref, runs = hundred
    now = standing.status(api, ref)
    assert (now["run_count"], len(now["agents"])) == (90, 100)
    assert sorted(agent["run"] for agent in now["agents"] if agent["run"]) == sorted(runs)
    listed = standing.agent_lines(now)
    assert listed[1].split() == ["host", "slot", "state", "run"]
    assert listed[-1] == "… and 80 more; --format json has all"

    terminal = Terminal(80, 24)
    words = [sys.executable, "-m", "sweepkit", "status", ref.path, "--watch"]
    watcher = subprocess.Popen(words, stderr=terminal.theirs, stdout=subprocess.PIPE)
    try:
        for columns, rows in ((80, 24), (200, 50)):
            terminal.resize(columns, rows)
            seen = terminal.until(lambda seen, c=columns, r=rows: _full(seen, c, r))  # type: ignore[misc]
            assert len(seen) <= rows
            assert max(map(len, seen)) <= columns
            slots = [line for line in seen if line.startswith("node")]
            assert len(slots) == rows - 6  # the last line is the cursor's; title, heads, "… and", bar, best
            assert seen[-3].startswith(f"… and {90 - len(slots)} more running, 10 waiting")
            assert "0/500 trials" in seen[-2]
        watcher.send_signal(signal.SIGINT)
        out, _ = watcher.communicate(timeout=20)
        assert watcher.returncode == 130
        assert out == b""
        left = [line for line in terminal.rows() if not line.startswith("backend: ")]
        assert left == ["interrupted"]
    finally:
        watcher.kill()
        watcher.wait()
        terminal.close()


def _full(seen: list[str], columns: int, rows: int) -> bool:
    body = [line for line in seen if not line.startswith("backend: ")]
    return len(body) == rows - 1 and len(_bare(body[-2])) == columns - 1


def _bare(line: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", line)


@pytest.fixture
def watching(wandb_env: dict[str, str], record: Any) -> Iterator[tuple[SweepRef, Any]]:
    ref, _ = record(CONFIG, [("a", [{"loss": 0.5}], 0)])
    started: list[subprocess.Popen[str]] = []

    def start(*options: str, **streams: Any) -> subprocess.Popen[str]:
        words = [sys.executable, "-m", "sweepkit", "status", ref.path, "--watch", *options]
        started.append(subprocess.Popen(words, text=True, **streams))
        return started[-1]

    yield ref, start
    for process in started:
        process.kill()
        process.wait()


def test_json_is_a_line_for_each_change(watching: tuple[SweepRef, Any], api: WandbApi) -> None:
    ref, start = watching
    process = start("--format", "json", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    first = json.loads(process.stdout.readline())
    assert (first["state"], first["runs"]) == ("RUNNING", {"finished": 1})
    time.sleep(4)  # looks without a change say nothing
    api.set_state(ref, "PAUSED")
    assert json.loads(process.stdout.readline())["state"] == "PAUSED"
    api.set_state(ref, "FINISHED")
    out, said = process.communicate(timeout=30)
    assert [json.loads(line)["state"] for line in out.splitlines()] == ["FINISHED"]
    assert process.returncode == 0
    assert "Traceback" not in said


def test_no_terminal_gets_plain_lines_and_the_answer(watching: tuple[SweepRef, Any], api: WandbApi) -> None:
    ref, start = watching
    process = start(stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    time.sleep(3)
    api.set_state(ref, "FINISHED")
    out, said = process.communicate(timeout=30)
    assert "\x1b" not in out + said
    lines = [line for line in said.splitlines() if line.startswith(ref.id)]
    assert re.match(rf"{ref.id} RUNNING: 1 of 3 \(1 finished\); best loss 0.5 \(a, finished\); .* left$", lines[0])
    assert lines[1:] == [f"{ref.id} FINISHED: 1 of 3 (1 finished); best loss 0.5 (a, finished)"]
    assert re.search(r"^best so far +loss 0.5", out, flags=re.MULTILINE)


def test_a_terminal_shows_it_live_and_then_the_answer(watching: tuple[SweepRef, Any], api: WandbApi) -> None:
    ref, start = watching
    terminal = Terminal(100, 20)
    process = start(stdout=subprocess.PIPE, stderr=terminal.theirs)
    try:
        rows = terminal.until(lambda rows: any("1/3 trials" in row for row in rows))
        assert rows[1].startswith("\x1b[1m") or ref.path in "".join(rows)
        api.set_state(ref, "CANCELED")
        out, _ = process.communicate(timeout=30)
        assert [row for row in terminal.rows() if not row.startswith("backend: ")] == []
        assert re.search(r"^state +CANCELED", out, flags=re.MULTILINE)
    finally:
        terminal.close()


def test_a_run_that_waits_in_a_sweep_that_has_ended_waits_in_vain() -> None:
    """As those are that a scheduler had asked for when the sweep was stopped; who watches must not wait with it."""
    agent = {"state": "RUNNING", "run": None}
    now = {"state": "FINISHED", "runs": {"finished": 3, "pending": 1}, "agents": [agent]}
    assert standing.over(now)
    assert not standing.over({**now, "agents": [{**agent, "run": "abc"}]})
    assert not standing.over({**now, "runs": {"running": 1}})
    assert not standing.over({**now, "state": "RUNNING"})
