"""The client against the real backend, and against servers that are away or are something else."""

from __future__ import annotations

import http.server
import math
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from sweepkit.errors import Unreachable, UsageError
from sweepkit.sweeps.backends import Backend
from sweepkit.sweeps.wandb_api import NotFound, SweepRef, WandbApi
from sweepkit.sweeps.wandb_records import plain_config, to_yaml

CONFIG = {"program": "train.py", "method": "grid", "metric": {"name": "loss", "goal": "minimize"},
          "parameters": {"lr": {"values": [1e-05, 0.1]}, "tag": {"value": "008"}}}  # fmt: skip


NUMBERS = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
PLAIN = st.none() | st.booleans() | NUMBERS | st.text()


@pytest.fixture
def api(server: Any) -> WandbApi:
    return WandbApi(Backend("embedded", server.url, server.key, server.entity))


def test_a_sweep_is_created_found_in_every_way_and_read_back(api: WandbApi, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = api.create_sweep(CONFIG, "api one")
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    for text in (ref.id, f"api one/{ref.id}", ref.path, ref.url(api.backend), ref.url(api.backend) + "?workspace=x"):
        assert api.find_sweep(text) == ref
    sweep = api.sweep(ref)
    assert (sweep.config, sweep.method, sweep.state) == (CONFIG, "grid", "PENDING")
    assert (sweep.run_count, sweep.expected) == (0, 2)
    api.set_state(ref, "PAUSED")
    assert api.sweep(ref).state == "PAUSED"


def test_what_does_not_exist_is_told_with_where_it_was_looked_for(api: WandbApi) -> None:
    api.create_sweep(CONFIG, "api two")
    with pytest.raises(NotFound, match="there is no sweep 'nope' on the embedded backend") as caught:
        api.find_sweep("nope")
    assert caught.value.exit_code == 2 and "/api two" in str(caught.value.hint)
    for ask in (lambda: api.sweep(SweepRef(api.entity, "none", "x")), lambda: api.run("none/x"),
                lambda: api.create_agent(SweepRef(api.entity, "api two", "nope"), "host")):  # fmt: skip
        with pytest.raises(NotFound):
            ask()
    with pytest.raises(UsageError, match="does not name one of the sweeps"):
        api.find_sweep("a/b/c/d")
    with pytest.raises(UsageError, match="'GONE' is no state"):
        api.set_state(SweepRef("e", "p", "s"), "GONE")


def test_an_agent_gets_commands_and_a_run_is_read_whole(api: WandbApi, wandb_env: dict[str, str]) -> None:
    ref = api.create_sweep(CONFIG, "api-three")
    agent = api.create_agent(ref, "host")
    [command] = api.heartbeat(agent, {})
    assert command["type"] == "run" and command["args"]["tag"] == {"value": "008"}
    assert api.heartbeat(agent, {command["run_id"]: True}) == []
    program = f"""
        import pathlib, wandb
        pathlib.Path("data.txt").write_text("1")
        settings = wandb.Settings(sweep_id="{ref.id}")
        run = wandb.init(project="api-three", id="{command["run_id"]}", tags=["a"], settings=settings)
        for step in range(1205):
            run.log({{"loss": 1 / (step + 1), "deep": {{"er": step}}}} if step % 2 else {{"other": 1}})
        run.log({{"loss": float("nan"), "deep": {{"er": -1}}}}, step=25000)
        run.log({{"loss": float("-inf")}}, step=25001)
        artifact = wandb.Artifact("things", type="data")
        artifact.add_file("data.txt")
        run.log_artifact(artifact)
        run.finish()
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True)
    [run] = api.runs(ref)
    assert run == api.run(run.path) == api.run(run.url(api.backend))
    assert (run.state, run.sweep, run.tags) == ("finished", ref.id, ("a",))
    assert run.config["lr"] == command["args"]["lr"]["value"]
    assert run.summary["loss"] == -math.inf and "_wandb" not in run.config
    rows = api.history(run, ["loss", "deep.er"])
    assert [row["deep.er"] for row in rows] == [*range(1, 1205, 2), -1]  # every one of them, not a sample
    assert (rows[0], rows[-1]["_step"]) == ({"_step": 1, "loss": 0.5, "deep.er": 1}, 25000)
    assert math.isnan(rows[-1]["loss"])
    assert len(api.history(run)) == 1207
    things = [(each.name, each.version, each.aliases) for each in api.artifacts(run) if each.type == "data"]
    assert things == [("things", "v0", ("latest",))]
    assert [each["totalRuns"] for each in api.agents(ref)] == [1]
    assert not api.was_stopped(ref, run.id)


def test_the_viewer_has_an_entity(api: WandbApi) -> None:
    assert WandbApi(Backend("wandb", api.backend.url, api.backend.key)).entity == api.entity


def test_a_backend_that_is_down_is_told_with_what_to_do(server: Any) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    began = time.monotonic()
    for kind, hint in (("embedded", "sweepkit serve"), ("wandb", "--backend embedded")):
        with pytest.raises(Unreachable, match=f"{url} is out of reach: connection refused") as caught:
            WandbApi(Backend(kind, url, "secret" * 8, "me"), patience=0.5).find_sweep("p/x")
        assert hint in str(caught.value.hint) and "secret" not in f"{caught.value.message}{caught.value.hint}"
    assert time.monotonic() - began < 5


def test_a_wrong_key_is_refused_without_showing_it(server: Any) -> None:
    with pytest.raises(Unreachable, match="refused the API key") as caught:
        WandbApi(Backend("wandb", server.url, "secret" * 8, "me")).find_sweep("p/x")
    assert "wandb login" in str(caught.value.hint) and "secret" not in str(caught.value)


@contextmanager
def answers(*given: tuple[int, str]) -> Iterator[tuple[str, list[str]]]:
    """A server that answers in this order: faults that no healthy backend can be made to show."""
    left, asked = list(given), []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            status, body = left.pop(0)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *args: object) -> None:
            pass

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{httpd.server_address[1]}", asked
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()


CREATED = '{"data": {"upsertSweep": {"sweep": {"name": "s", "project": {"name": "p", "entity": {"name": "e"}}}}}}'


def test_trouble_that_passes_is_waited_out_but_nothing_is_made_twice() -> None:
    with answers((500, ""), (429, ""), (200, '{"data": {"viewer": {"entity": "me"}}}')) as (url, asked):
        assert WandbApi(Backend("wandb", url, "k" * 40)).entity == "me" and len(asked) == 3
    with answers((429, ""), (502, "")) as (url, asked), pytest.raises(Unreachable, match="answered 502"):
        WandbApi(Backend("wandb", url, "k" * 40, "e")).create_sweep(CONFIG, "p")
    assert len(asked) == 2  # 429 says that it was not taken; after 502 it may have been made
    with answers((200, CREATED)) as (url, _):
        assert WandbApi(Backend("wandb", url, "k" * 40, "e")).create_sweep(CONFIG, "p").path == "e/p/s"


def test_a_server_that_is_not_wandbs_is_recognised() -> None:
    with answers((200, "<html>")) as (url, _), pytest.raises(Unreachable, match="did not answer as W&B's API does"):
        WandbApi(Backend("wandb", url, "k" * 40, "e")).find_sweep("p/x")


@given(st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.text(min_size=1), inner), max_leaves=8))
def test_a_configuration_survives_the_way_through_yaml(value: Any) -> None:
    assert yaml.safe_load(to_yaml({"a": value})) == {"a": value}


def test_a_text_that_looks_like_a_number_stays_one_in_every_yaml() -> None:
    assert to_yaml({"a": "008", "b": "1e5", "c": "Adam"}) == "a: '008'\nb: '1e5'\nc: Adam\n"


def test_plain_values_of_a_configuration() -> None:
    stored = {"lr": {"value": 0.1, "desc": None}, "_wandb": {"value": {}}, "odd": 3, "deep": {"value": {"x": "NaN"}}}
    config = plain_config(stored)
    assert config["lr"] == 0.1 and config["odd"] == 3 and math.isnan(config["deep"]["x"]) and "_wandb" not in config
