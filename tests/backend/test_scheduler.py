"""Heartbeats, answered out of a real store: leases, caps, early termination, states. No HTTP here."""

from __future__ import annotations

import functools
import json
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sweepkit.backend import clock, filestream, scheduler
from sweepkit.backend.graphql import sweep_changes
from sweepkit.backend.graphql.errors import ClientError
from sweepkit.backend.scheduler import Gone, Scheduler
from sweepkit.backend.search.bayes import Problem
from sweepkit.backend.storage import agents, projects, runs, sweeps, trials
from sweepkit.backend.storage.database import Database
from sweepkit.backend.studies import Studies
from sweepkit.permutation import Permutation

Beat = Callable[..., list[dict[str, Any]]]
GRID = {"method": "grid", "program": "train.py", "parameters": {"a": {"values": [1, 2, 3]}}}
RANDOM = {"method": "random", "parameters": {"x": {"min": 0.0, "max": 1.0}}}


class Sweep:
    """A sweep in a store, with the few things that clients do to it."""

    def __init__(self, database: Database, config: dict[str, Any]) -> None:
        self.database = database
        wanted = sweep_changes.read({"config": json.dumps(config), "projectName": "p"})
        self.pk = database.write(lambda conn: sweep_changes.apply(conn, wanted, "me"))["id"]
        self.scheduler = Scheduler(database, Studies())

    def agent(self) -> int:
        return int(self.database.write(lambda conn: agents.create(conn, self.pk, "host"))["id"])

    def beat(self, agent: int, *alive: str, ended: tuple[str, ...] = ()) -> list[dict[str, Any]]:
        return self.scheduler.heartbeat(agent, alive, ended)

    def take(self, agent: int) -> str:
        (command,) = self.beat(agent)
        assert command["type"] == "run", command
        return str(command["run_id"])

    def log(self, name: str, *values: float, state: str = "running", key: str = "loss") -> None:
        """The run reports values of its metric, as its file stream would."""

        def change(conn: Any) -> None:
            run = runs.find(conn, 1, name)
            assert run is not None
            start = run["history_lines"]
            for n, value in enumerate(values, start):
                conn.execute("INSERT INTO history VALUES (?, ?, ?, ?)", (run["id"], n, n, json.dumps({key: value})))
            runs.update(conn, run["id"], state=state, history_lines=start + len(values))

        self.database.write(change)

    def end(self, name: str, state: str = "finished") -> None:
        self.log(name, state=state)

    def run(self, name: str) -> Any:
        return runs.find(self.database.read(), 1, name)

    def set(self, table: str, column: str, value: Any, **where: Any) -> None:
        ((key, wanted),) = where.items()
        self.database.write(
            lambda conn: conn.execute(f"UPDATE {table} SET {column} = ? WHERE {key} = ?", (value, wanted))
        )

    def change(self, **given: Any) -> None:
        from sweepkit.backend.graphql.ids import encode

        wanted = sweep_changes.read({"id": encode("Sweep", self.pk), **given})
        self.database.write(lambda conn: sweep_changes.apply(conn, wanted, "me"))

    def edit_while_asked(self, config: dict[str, Any]) -> list[Any]:
        """Edit the sweep when its search, as it is now, is asked next; what the search answers is added to the list."""
        engine, answers = self.scheduler._studies.of(self.row, self.database).engine, list[Any]()
        ask = engine.ask_n_runs

        def edited(n: int) -> Any:
            answers.append(ask(n))
            self.change(config=json.dumps(config))
            return answers[-1]

        engine.ask_n_runs = edited  # type: ignore[method-assign]
        return answers

    @property
    def row(self) -> Any:
        return sweeps.by_id(self.database.read(), self.pk)

    @property
    def state(self) -> str:
        return sweeps.state(self.database.read(), self.row)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[[dict[str, Any]], Sweep]]:
    database = Database(tmp_path / "store.sqlite3")
    yield lambda config: Sweep(database, config)
    database.close()


Make = Callable[[dict[str, Any]], Sweep]
LONG_AGO = clock.ago(3600)


