"""The search of a sweep with a ``scheduler:``: started with its agents, restarted when it dies, one at a time, told."""

from __future__ import annotations

import signal
import textwrap
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from sweepkit.errors import UsageError
from sweepkit.sweeps.agents import search_process, searcher
from sweepkit.sweeps.wandb_api import SweepRef

from .desk import Desk, until

PROGRAM = """
    import time
    import wandb
    with wandb.init() as run:
        run.log({"score": run.config["lr"]})
        time.sleep(1)
"""
SPACE = """
import optuna
def space(trial):
    found = {"lr": trial.suggest_float("lr", 0, 1)}
    found["optimizer"] = trial.suggest_categorical("optimizer", ["sgd", "adam"])
    if found["optimizer"] == "sgd":
        found["momentum"] = trial.suggest_float("momentum", 0, 1)
    return found
def study(sweep):
    return optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=3))
"""
REF = SweepRef("me", "p", "abc")


def sweep(desk: Desk, source: str, **changes: Any) -> SweepRef:
    (desk.folder / "search.py").write_text(source)
    scheduler = {"engine": "optuna", "source": "search.py", "search_space": "space", **changes}
    return desk.sweep(PROGRAM, method="custom", scheduler=scheduler, parameters={}, run_cap=6)


def searches(ref: SweepRef) -> list[psutil.Process]:
    """The processes that search for a sweep, or wait to do so, without their guards."""
    lines = ((each, each.info["cmdline"] or []) for each in psutil.process_iter(["cmdline"]))
    return [each for each, line in lines if ref.path in line and "-m" in line[:2] and "search_process" in line[2]]


def test_a_search_that_dies_is_started_again_and_others_take_over_when_its_agents_leave(desk: Desk) -> None:
    ref = sweep(desk, SPACE, optimizer="study")
    first = desk.agents(ref, "--cpu-slots", "1", "--count", "3", name="first-")
    until(lambda: any(run.state == "finished" for run in desk.api.runs(ref)))
    (search,) = searches(ref)
    search.send_signal(signal.SIGKILL)
    until(lambda: "it was ended by signal 9; it is started again" in desk.words("first-"))
    second = desk.agents(ref, "--cpu-slots", "2", name="second-")
    assert desk.outcome(first, 90, name="first-")[1]["finished"] == 3
    code, data, words = desk.outcome(second, 90, name="second-")
    assert (code, data["finished"], data["failed"]) == (0, 3, 0), words
    runs = desk.api.runs(ref)
    assert len(runs) == 6 and {run.state for run in runs} == {"finished"}
    assert all(("momentum" in run.config) == (run.config["optimizer"] == "sgd") for run in runs)
    assert desk.api.sweep(ref).state == "FINISHED"
    assert searches(ref) == []


@pytest.mark.parametrize(
    ("source", "why", "starts"),
    [
        ("import no_such", "ModuleNotFoundError: No module named 'no_such' (search.py, line 1)", 1),
        ("asked = []\ndef space(trial):\n    asked.append(1)\n    if asked[1:]: raise ValueError('no')\n    return {}",
         "ValueError: no (search.py, line 4)", 3),
    ],
    ids=["on import", "while it searches"],
)  # fmt: skip
def test_a_search_that_cannot_go_on_ends_the_agents_with_one_message(
    desk: Desk, source: str, why: str, starts: int
) -> None:
    ref = sweep(desk, source)
    code, _, words = desk.outcome(desk.agents(ref, "--cpu-slots", "1"))
    assert code == 1
    assert f"error: the search for {ref.path} failed: {why}" in words
    assert words.count("it is started again") == starts - 1
    assert "Traceback" not in words
    assert f"mend search.py, and `sweepkit agents {ref.id}` goes on with it" in words


def test_what_no_search_can_start_with_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    config: dict[str, Any] = {"scheduler": {"engine": "optuna", "source": "s.py", "search_space": "f"}}
    with pytest.raises(UsageError, match="source 's.py' is not there"):
        searcher.check(config)
    Path("s.py").touch()
    searcher.check(config)
    with pytest.raises(UsageError, match="known are optuna, ax, wandb"):
        searcher.check({"scheduler": {"engine": "other"}})
    monkeypatch.setattr(searcher, "find_spec", lambda name: None if name == "optuna" else True)
    with pytest.raises(UsageError, match="needs the package optuna") as caught:
        searcher.check(config)
    assert caught.value.hint == "pip install 'wandb[optuna]'"


def test_what_the_scheduler_says_becomes_one_line() -> None:
    said = "wandb: ERROR Sweep scheduler for my sweep exited: a fatal error stopped the scheduler (HTTP 500)."
    assert searcher.told([said], 1, REF) == searcher.Failure("a fatal error stopped the scheduler (HTTP 500)", True)
    away = "wandb: ERROR Sweep scheduler for abc failed to initialize: connection refused"
    assert searcher.told([away], 1, REF) == searcher.Failure("connection refused", False)
    assert searcher.told(["wandb: Finished loading run state."], 1, REF).why == "it ended with exit code 1"
    raised = textwrap.dedent("""\
        wandb: Finished loading run state.
        wandb: ERROR Traceback (most recent call last):
        wandb: ERROR   File "/x/site-packages/wandb/ipc.py", line 235, in _execute
        wandb: ERROR   File "/home/me/search.py", line 3, in space
        wandb: ERROR     raise ValueError("no")
        wandb: ERROR ValueError: no
        wandb: ERROR Sweep scheduler for abc exited: the optimizer failed; the sweep can be resumed.
        """)
    assert searcher.told(raised.splitlines(), 1, REF) == searcher.Failure("ValueError: no (search.py, line 3)", False)


def test_a_search_waits_as_long_as_another_hosts_is_heard_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_process, "SILENCE", 0.4)
    monkeypatch.setattr(search_process, "_POLL", 0.05)
    began = time.monotonic()
    heard = lambda: str(min(10, int((time.monotonic() - began) / 0.1)))  # noqa: E731 - a beat each 0.1 s, for 1 s
    assert not search_process.wait_for_others(lambda: False, heard, "")
    assert time.monotonic() - began > 1.3
    for left, last in (("5", "5"), ("", None)):  # as this host left it, or never searched for
        began = time.monotonic()
        assert not search_process.wait_for_others(lambda: False, lambda last=last: last, left)  # type: ignore[misc]
        assert time.monotonic() - began < 0.3
    assert search_process.wait_for_others(lambda: True, lambda: "5", "4")
