"""Prior runs: found, looked at, and learned from; through the real client, over HTTP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import wandb
import yaml
from sweepkit.errors import UsageError
from sweepkit.sweeps import priors, run, spec
from sweepkit.sweeps.wandb_api import SweepRef, WandbApi

SPACE = {"x": {"min": 0.0, "max": 1.0}, "kind": {"values": ["a", "b"]}, "epochs": {"value": 9}}
ORDER = {"type": "cloud", "seed": 1}
BAYES = {"method": "bayes", "metric": {"name": "loss"}, "parameters": SPACE, "controller": ORDER}
HERE, THERE = "priors-here", "priors-there"


@pytest.fixture(scope="session")  # as the server, whose other tests come in between
def before(server: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Runs of another project, by what is particular to each: 14 that say where the optimum is, and some odd ones."""
    plan: dict[str, Any] = {
        f"good{n}": ({"x": n / 13, "kind": "ab"[n % 2], "epochs": 2}, {"loss": (n / 13 - 0.5) ** 2 + n % 2}, 0)
        for n in range(14)
    }
    plan |= {
        "other metric": ({"x": 0.5, "kind": "a"}, {"accuracy": 0.5, "speed": 3}, 0),
        "outside": ({"x": 1.5, "kind": "a"}, {"loss": 0.1}, 0),
        "less": ({"x": 0.5}, {"loss": 0.1}, 0),
        "a prior that failed": ({"x": 0.25, "kind": "a"}, {"loss": 0.1}, 1),
    }
    folder = tmp_path_factory.mktemp("before")
    code = """
import json, sys, wandb
for name, (config, values, code) in json.load(sys.stdin).items():
    settings = wandb.Settings(x_disable_stats=True, console="off", disable_git=True)
    run = wandb.init(project=sys.argv[1], name=name, config=config, settings=settings)
    run.log(values)
    run.finish(exit_code=code)
    print(name, run.id, sep="=")
"""
    environment = {**os.environ, **server.environment(), "WANDB_DIR": str(folder)}
    command = [sys.executable, "-c", code, THERE]
    done = subprocess.run(command, input=json.dumps(plan), text=True, capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr
    return dict(line.split("=") for line in done.stdout.splitlines())


@pytest.fixture
def bayes(wandb_env: dict[str, str], tmp_path: Path) -> spec.Spec:
    (tmp_path / "train.py").write_text("")
    return spec.parse(yaml.safe_dump({"program": "train.py", **BAYES}), tmp_path / "sweep.yaml")


def suggestions(api: WandbApi, ref: SweepRef, number: int) -> list[dict[str, Any]]:
    found = []
    for n in range(number):
        (command,) = api.heartbeat(api.create_agent(ref, f"a{n}"), {})
        found.append({name: entry["value"] for name, entry in command["args"].items()})
    return found


def test_a_search_begins_where_runs_of_another_project_were_good(
    api: WandbApi, bayes: spec.Spec, before: dict[str, str]
) -> None:
    good = [f"{THERE}/{before[f'good{n}']}" for n in range(14)]
    warm = suggestions(api, run.create(api, bayes, HERE, good), 4)
    cold = suggestions(api, run.create(api, bayes, HERE), 4)
    distances = [sum(abs(one["x"] - 0.5) + (one["kind"] == "b") for one in each) for each in (warm, cold)]
    assert distances[0] < distances[1] / 2
    assert all(one["epochs"] == 9 for one in warm)


def test_a_sweep_stands_for_its_finished_runs(
    api: WandbApi, bayes: spec.Spec, record: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"loss": 0.5}, {"loss": 0.7}]
    config = {**BAYES, "method": "random", "parameters": {**SPACE, "x": {"min": 0.0, "max": 1}}}
    ref, ids = record(config, [("a", rows, 0), ("b", rows, 1), ("c", rows, 0), ("d", [{"speed": 1.0}], 0)])
    for text in (f"{ref.entity}/{ref.project}/sweeps/{ref.id}", ref.url(api.backend), ref.path, ref.id):
        found = priors.find(api, bayes, HERE, [text, f"{ref.project}/{ids[0]}"])
        assert [one.id for one in found] == [ids[0], ids[2]]
    assert f"1 of 3 finished runs of {ref.id} are left out: run {ids[3]} has no value of the metric loss" in (
        capsys.readouterr().err
    )
    made = run.create(api, bayes, ref.project, [ref.path])
    assert api.prior_runs(made) == {ids[0], ids[2]}


def test_wandbs_own_client_names_prior_runs_by_their_ids(
    api: WandbApi, bayes: spec.Spec, before: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    ids = [before["good0"], before["good1"]]
    made = wandb.sweep(bayes.config, project=THERE, prior_runs=[*ids, "nosuchrun"])
    assert api.prior_runs(api.find_sweep(f"{THERE}/{made}")) == set(ids)


@pytest.mark.parametrize(
    ("named", "parts"),
    [
        ("nosuchrun", ["there is no run 'nosuchrun'"]),
        ("other metric", ["has no value of the metric loss; it logged: accuracy, speed"]),
        ("outside", ["its x is 1.5, which is not in it"]),
        ("less", ["it has no kind"]),
    ],
)
def test_a_run_that_does_not_serve_is_told_before_anything_is_made(
    api: WandbApi, bayes: spec.Spec, before: dict[str, str], named: str, parts: list[str]
) -> None:
    text = before.get(named, named)
    with pytest.raises(UsageError) as caught:
        run.create(api, bayes, "priors-refused", [before["good0"], text])
    assert all(part in caught.value.message for part in parts), caught.value.message
    assert caught.value.hint
    assert "priors-refused" not in [project.name for project in wandb.Api().projects(api.entity)]


def test_a_running_run_and_a_search_that_does_not_learn_are_refused(
    api: WandbApi, bayes: spec.Spec, before: dict[str, str], tmp_path: Path
) -> None:
    with wandb.init(project=HERE, config={"x": 0.5, "kind": "a"}) as running:
        running.log({"loss": 1.0})
        with pytest.raises(UsageError, match=f"run {running.id} is running; wait"):
            priors.find(api, bayes, HERE, [running.id])
    assert [one.id for one in priors.find(api, bayes, HERE, [running.id, f"{HERE}/{running.id}"])] == [running.id]
    assert priors.find(api, bayes, THERE, ["a prior that failed"])[0].id == before["a prior that failed"]
    grid = spec.parse(
        yaml.safe_dump({"program": "train.py", "method": "grid", "parameters": {"x": {"values": [1]}}}), bayes.path
    )
    with pytest.raises(UsageError, match="grid does not"):
        priors.find(api, grid, HERE, [before["good0"]])


def test_the_command_has_the_option(before: dict[str, str], bayes: spec.Spec, tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(bayes.text)
    command = [sys.executable, "-m", "sweepkit", "create", "sweep.yaml", "--project", HERE, "--prior"]
    done = subprocess.run([*command, "nosuchrun"], capture_output=True, text=True)
    assert done.returncode == 2 and "error: there is no run 'nosuchrun'" in done.stderr and not done.stdout
    done = subprocess.run([*command, f"{THERE}/{before['good3']}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
