"""Two copies of one trial, both real clients: the one that lost its lease changes nothing."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sweepkit.backend import clock, fencing, filestream
from sweepkit.backend.scheduler import Scheduler
from sweepkit.backend.storage import agents, runs, sweeps
from sweepkit.backend.storage.database import Database
from sweepkit.backend.studies import Studies
from sweepkit.sweeps.backends import Backend
from sweepkit.sweeps.wandb_api import WandbApi

from .conftest import Launched, own_environment

COPY = """
import pathlib, sys, time
import wandb

who, last, code = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
settings = wandb.Settings(x_file_stream_transmit_interval=1, console="off")
run = wandb.init(resume="allow", settings=settings)
for step in range(run.step, last):
    run.log({"who": who, "square": step * step}, step=step, commit=True)
pathlib.Path(f"{who}.logged").touch()
while not pathlib.Path(f"{who}.go").exists():
    time.sleep(0.05)
for step in range(last, last + 3):
    run.log({"who": who, "square": step * step}, step=step, commit=True)
pathlib.Path(f"{who}.done").touch()
time.sleep(1.0)
run.finish(exit_code=code)
sys.exit(code)
"""


class Copies:
    """The copies of one trial, each in a process group of its own, below which its wandb-core runs."""

    def __init__(self, server: Launched, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.api = WandbApi(Backend("embedded", server.url, server.key, server.entity))
        self.ref = self.api.create_sweep({"method": "grid", "parameters": {"a": {"values": [1]}}}, "fenced")
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, who: str, last: int, code: int, command: dict[str, Any], says: bool) -> subprocess.Popen[bytes]:
        lease = {"X-Sweepkit-Lease": str(command["lease"])}
        environment = own_environment(
            WANDB_BASE_URL=self.server.url, WANDB_API_KEY=self.server.key, WANDB_ENTITY=self.ref.entity,
            WANDB_PROJECT=self.ref.project, WANDB_SWEEP_ID=self.ref.id, WANDB_RUN_ID=command["run_id"],
            WANDB_DIR=str(self.folder), WANDB_SILENT="true",
            **({"WANDB__EXTRA_HTTP_HEADERS": json.dumps(lease)} if says else {}),
        )  # fmt: skip
        arguments = [sys.executable, "-c", COPY, who, str(last), str(code)]
        process = subprocess.Popen(arguments, cwd=self.folder, env=environment, start_new_session=True)
        self.started.append(process)
        return process

    def tell(self, process: subprocess.Popen[bytes], signum: int) -> None:
        """To the copy and to its wandb-core, which is in the same group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signum)

    def rows(self, run_id: str) -> list[tuple[int, str, int]]:
        run = self.api.run(f"{self.ref.entity}/{self.ref.project}/{run_id}")
        return [(row["_step"], row["who"], row["square"]) for row in self.api.history(run)]

    def until(self, condition: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + 60
        while not (found := condition()):
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.1)
        return found


@pytest.fixture
def copies(launch: Callable[..., Launched], tmp_path: Path) -> Iterator[Copies]:
    it = Copies(launch(SWEEPKIT_AGENT_LOST_AFTER="2"), tmp_path)
    yield it
    for process in it.started:
        it.tell(process, signal.SIGKILL)
        process.wait()


@pytest.mark.parametrize(("old_says", "new_says"), [(True, True), (False, False), (False, True)])
def test_a_copy_that_wakes_neither_doubles_nor_ends_the_run(copies: Copies, old_says: bool, new_says: bool) -> None:
    """Frozen with its agent, it wakes while the other copy works: W&B's agents say no lease, sweepkit's do."""
    frozen, heir = (copies.api.create_agent(copies.ref, host) for host in "ab")
    (first,) = copies.api.heartbeat(frozen, {})
    name = first["run_id"]
    old = copies.start("old", 3, 1, first, old_says)
    copies.until(lambda: len(copies.rows(name)) == 3)
    copies.tell(old, signal.SIGSTOP)
    (second,) = copies.until(lambda: copies.api.heartbeat(heir, {}))
    assert (second["type"], second["run_id"], second["lease"]) == ("resume", name, 2)
    new = copies.start("new", 5, 0, second, new_says)
    copies.until(lambda: len(copies.rows(name)) == 5)
    (copies.folder / "old.go").touch()
    copies.tell(old, signal.SIGCONT)
    assert old.wait(60) == 1
    run = copies.api.run(f"{copies.ref.entity}/{copies.ref.project}/{name}")
    assert run.state == "running", "the old copy has ended the new one's run"
    assert copies.api.heartbeat(frozen, {name: True}) == [{"type": "stop", "run_id": name}]
    (copies.folder / "new.go").touch()
    assert new.wait(60) == 0
    assert copies.rows(name) == [(step, "old" if step < 3 else "new", step * step) for step in range(8)]
    assert copies.api.run(f"{copies.ref.entity}/{copies.ref.project}/{name}").state == "finished"
    assert copies.api.heartbeat(heir, {name: False}) == [{"type": "exit"}]


