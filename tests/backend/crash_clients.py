"""The load of the crash harness: clients that go on through every crash and note what was acknowledged.

``python crash_clients.py KIND NUMBER SEED URL KEY ENTITY NOTES`` works until its stdin ends, finishes what it has
begun, and writes what it was told to be safe to the file NOTES. Nothing that was not answered with success is noted
as acknowledged.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

PATIENCE = 120.0  # seconds that a request is repeated; a restart takes a few
PROJECT = "crash"
UPSERT = """mutation ($input: UpsertBucketInput!) {
    upsertBucket(input: $input) { bucket { name historyLineCount } } }"""
FILES = """mutation ($e: String, $r: String!, $files: [String!]!) { createRunFiles(input: {entityName: $e,
    projectName: "crash", runName: $r, files: $files}) { files { uploadUrl } } }"""
DELETE_RUN = """query ($r: String!) { project(name: "crash") { run(name: $r) { id } } }"""
DELETE = "mutation ($id: ID!) { deleteRun(input: {id: $id}) { clientMutationId } }"
SWEEP = """mutation ($config: String!) { upsertSweep(input: {config: $config, projectName: "crash"}) {
    sweep { name } } }"""
AGENT = """mutation ($sweep: String!) { createAgent(input: {host: "h", projectName: "crash", sweep: $sweep}) {
    agent { id } } }"""
BEAT = """mutation ($id: ID!, $states: JSONString) { agentHeartbeat(input: {id: $id, metrics: "{}",
    runState: $states}) { commands } }"""


def row(run: str, step: int) -> str:
    """The history line of a step: what it must be is known without asking the client that sent it."""
    return json.dumps({"_step": step, "x": hashlib.sha256(f"{run}/{step}".encode()).hexdigest()})


class Client:
    """One client: requests that are repeated as wandb-core repeats them, and notes of what was acknowledged."""

    def __init__(self, number: int, seed: int, url: str, key: str, entity: str) -> None:
        self.number, self.url, self.entity = number, url, entity
        self.random = random.Random(f"{seed}/{number}")
        self.session = requests.Session()
        self.session.auth = ("api", key)
        self.session.trust_env = False
        self.over = threading.Event()
        self.repeated = 0

    def send(self, method: str, url: str, gone: bool = False, **options: Any) -> requests.Response:
        """Repeat a request until it is answered with anything but 429 or 5xx; where it may be ``gone``, also by 404."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                answer = self.session.request(method, url, timeout=30, **options)
                if answer.status_code != 429 and answer.status_code < 500:
                    if not (gone and answer.status_code == 404):
                        answer.raise_for_status()
                    return answer
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError):
                pass
            self.repeated += 1
            assert time.monotonic() < deadline, f"{url} did not come back"
            time.sleep(self.random.uniform(0.02, 0.2))

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        answer = self.send("POST", f"{self.url}/graphql", json={"query": query, "variables": variables}).json()
        assert "errors" not in answer, answer
        return dict(answer["data"])

    def stream(self, run: str, body: dict[str, Any]) -> None:
        self.send("POST", f"{self.url}/files/{self.entity}/{PROJECT}/{run}/file_stream", json=body)


def rows(client: Client) -> dict[str, Any]:
    """Runs that stream rows, console lines and a summary, and end; their configurations."""
    runs: dict[str, Any] = {}
    while not client.over.is_set():
        name = f"rows-{client.number}-{len(runs)}"
        config = {"seed": {"value": client.random.random()}, "name": {"value": name}}
        client.ask(UPSERT, input={"modelName": PROJECT, "name": name, "config": json.dumps(config)})
        runs[name] = {"config": config, "rows": 0, "ended": False}
        length = client.random.randint(20, 200)
        while runs[name]["rows"] < length and not client.over.is_set():
            first = runs[name]["rows"]
            many = client.random.randint(1, 9)
            lines = [row(name, step) for step in range(first, first + many)]
            body = {
                "wandb-history.jsonl": {"offset": first, "content": lines},
                "output.log": {"offset": first, "content": [f"line {step}" for step in range(first, first + many)]},
                "wandb-summary.json": {"offset": 0, "content": [json.dumps({"last": first + many - 1})]},
            }
            client.stream(name, {"files": body})
            runs[name]["rows"] = first + many
        client.stream(name, {"complete": True, "exitcode": 0})
        runs[name]["ended"] = True
    return {"runs": runs}


