"""A run's life with the real client: start, configure, log, end, resume, rewind, fork, change, stop, delete."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from sweepkit.backend.graphql import run_changes
from sweepkit.backend.graphql.ids import encode
from sweepkit.backend.storage import projects, runs
from sweepkit.backend.storage.database import Database

Make = Callable[..., Any]


def test_what_the_client_logs_is_what_the_api_reads(server: Any, script: Make) -> None:
    seen = script("""
        config = {"lr": 0.1, "nested": {"a": 1}, "text": "ü"}
        with wandb.init(project="life", name="first", config=config, tags=["a", "b"], group="g", job_type="train",
                        notes="n") as run:
            run.define_metric("loss", summary="min")
            for step in range(5):
                run.log({"loss": abs(2 - step), "nan": float("nan") if step == 3 else 1.0})
            run.config.update({"late": 2})
            run.summary["best"] = 3
            print("said ünï")
        read = wandb.Api().run(run.path)
        print(json.dumps({
            "state": read.state, "config": read.config,
            "summary": dict(read.summary["loss"]) | {"best": read.summary["best"]},
            "tags": read.tags, "name": read.name, "group": read.group, "job_type": read.job_type, "notes": read.notes,
            "steps": [row["_step"] for row in read.scan_history()], "url": read.url, "user": read.user.username,
            "metadata": bool(read.metadata["python"]), "console": [line.content for line in read.console_logs()],
            "last": read.lastHistoryStep, "system": bool(read.history(stream="system", pandas=False)),
        }))
    """)
    assert seen["state"] == "finished"
    assert seen["config"] == {"lr": 0.1, "nested": {"a": 1}, "text": "ü", "late": 2}
    assert seen["summary"] == {"min": 0, "best": 3}
    assert (seen["tags"], seen["group"], seen["job_type"], seen["notes"]) == (["a", "b"], "g", "train", "n")
    assert (seen["name"], seen["user"]) == ("first", server.entity)
    assert seen["steps"] == [0, 1, 2, 3, 4] and seen["last"] == 4
    assert seen["url"].startswith(f"{server.url}/{server.entity}/life/runs/")
    assert seen["metadata"] and seen["system"] and "said ünï" in seen["console"]


def test_resuming(script: Make) -> None:
    seen = script("""
        run = wandb.init(project="resume", config={"a": 1}); run.log({"x": 1}); run.log({"x": 2}); run.finish()
        seen = {}
        for mode in ("must", "allow"):
            again = wandb.init(project="resume", id=run.id, resume=mode, config={mode: 1})
            seen[mode + "-sees"] = [again.resumed, again.summary["x"]]
            again.log({"x": mode}); again.finish()
        fresh = wandb.init(project="resume", id="fresh", resume="allow"); fresh.finish()
        read = wandb.Api().run(run.path)
        seen |= {"fresh": fresh.resumed, "config": read.config, "state": read.state,
                 "rows": [[row["_step"], row["x"]] for row in read.scan_history()]}
        over = wandb.init(project="resume", id=run.id); over.log({"x": "new"}); over.log({"x": "er"}); over.finish()
        over = wandb.Api().run(run.path)
        seen["overwritten"] = [[row["_step"], row["x"]] for row in over.scan_history()]
        seen["keys"] = over.history_keys["keys"]["x"]["typeCounts"]
        for mode, id in (("never", run.id), ("must", "nobody")):
            try:
                wandb.init(project="resume", id=id, resume=mode)
            except wandb.errors.UsageError:
                seen[mode] = "refused"
        print(json.dumps(seen))
    """)
    assert (seen.pop("must-sees"), seen.pop("allow-sees")) == ([True, 2], [True, "must"])
    assert seen.pop("fresh") is False
    assert seen.pop("config") == {"a": 1, "must": 1, "allow": 1}
    assert seen.pop("rows") == [[0, 1], [1, 2], [2, "must"], [3, "allow"]]
    assert (seen.pop("state"), seen.pop("overwritten")) == ("finished", [[0, "new"], [1, "er"]])
    assert seen.pop("keys") == [{"type": "string", "count": 2}]
    assert seen == {"never": "refused", "must": "refused"}


def test_the_parts_of_a_resumed_run_are_synced_one_after_the_other(script: Make) -> None:
    seen = script("""
        import subprocess
        run = wandb.init(project="parts"); run.log({"x": "a"}); run.finish()
        parts = [run.settings.sync_dir]
        for letter in "bc":
            again = wandb.init(project="parts", id=run.id, resume="must"); again.log({"x": letter}); again.finish()
            parts.append(again.settings.sync_dir)
        sync = [sys.executable, "-m", "wandb", "beta", "sync", "--no-skip-online", "--id", "whole"]
        seen = []
        for options in ([], ["--no-skip-synced"]):  # the second time it overwrites
            subprocess.run([*sync, *options, *parts], check=True, stdout=subprocess.DEVNULL)
            whole = wandb.Api().run(f"{run.entity}/parts/whole")
            seen.append([[row["_step"], row["x"]] for row in whole.scan_history()])
        print(json.dumps(seen))
    """)
    assert seen == [[[0, "a"], [1, "b"], [2, "c"]]] * 2


def test_a_deleted_run_stays_deleted_and_its_id_is_no_other_runs(ask: Make, upsert: Make) -> None:
    first = upsert(modelName="deleting", name="first")
    delete = "mutation ($id: ID!) { deleteRun(input: {id: $id}) { success } }"
    assert ask(delete, id=first["id"])["data"]["deleteRun"]["success"]
    second = upsert(modelName="deleting", name="second")
    assert second["id"] != first["id"]
    assert ask(delete, id=first["id"])["data"]["deleteRun"]["success"]
    assert upsert(modelName="deleting", name="second")["inserted"] is False
    assert ask(delete, status=404, id=encode("Run", 10**9))["errors"]


def test_rewinding_and_forking(script: Make) -> None:
    seen = script("""
        run = wandb.init(project="branches")
        for step in range(6):
            run.log({"x": step})
        run.finish()
        again = wandb.init(project="branches", resume_from=f"{run.id}?_step=2"); again.log({"x": -1}); again.finish()
        fork = wandb.init(project="branches", fork_from=f"{run.id}?_step=1"); fork.log({"x": -2}); fork.finish()
        def rows(path): return [[row["_step"], row["x"]] for row in wandb.Api().run(path).scan_history(keys=["x"])]
        print(json.dumps([rows(run.path), rows(fork.path), wandb.Api().run(run.path).summary["x"]]))
    """)
    assert seen == [[[0, 0], [1, 1], [2, 2], [3, -1]], [[0, 0], [1, 1], [2, -2]], -1]


def test_failing(script: Make) -> None:
    seen = script("""
        import subprocess
        code = "import wandb; run = wandb.init(project='ends', id='fails'); run.log({'x': 1}); raise ValueError('no')"
        assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 1
        print(json.dumps(wandb.Api().run("ends/fails").state))
    """)
    assert seen == "failed"


def test_being_stopped(script: Make) -> None:
    """The client looks every 15 seconds whether its run should stop."""
    seen = script("""
        import subprocess, time
        loop = ("import wandb, time; run = wandb.init(project='ends', id='stops', settings=wandb.Settings("
                "x_file_stream_transmit_interval=1))\\n"
                "for n in range(600): run.log({'x': n}); time.sleep(0.1)")
        child = subprocess.Popen([sys.executable, "-c", loop], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        run = None
        while run is None:
            time.sleep(0.2)
            try:
                run = wandb.Api().run("ends/stops")
            except Exception:
                assert child.poll() is None
        run.stop()
        code = child.wait(timeout=60)
        print(json.dumps([wandb.Api().run("ends/stops").state, code != 0]))
    """)
    assert seen == ["killed", True]


def test_the_api_changes_and_deletes_runs(script: Make) -> None:
    seen = script("""
        run = wandb.init(project="changes", config={"a": 1}); run.log({"x": 1}); run.finish()
        read = wandb.Api().run(run.path)
        read.tags.append("new"); read.notes = "said"; read.name = "renamed"; read.config["b"] = 2; read.update()
        read.summary["y"] = 5; read.summary.update()
        again = wandb.Api().run(run.path)
        made = wandb.Api().create_run(run_id="made", project="changes")
        seen = [again.tags, again.notes, again.name, again.config, again.summary["y"], again.summary["x"], again.state,
                made.state]
        made.delete()
        with wandb.init(project="changes") as run:
            artifact = wandb.Artifact("gone", "data"); run.log_artifact(artifact).wait()
        path = f"{run.entity}/changes/gone:v0"
        seen.append(wandb.Api().artifact_exists(path))
        wandb.Api().run(run.path).delete(delete_artifacts=True)
        seen.append(wandb.Api().artifact_exists(path))
        try:
            wandb.Api().run("changes/made")
        except Exception as error:
            seen.append("gone" if "not find run" in str(error) else str(error))
        print(json.dumps(seen))
    """)
    assert seen == [["new"], "said", "renamed", {"a": 1, "b": 2}, 5, 1, "finished", "running", True, False, "gone"]


# --- what the mutations promise, on the rows themselves


@pytest.fixture
def change(store: Database) -> Make:
    """``change(**input)``: UpsertBucket on a store of this test's own."""

    def upsert(**given: Any) -> Any:
        given = {"modelName": "p", "entityName": "e", **given}
        return store.write(lambda conn: run_changes.upsert(conn, "e", given))[0]

    return upsert


def _sweep_with_run(store: Database) -> None:
    def make(conn: Any) -> None:
        project = projects.ensure(conn, "e", "p")["id"]
        now = project and "2026-01-01T00:00:00.000000Z"
        conn.execute(
            "INSERT INTO sweeps (id, project_id, name, config, method, user, created_at, updated_at, heartbeat_at)"
            " VALUES (1, ?, 's', 'x: 1', 'grid', 'e', ?, ?, ?)",
            (project, now, now, now),
        )
        config = json.dumps({"lr": {"value": 0.5}, "width": {"value": 8}})
        runs.create(conn, project, "trial", user="e", sweep_id=1, config=config)

    store.write(make)


def test_a_sweeps_configuration_stays_when_its_run_starts(store: Database, change: Make) -> None:
    _sweep_with_run(store)
    row = change(name="trial", sweep="s", host="h", config='{"lr": {"value": 0.5}, "own": {"value": 1}}')
    assert row["state"] == "running" and row["sweep_id"] == 1
    assert {key: entry["value"] for key, entry in json.loads(row["config"]).items()} == {
        "lr": 0.5,
        "width": 8,
        "own": 1,
    }


def test_a_sweep_that_is_not_there_is_told(store: Database, change: Make) -> None:
    with pytest.raises(run_changes.ClientError, match="sweep 'nope' not found in e/p"):
        change(name="r", sweep="nope")
    assert projects.find(store.read(), "e", "p") is None  # nothing was half done


def test_a_late_change_of_a_crashed_run_loses_nothing(store: Database, change: Make) -> None:
    row = change(name="r", host="h")
    store.write(lambda conn: runs.update(conn, row["id"], state="crashed", summary='{"x": 1}', history_lines=3))
    row = change(name="r", config='{"a": {"value": 1}}')  # the client's debounced change names no host
    assert (row["state"], row["summary"], row["history_lines"]) == ("running", '{"x": 1}', 3)
    store.write(lambda conn: runs.update(conn, row["id"], state="crashed"))
    row = change(name="r", id=encode("Run", row["id"]), host="h")  # resumed
    assert (row["state"], row["history_lines"]) == ("running", 3)


def test_a_change_by_id_does_not_start_an_ended_run(store: Database, change: Make) -> None:
    row = change(name="r", host="h")
    store.write(lambda conn: runs.update(conn, row["id"], state="finished"))
    assert change(id=encode("Run", row["id"]), tags=["x"])["state"] == "finished"


@pytest.mark.parametrize(
    "given",
    [
        {"config": "no json"},
        {"config": "[]"},
        {"summaryMetrics": "1"},
        {"state": "dancing"},
        {"name": "a/b"},
        {"name": ".."},
    ],
)
def test_wrong_input_gets_400(ask: Make, given: dict[str, Any]) -> None:
    query = "mutation ($input: UpsertBucketInput!) { upsertBucket(input: $input) { inserted } }"
    assert ask(query, status=400, input={"modelName": "wrong", "name": "r", **given})["errors"]


def test_states_that_may_be_set(ask: Make, upsert: Make) -> None:
    run = upsert(modelName="states", name="r")
    query = "mutation ($input: UpdateRunStateInput!) { updateRunState(input: $input) { success } }"
    assert ask(query, input={"id": run["id"], "state": "failed"})["data"]["updateRunState"]["success"]
    ask(query, status=400, input={"id": run["id"], "state": "failed"})
    ask(query, status=400, input={"id": run["id"], "state": "finished"})
    ask(query, status=400, input={"id": "UnVuOnYxOnh4", "state": "failed"})


def test_the_older_clients_questions_are_answered(ask: Make, upsert: Make, server: Any) -> None:
    upsert(modelName="older", name="r", config='{"_wandb": {"value": {"t": {"1": 2}, "m": []}}}', tags=["x"])
    query = """query ($e: String) { model(name: "older", entityName: $e) { bucket(name: "r", missingOk: true) {
        summaryMetrics logLineCount historyLineCount eventsLineCount historyTail eventsTail tags
        wandbConfig(keys: ["t"]) } none: bucket(name: "none", missingOk: true) { id } }
        project(name: "older") { run(name: "r") { stopped runInfo { program } files { edges { node { name } } } } } }"""
    data = ask(query, e=server.entity)["data"]
    assert json.loads(data["model"]["bucket"]["wandbConfig"]) == {"t": {"1": 2}}
    assert data["model"]["bucket"]["historyTail"] == "[]" and data["model"]["none"] is None
    assert data["project"]["run"] == {"stopped": False, "runInfo": None, "files": {"edges": []}}
