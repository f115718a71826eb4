"""Sweeps with the real wandb client over HTTP: its documents, its agent, its command line, its public API."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
import yaml
from graphql import parse, validate
from sweepkit.backend.graphql import schema

SCRIPT = """
import os, time, wandb
with wandb.init() as run:
    for step in range(3):
        run.log({"loss": (run.config["x"] - 3) ** 2 + step / 10})
        time.sleep(float(os.environ.get("PAUSE", 0)))
"""
AT_ONCE = """
import sys
from wandb import wandb_agent
wandb_agent.Agent.POLL_INTERVAL = 0.2  # s, 5 otherwise: the agent as it is, but quicker
from wandb.cli.cli import cli
sys.argv[0] = "wandb"
cli()
"""
Wandb = Callable[..., subprocess.CompletedProcess[str]]


class Backend:
    """Plain GraphQL, for what the client's own commands do not show."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.url, self.key, self.entity = (environment[f"WANDB_{name}"] for name in ("BASE_URL", "API_KEY", "ENTITY"))

    def post(self, query: str, **variables: Any) -> requests.Response:
        body = {"query": query, "variables": variables, "operationName": ""}
        return requests.post(f"{self.url}/graphql", json=body, auth=("api", self.key), timeout=60)

    def ask(self, query: str, **variables: Any) -> Any:
        answer = self.post(query, **variables).json()
        assert "errors" not in answer, answer
        return answer["data"]

    def create(self, project: str, config: dict[str, Any]) -> dict[str, Any]:
        query = """mutation Make($config: String, $project: String) {
            upsertSweep(input: {config: $config, projectName: $project}) {
                sweep { id name state } configValidationWarnings } }"""
        return dict(self.ask(query, config=yaml.safe_dump(config), project=project)["upsertSweep"])

    def sweep(self, project: str, name: str, fields: str) -> dict[str, Any]:
        query = f"query($p: String, $s: String!) {{ project(name: $p) {{ sweep(sweepName: $s) {{ {fields} }} }} }}"
        return dict(self.ask(query, p=project, s=name)["project"]["sweep"])

    def runs(self, project: str, name: str) -> list[dict[str, Any]]:
        fields = "runs { edges { node { name state config stopped summaryMetrics } } }"
        nodes = [edge["node"] for edge in self.sweep(project, name, fields)["runs"]["edges"]]
        return [{**node, "config": json.loads(node["config"])} for node in nodes]

    def agent(self, project: str, sweep: str) -> str:
        query = """mutation($p: String, $s: String!) {
            createAgent(input: {host: "h", projectName: $p, sweep: $s}) { agent { id } } }"""
        return str(self.ask(query, p=project, s=sweep)["createAgent"]["agent"]["id"])

    def beat(self, agent: str, *alive: str) -> list[dict[str, Any]]:
        query = "mutation($id: ID!, $s: JSONString) { agentHeartbeat(input: {id: $id, runState: $s}) { commands } }"
        answer = self.ask(query, id=agent, s=json.dumps(dict.fromkeys(alive, True)))
        return list(json.loads(answer["agentHeartbeat"]["commands"]))


@pytest.fixture
def backend(wandb_env: dict[str, str]) -> Backend:
    return Backend(wandb_env)