def files(client: Client) -> dict[str, Any]:
    """Uploads of all sizes; some have the same content, and one name is written again and again."""
    name = f"files-{client.number}"
    client.ask(UPSERT, input={"modelName": PROJECT, "name": name, "config": "{}"})
    kept: dict[str, str] = {}
    while not client.over.is_set():
        file = "again.bin" if client.random.random() < 0.2 else f"dir/{len(kept)}.bin"
        same = client.random.random() < 0.2
        size = int(10 ** client.random.uniform(0, 6.3))
        content = b"the same for all" * 1000 if same else client.random.randbytes(size)
        place = client.ask(FILES, r=name, files=[file])["createRunFiles"]["files"][0]
        client.send("PUT", place["uploadUrl"], data=content)
        kept[file] = hashlib.sha256(content).hexdigest()
    return {"files": {name: kept}}


def garbage(client: Client) -> dict[str, Any]:
    """Runs with a file that are deleted again, and garbage collected all the time, while others upload."""
    deleted: list[str] = []
    collected = 0
    while not client.over.is_set():
        name = f"gone-{client.number}-{len(deleted)}"
        client.ask(UPSERT, input={"modelName": PROJECT, "name": name, "config": "{}"})
        for content in (b"the same for all" * 1000, name.encode() * 100):
            place = client.ask(FILES, r=name, files=["f.bin"])["createRunFiles"]["files"][0]
            client.send("PUT", place["uploadUrl"], data=content)
        found = client.ask(DELETE_RUN, r=name)["project"]["run"]
        if found:
            delete = {"query": DELETE, "variables": {"id": found["id"]}}
            client.send("POST", f"{client.url}/graphql", gone=True, json=delete)  # the answer to the first may be lost
        deleted.append(name)
        collected += client.send("POST", f"{client.url}/admin/gc").json()["blobs"]
    return {"deleted": deleted, "collected": collected}


def sweeps(client: Client) -> dict[str, Any]:
    """An agent that works on one grid after the other: claims a configuration, and finishes its run."""
    claims: dict[str, dict[str, Any]] = {}
    while not client.over.is_set():
        config = {"method": "grid", "program": "t.py", "parameters": {"x": {"values": list(range(50))}}}
        sweep = client.ask(SWEEP, config=json.dumps(config))["upsertSweep"]["sweep"]["name"]
        agent = client.ask(AGENT, sweep=sweep)["createAgent"]["agent"]["id"]
        claims[sweep] = {}
        while not client.over.is_set():
            commands = json.loads(client.ask(BEAT, id=agent, states="{}")["agentHeartbeat"]["commands"])
            if any(command["type"] == "exit" for command in commands):
                break
            for command in commands:
                claims[sweep][command["run_id"]] = tried(client, sweep, command)
            time.sleep(0.02)
    return {"claims": claims}


def tried(client: Client, sweep: str, command: dict[str, Any]) -> int:
    """Run a claimed trial to its end; its configuration."""
    run, x = command["run_id"], int(command["args"]["x"]["value"])
    config = json.dumps({"x": {"value": x}})
    told = client.ask(UPSERT, input={"modelName": PROJECT, "name": run, "sweep": sweep, "config": config})
    # As the real client: a trial that was handed out again has other numbers, by which its lease is known.
    first = told["upsertBucket"]["bucket"]["historyLineCount"]
    client.stream(run, {"files": {"wandb-history.jsonl": {"offset": first, "content": [row(run, 0)]}}})
    client.stream(run, {"complete": True, "exitcode": 0})
    return x


def wandb_run(client: Client) -> dict[str, Any]:
    """A run of the real client that lives through all of it: rows, and artifacts that it waited for."""
    import wandb

    run = wandb.init(project=PROJECT, id=f"wandb-{client.number}", config={"lr": 0.1}, reinit="create_new")
    step, artifacts = 0, {}
    while not client.over.is_set():
        run.log({"x": hashlib.sha256(f"{run.id}/{step}".encode()).hexdigest()})
        step += 1
        if step % 100 == 0:
            path = Path(f"model-{client.number}.bin")
            path.write_bytes(client.random.randbytes(50_000))
            artifact = wandb.Artifact(f"model-{client.number}", "model")
            artifact.add_file(str(path), "model.bin")
            run.log_artifact(artifact).wait()  # the client's own pauses between two attempts grow to a minute
            artifacts[artifact.name] = hashlib.sha256(path.read_bytes()).hexdigest()
        time.sleep(0.01)
    run.finish()
    return {"runs": {run.id: {"config": {"lr": {"value": 0.1}}, "rows": step, "ended": True}}, "artifacts": artifacts}


KINDS: dict[str, Callable[[Client], dict[str, Any]]] = {
    "rows": rows, "files": files, "garbage": garbage, "sweeps": sweeps, "wandb": wandb_run,
}  # fmt: skip


def main() -> None:
    kind, number, seed, url, key, entity, notes = sys.argv[1:]
    client = Client(int(number), int(seed), url, key, entity)

    def wait() -> None:
        sys.stdin.read()
        client.over.set()

    threading.Thread(target=wait, daemon=True).start()
    found = {**KINDS[kind](client), "repeated": client.repeated}
    Path(notes).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