def test_a_copy_that_starts_late_is_refused(copies: Copies) -> None:
    """Its agent was frozen between being told of the trial and starting it."""
    frozen, heir = (copies.api.create_agent(copies.ref, host) for host in "ab")
    (first,) = copies.api.heartbeat(frozen, {})
    (second,) = copies.until(lambda: copies.api.heartbeat(heir, {}))
    new = copies.start("new", 3, 0, second, says=True)
    copies.until(lambda: len(copies.rows(second["run_id"])) == 3)
    assert copies.start("old", 3, 0, first, says=True).wait(60) != 0
    (copies.folder / "new.go").touch()
    assert new.wait(60) == 0
    assert copies.rows(second["run_id"]) == [(step, "new", step * step) for step in range(6)]


@pytest.fixture
def leased(store: Database) -> Callable[..., Any]:
    """``leased(lease=None, **body)``: a request of a trial's file stream; the trial was handed out ``hand()`` times."""
    from sweepkit.backend.graphql import sweep_changes

    wanted = sweep_changes.read(
        {"config": '{"method": "grid", "parameters": {"a": {"values": [1]}}}', "projectName": "p"}
    )
    sweep = store.write(lambda conn: sweep_changes.apply(conn, wanted, "me"))
    hands = Scheduler(store, Studies())

    def hand() -> Any:
        agent = store.write(lambda conn: agents.create(conn, sweep["id"], "host"))["id"]
        store.write(
            lambda conn: conn.execute("UPDATE agents SET heartbeat_at = ? WHERE id < ?", (clock.ago(99), agent))
        )
        store.write(lambda conn: conn.execute("UPDATE runs SET heartbeat_at = ?", (clock.ago(99),)))
        return hands.heartbeat(agent, ())[0]

    def send(lease: int | None = None, **body: Any) -> Any:
        run = sweeps.runs(store.read(), sweep["id"])[0]
        update = filestream.parse(json.dumps(body).encode())
        store.write(lambda conn: filestream.apply(conn, "me", "p", run["name"], update, None, lease))
        return runs.by_id(store.read(), run["id"])

    send.hand = hand  # type: ignore[attr-defined]
    return send


def lines(first: int, *steps: int) -> dict[str, Any]:
    return {"wandb-history.jsonl": {"offset": first, "content": [json.dumps({"_step": step}) for step in steps]}}


def test_a_lease_is_known_by_its_header_or_by_the_numbers_of_its_lines(leased: Any, store: Database) -> None:
    assert leased.hand()["lease"] == 1
    assert leased(files=lines(0, 0, 1))["history_lines"] == 2
    assert leased.hand()["lease"] == 2
    told = fencing.told(store.read(), leased())["history_lines"]
    assert told == 2**24 + 2
    for fenced in ({"files": lines(2, 2)}, {"lease": 1}, {"lease": 1, "complete": True, "exitcode": 1}):
        with pytest.raises(fencing.Fenced):
            leased(**fenced)
    assert leased(files=lines(told, 2))["history_lines"] == 3
    assert leased(lease=2, files=lines(told + 1, 3))["history_lines"] == 4
    assert leased(lease=2, files=lines(4, 4))["history_lines"] == 5  # the header alone tells it too
    far = 2**24 + 5  # lines: more than lie between two leases
    assert leased(files=lines(told - 2 + far, far))["history_lines"] == far + 1
    assert [row["line"] for row in store.read().execute("SELECT line FROM history ORDER BY line")] == [
        0,
        1,
        2,
        3,
        4,
        far,
    ]
    assert leased(lease=2, complete=True, exitcode=0)["state"] == "finished"
