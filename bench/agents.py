"""Two hundred agents of one sweep, each with a running trial: how many of their heartbeats are answered a second."""

from __future__ import annotations

import http.client
import json
import threading
import time
from base64 import b64encode
from typing import Any
from urllib.parse import urlsplit

from servers import Server

AGENTS = 200
EVERY = 5.0  # s: how often an agent of W&B's beats
PROJECT, CONFIG = (
    "beats",
    "method: random\nmetric: {name: loss, goal: minimize}\nparameters: {x: {min: 0.0, max: 1.0}}\n",
)
_CONNECTIONS = 8
_SWEEP = """mutation ($config: String!) {
    upsertSweep(input: {projectName: "beats", config: $config}) { sweep { name } } }"""
_SWEEPS = """{ project(name: "beats") { sweeps { edges { node { name } } } } }"""
_AGENT = """mutation ($sweep: String!) {
    createAgent(input: {host: "h", sweep: $sweep, projectName: "beats"}) { agent { id } } }"""
_BEAT = """mutation ($id: ID!, $runs: JSONString) { agentHeartbeat(input: {id: $id, runState: $runs}) { commands } }"""


class Asking:
    """One connection that is kept."""

    def __init__(self, server: Server) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=60)
        self._headers = {"Authorization": "Basic " + b64encode(f"api:{server.key}".encode()).decode()}

    def post(self, path: str, body: Any) -> Any:
        self._connection.request("POST", path, json.dumps(body), self._headers)
        answer = self._connection.getresponse()
        text = answer.read()
        assert answer.status == 200, text
        return json.loads(text)

    def __call__(self, query: str, **variables: Any) -> Any:
        """The data of a GraphQL answer."""
        return self.post("/graphql", {"query": query, "variables": variables})["data"]


def make_sweep(ask: Asking, trials: int | None = None, config: str = CONFIG) -> str:
    """A search of so many trials, or without an end; a random one unless it is given."""
    config = config if trials is None else f"{config}run_cap: {trials}\n"
    return str(ask(_SWEEP, config=config)["upsertSweep"]["sweep"]["name"])


def make_agent(ask: Asking, sweep: str) -> str:
    """A new agent of the sweep."""
    return str(ask(_AGENT, sweep=sweep)["createAgent"]["agent"]["id"])


def begin_trial(ask: Asking, sweep: str) -> tuple[str, str]:
    """A new agent and the run that it was given."""
    agent = make_agent(ask, sweep)
    (command,) = beat(ask, agent, [])
    assert command["type"] == "run", command
    return agent, command["run_id"]


def beat(ask: Asking, agent: str, alive: list[str]) -> list[dict[str, Any]]:
    """A heartbeat as W&B's agent sends it, with the runs that are alive; the commands that it gets."""
    states = json.dumps(dict.fromkeys(alive, True))
    commands: list[dict[str, Any]] = json.loads(ask(_BEAT, id=agent, runs=states)["agentHeartbeat"]["commands"])
    return commands


def over_http(server: Server, seconds: float) -> float:
    """Heartbeats a second to the one sweep of the project, over eight connections.

    Each agent says that its trial is alive, as W&B's agent does.
    """
    ask = Asking(server)
    (sweep,) = ask(_SWEEPS)["project"]["sweeps"]["edges"]
    sweep = sweep["node"]["name"]
    held = [begin_trial(ask, sweep) for _ in range(AGENTS)]
    counts = [0] * _CONNECTIONS
    until = time.monotonic() + seconds

    def work(thread: int) -> None:
        mine, connection = held[thread::_CONNECTIONS], Asking(server)
        while time.monotonic() < until:
            agent, run = mine[counts[thread] % len(mine)]
            beat(connection, agent, [run])
            counts[thread] += 1

    threads = [threading.Thread(target=work, args=(n,)) for n in range(_CONNECTIONS)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.monotonic() - began)