def test_a_grid_is_handed_out_in_order_and_finishes(make: Make) -> None:
    sweep = make(GRID)
    assert sweep.state == "PENDING"
    agent = sweep.agent()
    for n in (1, 2, 3):
        (command,) = sweep.beat(agent)
        assert command == {
            "type": "run",
            "run_id": command["run_id"],
            "args": {"a": {"value": n}},
            "program": "train.py",
            "lease": 1,
        }
        assert len(command["run_id"]) == 8
        run = sweep.run(command["run_id"])
        assert (run["state"], json.loads(run["config"]), run["sweep_id"]) == ("pending", command["args"], sweep.pk)
        assert sweep.beat(agent, command["run_id"]) == []
        assert sweep.state == "RUNNING"
        sweep.end(command["run_id"])
    assert sweep.beat(agent) == [{"type": "exit"}]
    assert sweep.row["state"] == "FINISHED"


def test_nested_parameters_reach_the_agent_as_one_argument(make: Make) -> None:
    sweep = make(
        {"method": "grid", "parameters": {"opt": {"parameters": {"lr": {"values": [0.1]}, "kind": {"value": "SGD"}}}}}
    )
    (command,) = sweep.beat(sweep.agent())
    assert command["args"] == {"opt": {"value": {"kind": "SGD", "lr": 0.1}}}


def test_eight_agents_at_once_never_pass_the_cap_nor_repeat_a_configuration(make: Make) -> None:
    sweep = make({**RANDOM, "run_cap": 21, "parameters": {"x": {"min": 0, "max": 30}}})
    handed: list[Any] = []
    lock = threading.Lock()

    def work(agent: int) -> None:
        while (commands := sweep.beat(agent)) and commands[0]["type"] == "run":
            with lock:
                handed.append(commands[0]["args"]["x"]["value"])
            sweep.end(commands[0]["run_id"])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, [sweep.agent() for _ in range(8)]))
    assert len(handed) == len(set(handed)) == 21
    assert sweep.state == "FINISHED"


def test_an_idle_agent_waits_while_another_still_runs(make: Make) -> None:
    sweep = make({**RANDOM, "run_cap": 1})
    busy, idle = sweep.agent(), sweep.agent()
    name = sweep.take(busy)
    assert sweep.beat(idle) == []
    sweep.end(name)
    assert sweep.beat(idle) == [{"type": "exit"}]


