"""Many clients that write the same things at the same time: each thing is there once, and nothing is lost."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
import requests

WRITERS = 32
Ask = Callable[..., dict[str, Any]]


def _together(work: Callable[[int], Any], writers: int = WRITERS) -> list[Any]:
    """``work(0)`` to ``work(n - 1)``, each in a thread of its own, all begun at the same moment."""
    begin = Barrier(writers)

    def one(number: int) -> Any:
        begin.wait()
        return work(number)

    with ThreadPoolExecutor(writers) as pool:
        return list(pool.map(one, range(writers)))


def test_one_run_of_one_new_project(upsert: Ask, ask: Ask) -> None:
    made = _together(lambda n: upsert(modelName="race-run", name="same", config=json.dumps({"n": {"value": n}})))
    assert sum(run["inserted"] for run in made) == 1
    assert len({run["id"] for run in made}) == 1
    found = ask('{ project(name: "race-run") { runCount runs { edges { node { config } } } } }')["data"]["project"]
    assert found["runCount"] == 1
    assert json.loads(found["runs"]["edges"][0]["node"]["config"])["n"]["value"] in range(WRITERS)


def test_many_runs_of_one_new_project(upsert: Ask, ask: Ask) -> None:
    made = _together(lambda n: upsert(modelName="race-project", name=f"run-{n}"))
    assert all(run["inserted"] for run in made)
    assert ask('{ project(name: "race-project") { runCount } }')["data"]["project"]["runCount"] == WRITERS


def test_streams_into_one_run_keep_every_line(upsert: Ask, ask: Ask, stream: Callable[..., requests.Response]) -> None:
    upsert(modelName="race-stream", name="same")

    def send(n: int) -> int:
        lines = [json.dumps({"_step": n * 10 + k, "value": n}) for k in range(10)]
        files = {"wandb-history.jsonl": {"offset": n * 10, "content": lines}}
        return stream("race-stream", "same", {"files": files}).status_code

    assert set(_together(send)) == {200}
    query = '{ project(name: "race-stream") { run(name: "same") { historyLineCount history(samples: 1000) } } }'
    run = ask(query)["data"]["project"]["run"]
    assert run["historyLineCount"] == 10 * WRITERS
    assert [json.loads(line)["_step"] for line in run["history"]] == list(range(10 * WRITERS))


CREATE = """mutation ($e: String!, $digest: String!) { createArtifact(input: {entityName: $e,
    projectName: "race-artifact", artifactTypeName: "model", artifactCollectionName: "same", digest: $digest,
    enableDigestDeduplication: true, aliases: [{artifactCollectionName: "same", alias: "best"}]
    }) { artifact { id } } }"""
MANIFEST = """mutation ($e: String!, $id: ID!) { createArtifactManifest(input: {artifactID: $id, name: "m", digest: "",
    entityName: $e, projectName: "race-artifact", runName: "r"}) { artifactManifest { file { uploadUrl } } } }"""
COMMIT = "mutation ($id: ID!) { commitArtifact(input: {artifactID: $id}) { artifact { id versionIndex } } }"
VERSIONS = """{ project(name: "race-artifact") { artifactCollection(name: "same") {
    artifactMemberships(first: 500) { totalCount edges { node { versionIndex aliases { alias } } } } } } }"""


def _commit(ask: Ask, entity: str, digest: str) -> int:
    artifact = ask(CREATE, e=entity, digest=digest)["data"]["createArtifact"]["artifact"]["id"]
    made = ask(MANIFEST, e=entity, id=artifact)["data"]["createArtifactManifest"]["artifactManifest"]
    body = json.dumps({"version": 1, "contents": {}})
    requests.put(made["file"]["uploadUrl"], data=body, timeout=30).raise_for_status()
    return int(ask(COMMIT, id=artifact)["data"]["commitArtifact"]["artifact"]["versionIndex"])


def test_versions_of_one_artifact_are_numbered_once_each(server: Any, ask: Ask) -> None:
    assert sorted(_together(lambda n: _commit(ask, server.entity, f"digest-{n}"))) == list(range(WRITERS))
    found = ask(VERSIONS)["data"]["project"]["artifactCollection"]["artifactMemberships"]
    assert found["totalCount"] == WRITERS
    nodes = [edge["node"] for edge in found["edges"]]
    assert sorted(node["versionIndex"] for node in nodes) == list(range(WRITERS))
    aliases = Counter(alias["alias"] for node in nodes for alias in node["aliases"])
    assert aliases == {"latest": 1, "best": 1}
    (newest,) = [node for node in nodes if {"alias": "latest"} in node["aliases"]]
    assert newest["versionIndex"] == WRITERS - 1
    with_same_content = {_commit(ask, server.entity, "again") for _ in range(2)}
    assert with_same_content == {WRITERS}, "the same content is the same version"
    assert set(_together(lambda n: _commit(ask, server.entity, "once"))) == {WRITERS + 1}


SWEEP = """mutation ($p: String!, $c: String!) { upsertSweep(input: {projectName: $p, config: $c}) {
    sweep { name } } }"""
AGENT = """mutation ($p: String!, $s: String!, $h: String!) { createAgent(input: {host: $h, sweep: $s,
    projectName: $p}) { agent { id } } }"""
BEAT = "mutation ($id: ID!, $r: JSONString!) { agentHeartbeat(input: {id: $id, runState: $r}) { commands } }"


@pytest.mark.parametrize("method", ["grid", "random"])
def test_agents_of_one_sweep_never_share_a_configuration(ask: Ask, method: str) -> None:
    """More agents than configurations: each configuration is handed out once, the agents left over get nothing."""
    project, size = f"race-{method}", 24
    space = {
        "method": method,
        "run_cap": size,
        "parameters": {"a": {"values": list(range(6))}, "b": {"values": [0, 1, 2, 3]}},
    }
    sweep = ask(SWEEP, p=project, c=json.dumps(space))["data"]["upsertSweep"]["sweep"]["name"]

    def work(n: int) -> list[dict[str, Any]]:
        agent = ask(AGENT, p=project, s=sweep, h=f"host-{n}")["data"]["createAgent"]["agent"]["id"]
        commands = json.loads(ask(BEAT, id=agent, r="{}")["data"]["agentHeartbeat"]["commands"])
        return [command for command in commands if command["type"] == "run"]

    given = [command for commands in _together(work) for command in commands]
    assert len(given) == size
    assert len({command["run_id"] for command in given}) == size
    configurations = Counter(json.dumps(command["args"], sort_keys=True) for command in given)
    if method == "grid":
        assert set(configurations.values()) == {1}