@pytest.fixture
def wandb(wandb_env: dict[str, str], tmp_path: Path) -> Wandb:
    """The client's command line, with its agent polling faster than it would by itself."""
    (tmp_path / "train.py").write_text(SCRIPT)
    (tmp_path / "wandb_quick.py").write_text(AT_ONCE)
    environment = {**os.environ, "WANDB_SILENT": "false", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def run(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(tmp_path / "wandb_quick.py"), *words]
        return subprocess.run(
            command, env={**environment, **more}, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
        )

    return run


CORE = """
query Poll($entity: String!, $project: String!, $sweep: String!, $first: Int!, $cursor: String, $h: [JSONString!]!) {
    project(name: $project, entityName: $entity) {
        sweep(sweepName: $sweep) {
            id state config displayName controllerRunName
            runs(first: $first, after: $cursor) { ...PollRuns }
        }
    }
}
fragment PollRuns on RunConnection {
    pageInfo { hasNextPage endCursor }
    edges { node { id name state config summaryMetrics sampledHistory(specs: $h) } }
}
"""


def documents() -> Iterator[tuple[str, str]]:
    """Every GraphQL text about sweeps or agents in the installed client."""
    import wandb as package

    folder = Path(package.__file__).parent
    for file in sorted([*folder.glob("apis/**/*.py"), *folder.glob("sdk/**/*.py")]):
        text = file.read_text(encoding="utf-8")
        if not any(word in text for word in ("sweep(sweepName", "upsertSweep", "agentHeartbeat", "enqueueSweepRun")):
            continue
        for node in ast.walk(ast.parse(text)):
            document = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
            head = document.strip().split("(")[0]
            if head.startswith(("query ", "mutation ")) and any(w in head for w in ("Sweep", "Agent", "Heartbeat")):
                yield f"{file.stem}:{head}", document
    yield "wandb-core:scheduler", CORE


DOCUMENTS = [pytest.param(name, text, id=name) for name, text in documents() if "launch" not in name.lower()]


@pytest.mark.parametrize(("name", "text"), DOCUMENTS)  # run queues (launch) are another product
def test_the_clients_documents_fit_the_schema(name: str, text: str) -> None:
    text = text.replace("_PROJECT_QUERY_", "project { id name entity { id name } }")
    assert validate(schema(), parse(text)) == []


def test_wandb_sweep_and_agent_walk_a_grid(wandb: Wandb, backend: Backend, tmp_path: Path) -> None:
    values = {"x": {"values": [1, 2]}}
    config = {"program": "train.py", "method": "grid", "metric": {"name": "loss"}, "parameters": values}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(config))
    made = wandb("sweep", "--project", "cli", "sweep.yaml")
    assert made.returncode == 0, made.stderr
    name = made.stderr.split("Creating sweep with ID: ")[1].split()[0]
    agent = wandb("agent", f"cli/{name}")
    assert agent.returncode == 0, agent.stderr
    runs = backend.runs("cli", name)
    assert [run["config"]["x"]["value"] for run in runs] == [1, 2]
    assert {run["state"] for run in runs} == {"finished"}
    fields = "state runCount runCountExpected bestLoss method agents { edges { node { name state totalRuns } } }"
    sweep = backend.sweep("cli", name, fields)
    assert (sweep["state"], sweep["runCount"], sweep["runCountExpected"], sweep["method"]) == ("FINISHED", 2, 2, "grid")
    assert sweep["bestLoss"] == pytest.approx(1.2)
    assert [edge["node"]["totalRuns"] for edge in sweep["agents"]["edges"]] == [2]


@pytest.mark.parametrize("method", ["random", "bayes"])
def test_wandb_agent_searches_up_to_the_cap(wandb: Wandb, backend: Backend, method: str) -> None:
    space = {"x": {"distribution": "log_uniform_values", "min": 0.1, "max": 10.0}}
    config = {"program": "train.py", "method": method, "metric": {"name": "loss"}, "parameters": space, "run_cap": 1}
    name = backend.create("cap", config)["sweep"]["name"]
    agent = wandb("agent", f"cap/{name}")
    assert agent.returncode == 0, agent.stderr
    (run,) = backend.runs("cap", name)
    assert run["state"] == "finished" and 0.1 <= run["config"]["x"]["value"] <= 10.0


PUBLIC = """
import sys, wandb
api = wandb.Api()
sweep = api.sweep(sys.argv[1])
best = sweep.best_run()
assert best.summary["loss"] == min(run.summary["loss"] for run in sweep.runs), best
assert sweep.expected_run_count == 2 and sweep.state == "FINISHED", sweep
assert best.sweep.id == sweep.id and best.sweep_name == sweep.id
agent = sweep.agents()[0]
assert sweep.agent(agent.name).id == agent.id
assert [run.id for run in agent.runs(per_page=1)] == [run.id for run in sweep.runs]
listed = api.project("function", entity=sweep.entity).sweeps(filters={"name": sweep.id})
assert [one.id for one in listed] == [sweep.id]
"""
FUNCTION = """
import sys, wandb
from wandb.agents import pyagent
pyagent.Agent.HEARTBEAT_SLEEP_SECONDS = 0.2
def train():
    with wandb.init() as run:
        run.log({"loss": (run.config["x"] - 0.5) ** 2})
space = {"x": {"min": 0.0, "max": 1.0}}
config = {"method": sys.argv[1], "metric": {"name": "loss", "goal": "minimize"}, "parameters": space, "run_cap": 2}
sweep = wandb.sweep(config, project="function")
print("SWEEP", sweep)
wandb.agent(sweep, train, project="function")
"""


def test_wandb_agent_with_a_function_and_the_public_api(backend: Backend) -> None:
    done = _python(FUNCTION, "bayes")
    name = done.stdout.split("SWEEP ")[1].split()[0]
    assert len({run["config"]["x"]["value"] for run in backend.runs("function", name)}) == 2
    _python(PUBLIC, f"{backend.entity}/function/{name}")


def _python(script: str, word: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script, word]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done