def test_an_answer_that_was_lost_is_given_again(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = make(GRID)
    agent = sweep.agent()
    (first,) = sweep.beat(agent)
    assert sweep.beat(agent) == [first]
    monkeypatch.setattr(scheduler, "_REDELIVERY", 0.0)
    for lease in (2, 3):  # later, it may also be that the program ended before it began: that is tried again
        assert sweep.beat(agent) == [{**first, "lease": lease}]
    (command,) = sweep.beat(agent)
    assert command["args"] == {"a": {"value": 2}} and sweep.run(first["run_id"])["state"] == "failed"


def test_a_trial_that_was_put_back_goes_to_whoever_asks_first(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "_REDELIVERY", 0.0)
    sweep = make({**GRID, "run_cap": 1})
    deaf, other = sweep.agent(), sweep.agent()
    name = sweep.take(deaf)
    sweep.change(state="PAUSED")
    assert sweep.beat(deaf) == []
    sweep.change(state="RUNNING")
    assert sweep.take(other) == name and sweep.state == "RUNNING"


def test_a_process_that_never_started_its_run_has_failed(make: Make) -> None:
    sweep = make(GRID)
    agent = sweep.agent()
    name = sweep.take(agent)
    (command,) = sweep.beat(agent, ended=(name,))
    assert command["args"] == {"a": {"value": 2}}
    assert (sweep.run(name)["state"], sweep.run(name)["notes"]) == (
        "failed",
        "its process ended before it called wandb.init",
    )


@pytest.mark.parametrize("state", ["pending", "running", "crashed", "failed"])
def test_a_dead_agents_trial_goes_to_another(make: Make, state: str) -> None:
    sweep = make(GRID)
    dead, heir = sweep.agent(), sweep.agent()
    name = sweep.take(dead)
    if state != "pending":
        sweep.log(name, 1.0, state=state)
    sweep.set("agents", "heartbeat_at", LONG_AGO, id=dead)
    sweep.set("runs", "heartbeat_at", LONG_AGO, name=name)
    (command,) = sweep.beat(heir)
    assert (command["run_id"], command["args"]) == (name, {"a": {"value": 1}})
    assert command["type"] == ("run" if state == "pending" else "resume")
    assert sweep.beat(heir, name) == []
    assert sweep.beat(dead, name) == [{"type": "stop", "run_id": name}]  # it was not dead after all
    assert sweep.run(name)["agent_id"] == heir
    sweep.end(name)
    sweep.beat(heir, ended=(name,))
    assert sweep.beat(dead, name) == [{"type": "stop", "run_id": name}]  # nor is it needed any more


def test_a_living_run_of_a_silent_agent_is_left_alone(make: Make) -> None:
    sweep = make(GRID)
    silent, other = sweep.agent(), sweep.agent()
    name = sweep.take(silent)
    sweep.log(name, 1.0)
    sweep.set("agents", "heartbeat_at", LONG_AGO, id=silent)
    assert sweep.take(other) != name


def test_a_configuration_that_kills_every_agent_is_given_up(make: Make) -> None:
    sweep = make({**RANDOM, "run_cap": 1})
    for _ in range(3):
        agent = sweep.agent()
        name = sweep.beat(agent)[0]["run_id"]
        sweep.end(name, "crashed")
        sweep.set("agents", "heartbeat_at", LONG_AGO, id=agent)
    assert sweep.beat(sweep.agent()) == [{"type": "exit"}]
    assert sweep.state == "FINISHED"
    assert sweep.run(name)["state"] == "failed"
    assert sweep.run(name)["notes"] == "given up: each of the 3 agents that had it was lost while it ran"


def test_a_failure_that_nobody_saw_is_waited_for_only_so_long(make: Make) -> None:
    """Agents die and take their trials with them; but W&B's agent also leaves after its last trial without a word."""
    sweep = make({**GRID, "run_cap": 1})
    agent = sweep.agent()
    sweep.end(sweep.take(agent), "failed")
    assert sweep.state == "RUNNING"
    sweep.set("agents", "heartbeat_at", clock.ago(170), id=agent)
    assert sweep.state == "RUNNING"
    sweep.set("agents", "heartbeat_at", clock.ago(190), id=agent)
    assert sweep.state == "FINISHED"


def test_a_failure_that_its_agent_saw_is_final(make: Make) -> None:
    sweep = make({**GRID, "run_cap": 1})
    agent = sweep.agent()
    name = sweep.take(agent)
    sweep.end(name, "failed")
    assert sweep.beat(agent, ended=(name,)) == [{"type": "exit"}]
    assert sweep.state == "FINISHED" and sweep.run(name)["notes"] is None


def test_a_preempted_run_that_was_to_stop_holds_no_sweep_open(make: Make) -> None:
    sweep = make({**GRID, "run_cap": 1})
    agent = sweep.agent()
    name = sweep.take(agent)
    sweep.set("runs", "stop_requested", 1, name=name)
    sweep.log(name, 1.0, state="preempted")
    assert sweep.beat(agent) == [{"type": "exit"}]


def test_a_preempted_run_goes_on_first(make: Make) -> None:
    sweep = make(GRID)
    agent = sweep.agent()
    name = sweep.take(agent)
    sweep.log(name, 1.0, state="preempted")
    assert [(c["type"], c["run_id"]) for c in sweep.beat(agent)] == [("resume", name)]


def test_pause_and_resume(make: Make) -> None:
    sweep = make(GRID)
    agent = sweep.agent()
    name = sweep.take(agent)
    sweep.change(state="PAUSED")
    assert sweep.beat(agent, name) == []
    sweep.end(name)
    assert sweep.beat(agent) == []
    sweep.change(state="RUNNING")
    assert sweep.take(agent)


def test_stop_lets_runs_finish(make: Make) -> None:
    sweep = make(GRID)
    agent = sweep.agent()
    name = sweep.take(agent)
    sweep.change(state="FINISHED")
    assert sweep.beat(agent, name) == []
    sweep.end(name)
    assert sweep.beat(agent) == [{"type": "exit"}]
    assert agents.state(agents.by_id(sweep.database.read(), agent), LONG_AGO) == "FINISHED"  # type: ignore[arg-type]


def test_cancel_stops_what_runs_before_the_agent_leaves(make: Make) -> None:
    sweep = make(GRID)
    busy, late = sweep.agent(), sweep.agent()
    name, pending = sweep.take(busy), sweep.take(late)
    sweep.log(name, 1.0)
    sweep.change(state="CANCELED")
    assert sweep.beat(busy, name) == [{"type": "stop", "run_id": name}]
    assert sweep.run(name)["stop_requested"] == 1 and sweep.run(pending)["state"] == "killed"
    assert sweep.beat(busy) == [{"type": "exit"}]


ALL = ("PENDING", "RUNNING", "PAUSED", "FINISHED", "CANCELED")
FOLLOWS = {
    "PENDING": ALL,
    "RUNNING": ("RUNNING", "PAUSED", "FINISHED", "CANCELED"),
    "PAUSED": ("RUNNING", "PAUSED", "FINISHED", "CANCELED"),
    "FINISHED": ("RUNNING", "FINISHED", "CANCELED"),
    "CANCELED": ("RUNNING", "CANCELED"),
}


@pytest.mark.parametrize("wanted", ALL)
@pytest.mark.parametrize("state", FOLLOWS)
def test_which_state_follows_which(make: Make, state: str, wanted: str) -> None:
    sweep = make(GRID)
    if state != "PENDING":
        sweep.take(sweep.agent())
        sweep.change(state=state)
    if wanted in FOLLOWS[state]:
        sweep.change(state=wanted)
        assert sweep.state == wanted
    else:
        with pytest.raises(ClientError, match=f"is {state} cannot become {wanted}"):
            sweep.change(state=wanted)
        assert sweep.state == state


def test_a_sweep_that_has_come_to_its_end_cannot_be_paused(make: Make) -> None:
    """Though no agent has asked again: what counts is what a user is told."""
    sweep = make({**GRID, "run_cap": 1})
    agent = sweep.agent()
    sweep.end(sweep.take(agent))
    assert sweep.state == "FINISHED" and sweep.row["state"] == "RUNNING"
    with pytest.raises(ClientError, match="FINISHED"):
        sweep.change(state="PAUSED")


def test_a_finished_grid_repeats_the_runs_that_were_deleted(make: Make) -> None:
    sweep = make(GRID)
    agent = sweep.agent()
    names = []
    for _ in range(3):
        names.append(sweep.take(agent))
        sweep.end(names[-1])
    assert sweep.beat(agent) == [{"type": "exit"}] and sweep.state == "FINISHED"
    deleted = trials.configuration(sweep.database.read(), sweep.run(names[1])["id"])
    sweep.database.write(lambda conn: runs.delete(conn, sweep.run(names[1])["id"]))
    sweep.change(state="RUNNING")
    (command,) = sweep.beat(sweep.agent())
    assert trials.plain(json.dumps(command["args"])) == deleted


def test_a_trial_that_died_under_a_live_agent_is_crashed_after_a_minute(make: Make) -> None:
    """The agent says that the process is gone: only what the client still sends is waited for."""
    sweep = make({**GRID, "run_cap": 2})
    agent, other = sweep.agent(), sweep.agent()
    dead, alive = sweep.take(agent), sweep.take(other)
    for name in (dead, alive):
        sweep.log(name, 1.0)
        sweep.set("runs", "heartbeat_at", clock.ago(61), name=name)
    sweep.beat(agent, dead)
    sweep.beat(other, alive)
    look = functools.partial(runs.mark_silent, before=clock.ago(300), released_before=clock.ago(60))
    assert sweep.database.write(look) == 0  # both are said to be alive
    sweep.beat(agent)
    assert sweep.run(dead)["state"] == "running"
    assert sweep.database.write(look) == 1
    assert (sweep.run(dead)["state"], sweep.run(alive)["state"]) == ("crashed", "running")
    sweep.beat(other)
    sweep.end(alive)
    assert sweep.state == "FINISHED"
    stream(sweep, dead)  # it was still uploading, slowly: then it runs
    assert sweep.run(dead)["state"] == "running"


def test_a_trial_whose_end_the_agent_tells_is_crashed_at_once(make: Make) -> None:
    sweep = make({**GRID, "run_cap": 3})
    agent = sweep.agent()
    ends = {"preempting": "preempted", "failed": "failed", "running": "crashed"}
    for before, after in ends.items():
        name = sweep.take(agent)
        sweep.log(name, 1.0, state=before)
        sweep.beat(agent, name)
        assert sweep.run(name)["state"] == before
        sweep.beat(agent, "leaving", ended=(name,))
        assert sweep.run(name)["state"] == after
        if after == "preempted":
            sweep.set("runs", "state", "finished", name=name)
    stream(sweep, name)  # a process elsewhere, of which the agent knows nothing
    assert sweep.run(name)["state"] == "running"


def test_a_run_that_was_to_stop_and_is_gone_was_killed(make: Make) -> None:
    sweep = make(GRID)
    agent = sweep.agent()
    name = sweep.take(agent)
    sweep.log(name, 1.0)
    sweep.set("runs", "stop_requested", 1, name=name)
    assert sweep.beat(agent, name) == [{"type": "stop", "run_id": name}]
    sweep.beat(agent, "leaving", ended=(name,))
    assert sweep.run(name)["state"] == "killed"


def test_an_agent_that_takes_its_leave_has_finished(make: Make) -> None:
    sweep = make(RANDOM)
    agent, theirs = sweep.agent(), sweep.agent()

    def state(pk: int) -> str:
        row = agents.by_id(sweep.database.read(), pk)
        assert row is not None
        return agents.state(row, clock.ago(60))

    sweep.end(sweep.take(agent))
    assert state(agent) == "RUNNING"
    assert sweep.beat(agent, "leaving") == [] and state(agent) == "FINISHED"
    assert sweep.beat(agent)[0]["type"] == "run" and state(agent) == "RUNNING"  # it has thought better of it
    sweep.scheduler.heartbeat(theirs, ["leaving"], None)  # a run of that name, to W&B's agent
    assert state(theirs) == "RUNNING"


def stream(sweep: Sweep, name: str) -> None:
    row = projects.by_id(sweep.database.read(), 1)
    assert row is not None
    update = filestream.parse(b"{}")
    sweep.database.write(lambda conn: filestream.apply(conn, row["entity"], row["name"], name, update))


def test_a_deleted_sweep_and_an_unknown_agent_are_gone(make: Make) -> None:
    sweep = make(GRID)
    agent = sweep.agent()
    sweep.database.write(lambda conn: conn.execute("DELETE FROM sweeps"))
    with pytest.raises(Gone):
        sweep.beat(agent)


def test_a_deleted_run_gives_its_configuration_back(make: Make) -> None:
    sweep = make(GRID)
    agent = sweep.agent()
    for _ in range(3):
        name = sweep.take(agent)
        sweep.end(name)
    sweep.database.write(lambda conn: runs.delete(conn, sweep.run(name)["id"]))
    assert sweep.beat(agent)[0]["args"] == {"a": {"value": 3}}


def test_a_shuffled_grid_goes_on_after_a_restart_and_comes_back_to_what_was_deleted(make: Make) -> None:
    sweep = make(
        {**GRID, "controller": {"type": "cloud", "shuffle": True, "seed": 5}, "parameters": {"a": {"max": 9, "min": 0}}}
    )
    agent = sweep.agent()
    names = []
    for _ in range(4):
        names.append(sweep.take(agent))
        sweep.end(names[-1])
    tried = [json.loads(sweep.run(name)["config"])["a"]["value"] for name in names]
    sweep.scheduler = Scheduler(sweep.database, Studies())
    sweep.database.write(lambda conn: runs.delete(conn, sweep.run(names[1])["id"]))
    order = Permutation(10, "5")
    later = [sweep.beat(sweep.agent())[0]["args"]["a"]["value"] for _ in range(7)]
    assert tried == [order.at(n) for n in range(4)]
    assert later == [tried[1], *(order.at(n) for n in range(4, 10))]


def test_hyperband_stops_the_worse_and_tells_why(make: Make) -> None:
    early = {"type": "hyperband", "min_iter": 2, "eta": 2}
    sweep = make({**RANDOM, "metric": {"name": "loss"}, "early_terminate": early})
    workers = [sweep.agent() for _ in range(3)]
    names = [sweep.take(agent) for agent in workers]
    for name, loss in zip(names, (0.1, 0.2, 0.3), strict=True):
        sweep.log(name, 9.0, loss)
    assert sweep.beat(workers[0], names[0]) == []
    assert sweep.beat(workers[2], names[2]) == [{"type": "stop", "run_id": names[2]}]
    assert [sweep.run(name)["stop_requested"] for name in names] == [0, 0, 1]
    trial = sweep.database.read().execute("SELECT * FROM trials WHERE stopped_at IS NOT NULL").fetchall()
    assert [(row["stop_band"], row["stop_value"], row["stop_threshold"]) for row in trial] == [(2, 0.3, 0.2)]
    assert sweep.run(names[2])["notes"] == "stopped early: loss 0.3 at iteration 2, where 0.2 was to be reached"


def test_a_target_ends_the_sweep(make: Make) -> None:
    sweep = make({**RANDOM, "metric": {"name": "a.b", "goal": "maximize", "target": 0.9}})
    agent, other = sweep.agent(), sweep.agent()
    name, running = sweep.take(agent), sweep.take(other)
    sweep.log(name, 0.95, state="finished", key="a.b")
    assert sweep.beat(other, running) == []
    assert sweep.state == "FINISHED"
    assert sweep.beat(agent) == [{"type": "exit"}]


def test_bayes_goes_on_after_a_restart_of_the_server(make: Make) -> None:
    sweep = make({"method": "bayes", "metric": {"name": "loss"}, "parameters": {"x": {"min": 0.0, "max": 1.0}}})
    agent = sweep.agent()
    for _ in range(13):
        (command,) = sweep.beat(agent)
        sweep.log(command["run_id"], command["args"]["x"]["value"], state="finished")
        sweep.scheduler = Scheduler(sweep.database, Studies())
    xs = [json.loads(run["config"])["x"]["value"] for run in sweeps.runs(sweep.database.read(), sweep.pk)]
    assert len(set(xs)) == 13


def test_a_configuration_may_be_enqueued_again_though_one_of_its_runs_was_deleted(make: Make) -> None:
    sweep = make({**RANDOM, "controller": {"type": "local"}})
    names = []
    for _ in range(4):
        run = sweep.database.write(lambda conn: trials.enqueue(conn, sweep.row, {"x": 0.5}))
        assert run is not None
        names.append(run["name"])
        if len(names) == 2:
            sweep.database.write(lambda conn: runs.delete(conn, sweep.run(names[0])["id"]))
    assert len(set(names)) == 4


def test_a_grid_goes_on_after_a_restart_and_passes_over_what_joined_it(make: Make) -> None:
    """A run that came by itself (WANDB_SWEEP_ID) has its configuration; deleted, it gives it back."""
    sweep = make({"method": "grid", "parameters": {"a": {"values": [1, 2, 3, 4, 5]}}})
    agent = sweep.agent()
    sweep.end(sweep.take(agent))
    joined = json.dumps({"a": {"value": 3}, "other": {"value": 1}})
    sweep.database.write(
        lambda conn: runs.create(conn, 1, "own", user="me", sweep_id=sweep.pk, state="finished", config=joined)
    )
    given = []
    for _ in range(3):
        sweep.scheduler = Scheduler(sweep.database, Studies())
        (command,) = sweep.beat(agent)
        given.append(command["args"]["a"]["value"])
        sweep.end(command["run_id"])
    assert given == [2, 4, 5]
    sweep.database.write(lambda conn: runs.delete(conn, sweep.run("own")["id"]))
    sweep.scheduler = Scheduler(sweep.database, Studies())
    assert sweep.beat(agent)[0]["args"] == {"a": {"value": 3}}


def test_a_run_that_goes_on_after_its_end_counts_anew(make: Make) -> None:
    metric = {"name": "loss", "goal": "maximize", "target": 0.9}
    sweep = make({**RANDOM, "metric": metric})
    agent, other = sweep.agent(), sweep.agent()
    name, running = sweep.take(agent), sweep.take(other)
    sweep.log(name, 0.5, state="crashed")
    assert sweep.beat(other, running) == []
    sweep.log(name, 0.95, state="finished")
    assert sweep.beat(other, running) == [] and sweep.state == "FINISHED"


def test_a_local_controllers_schedule_becomes_runs(make: Make) -> None:
    sweep = make({**RANDOM, "controller": {"type": "local"}})
    agent = sweep.agent()
    assert sweep.beat(agent) == []
    entry = {"id": "s1", "data": {"args": {"x": {"value": 0.5}}}}
    for _ in range(2):  # sent again until the run has started
        sweep.change(controller=json.dumps({"schedule": [entry]}))
    (scheduled,) = json.loads(sweep.row["scheduler"])["scheduled"]
    (command,) = sweep.beat(agent)
    assert scheduled == {"id": "s1", "runid": command["run_id"]} and command["args"] == {"x": {"value": 0.5}}
    sweep.log(command["run_id"], 1.0)
    sweep.change(controller=json.dumps({"schedule": [], "earlystop": [command["run_id"]]}))
    assert sweep.beat(agent, command["run_id"]) == [{"type": "stop", "run_id": command["run_id"]}]
    sweep.end(command["run_id"])
    sweep.change(controller=json.dumps({"schedule": [{"id": "s2", "data": {"args": None}}]}))
    assert sweep.beat(agent) == [{"type": "exit"}]


def test_what_was_proposed_before_an_edit_is_not_handed_out_after_it(make: Make) -> None:
    sweep = make({**GRID, "parameters": {"a": {"values": [1]}}})
    agent = sweep.agent()
    sweep.beat(sweep.agent())
    asked = sweep.edit_while_asked({**GRID, "parameters": {"a": {"values": [5]}}})
    assert sweep.beat(agent) == [], "used up by the old configuration"
    assert asked == [[]]
    (command,) = sweep.beat(agent)
    assert command["args"] == {"a": {"value": 5}}, "the new one"
    assert not sweep.row["exhausted"]


def test_a_run_that_is_not_made_because_of_an_edit_is_forgotten(make: Make) -> None:
    sweep = make({**GRID, "parameters": {"a": {"values": [1, 2]}}})
    agent = sweep.agent()
    sweep.take(sweep.agent())
    asked = sweep.edit_while_asked({**GRID, "parameters": {"a": {"values": [5]}}})
    assert sweep.beat(agent) == []
    assert [one.config for one in asked[0]] == [{"a": 2}]
    (command,) = sweep.beat(agent)
    assert command["args"] == {"a": {"value": 5}}


def test_the_end_of_a_run_has_the_search_think_before_an_agent_asks(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    solved: queue.Queue[int] = queue.Queue()
    solve = Problem.solve

    def watched(problem: Problem) -> list[dict[str, Any]]:
        solved.put(len(problem.values))
        return solve(problem)

    monkeypatch.setattr(Problem, "solve", watched)
    sweep = make({**RANDOM, "method": "bayes", "metric": {"name": "loss", "goal": "minimize"}})
    agent = sweep.agent()
    for n in range(5):
        name = sweep.take(agent)
        sweep.log(name, float(n), state="finished")
    assert solved.get(timeout=10) == 4, "the fifth was asked for of the model"
    sweep.scheduler.run_ended("me", "p", name)
    assert solved.get(timeout=10) == 5, "no agent has asked for the sixth"
    assert sweep.take(agent) and solved.empty(), "what was thought of is what it gets"