def test_a_killed_agents_trial_goes_to_another_with_the_same_id(
    wandb: Wandb, backend: Backend, server: Any, tmp_path: Path
) -> None:
    config = {"program": "train.py", "method": "grid", "parameters": {"x": {"values": [7]}}}
    name = backend.create("killed", config)["sweep"]["name"]
    command = [sys.executable, str(tmp_path / "wandb_quick.py"), "agent", f"killed/{name}"]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with (tmp_path / "first.log").open("wb") as log:
        first = subprocess.Popen(
            command, env={**os.environ, "PATH": path, "PAUSE": "60"}, cwd=tmp_path, stdout=log, stderr=log
        )
    _wait(lambda: [run["state"] for run in backend.runs("killed", name)] == ["running"])
    _kill_all(first)
    with contextlib.closing(sqlite3.connect(server.home / "store.sqlite3", timeout=30)) as store, store:
        store.execute("UPDATE agents SET heartbeat_at = '2020-01-01T00:00:00.000000Z'")  # a minute has passed
        store.execute("UPDATE runs SET heartbeat_at = '2020-01-01T00:00:00.000000Z' WHERE state = 'running'")
    (before,) = backend.runs("killed", name)
    done = wandb("agent", f"killed/{name}")
    assert done.returncode == 0, done.stderr
    (after,) = backend.runs("killed", name)
    assert (after["name"], after["state"], after["config"]["x"]) == (before["name"], "finished", {"value": 7})
    assert backend.sweep("killed", name, "state") == {"state": "FINISHED"}


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def _kill_all(process: subprocess.Popen[bytes]) -> None:
    """An agent's machine dies: the agent, the trial and wandb's own processes at once."""
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait()


def test_pause_resume_and_cancel_from_the_command_line(wandb: Wandb, backend: Backend) -> None:
    config = {"program": "train.py", "method": "random", "parameters": {"x": {"min": 0.0, "max": 9.0}}}
    sweep = backend.create("control", config)["sweep"]
    agent = backend.agent("control", sweep["name"])
    (command,) = backend.beat(agent)
    path = f"{backend.entity}/control/{sweep['name']}"
    for option, state in (("--pause", "PAUSED"), ("--resume", "RUNNING"), ("--cancel", "CANCELED")):
        done = wandb("sweep", option, path)
        assert done.returncode == 0, done.stderr
        assert backend.sweep("control", sweep["name"], "state") == {"state": state}
    assert backend.beat(agent, command["run_id"]) == [{"type": "stop", "run_id": command["run_id"]}]
    assert backend.beat(agent) == [{"type": "exit"}]
    refused = wandb("sweep", "--pause", path)
    assert "Cannot pause canceled sweep" in refused.stdout + refused.stderr
    paused = f'mutation {{ upsertSweep(input: {{id: "{sweep["id"]}", state: "PAUSED"}}) {{ sweep {{ name }} }} }}'
    answer = backend.post(paused)
    assert answer.status_code == 400 and "is CANCELED cannot become PAUSED" in answer.text


@pytest.mark.parametrize(
    ("config", "part"),
    [
        ("method: grid\nparameters: {x: {min: 0.0, max: 1.0}}", "a grid cannot walk"),
        ("method: [", "line 2, column 1"),
        ("method: random\nparameters: {x: {min: 2, max: 1}}", "min 2 is not less than max 1"),
        ("method: bayes\nparameters: {x: {values: [1]}}", "metric"),
    ],
)
def test_a_configuration_that_cannot_be_searched_is_refused(backend: Backend, config: str, part: str) -> None:
    query = 'mutation($c: String) { upsertSweep(input: {config: $c, projectName: "bad"}) { sweep { name } } }'
    answer = backend.post(query, c=config)
    assert answer.status_code == 400
    assert part in answer.json()["errors"][0]["message"]


def test_what_is_not_there(backend: Backend) -> None:
    made = backend.create("p", {"method": "grid", "run_capp": 1, "parameters": {"x": {"values": [1]}}})
    (warning,) = made["configValidationWarnings"]
    assert "'run_capp'" in warning and "'run_cap'" in warning
    for query in (
        'mutation { createAgent(input: {host: "h", projectName: "p", sweep: "nope"}) { agent { id } } }',
        'mutation { agentHeartbeat(input: {id: "QWdlbnQ6djE6OTk5OTk="}) { commands } }',
        'mutation { upsertSweep(input: {id: "U3dlZXA6djE6OTk5OTk=", state: "PAUSED"}) { sweep { name } } }',
    ):
        assert backend.post(query).status_code == 404
    assert backend.ask('{ project(name: "p") { sweep(sweepName: "nope") { id } } }')["project"]["sweep"] is None
