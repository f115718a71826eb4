"""Trials are real processes here, and whatever ends them, nothing of them lives on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from sweepkit.errors import UsageError
from sweepkit.sweeps.agents import leftovers
from sweepkit.sweeps.agents import trial as trials
from sweepkit.sweeps.agents.devices import Slot
from sweepkit.sweeps.backends import Backend
from sweepkit.sweeps.wandb_api import SweepRef

BACKEND = Backend("embedded", "http://127.0.0.1:9", "k" * 40, "me")
REF = SweepRef("me", "demo", "s1")
FAMILY = """
    import os, signal, subprocess, sys, time
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(99)"
    forever = [sys.executable, "-c", deaf]
    subprocess.Popen(forever)                                          # a DataLoader's worker
    subprocess.Popen(forever, start_new_session=True)                  # one that left the group
    middle = f"import subprocess; subprocess.Popen({forever!r}, start_new_session=True)"
    subprocess.run([sys.executable, "-c", middle])                     # one whose parent is gone, too
    open("ready", "w").close()
"""
Start = Callable[..., trials.Trial]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts a Python text as a trial in an empty folder, and checks at the end that nothing of it lives."""
    monkeypatch.setenv("SWEEPKIT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    started = []

    def run(text: str, config: dict[str, Any] | None = None, name: str = "run1") -> trials.Trial:
        (tmp_path / "program.py").write_text(textwrap.dedent(text).strip())
        command = {"type": "run", "run_id": name, "args": {"lr": {"value": 0.5}, "a b": {"value": True}}}
        slot = Slot("cpu:0", {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""})
        started.append(trials.start(config or {"program": "program.py"}, command, REF, slot, BACKEND))
        return started[-1]

    yield run
    for trial in started:
        trial.kill()
        assert trial.wait(10)
        assert family(trial.mark) == []


def family(mark: str) -> list[psutil.Process]:
    """The living processes of the trial, found without its process tree: by what is in their environment."""
    return leftovers.family(mark)


def until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_a_trial_gets_what_wandbs_agent_gives_and_its_output_is_kept(start: Start, tmp_path: Path) -> None:
    trial = start("""
        import os, sys
        print(sys.argv[1:], sorted(os.environ.items()), flush=True)
        print("bad", file=sys.stderr)
    """)
    assert trial.wait(10) and trial.poll() == 0
    text = trial.log.read_text()
    assert text.startswith("['--lr=0.5', '--a b=True']") and text.endswith("bad\n")
    expected = {"WANDB_RUN_ID": "run1", "WANDB_SWEEP_ID": "s1", "WANDB_PROJECT": "demo", "WANDB_ENTITY": "me",
                "WANDB_BASE_URL": BACKEND.url, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "",
                "SWEEPKIT_CHECKPOINTS": str(tmp_path / "home" / "checkpoints")}  # fmt: skip
    assert [pair for pair in expected.items() if repr(pair) not in text] == []
    parameters = yaml.safe_load((trial.log.with_suffix(".yaml")).read_text())
    assert parameters == {"wandb_version": 1, "lr": {"value": 0.5}, "a b": {"value": True}}


def test_its_end_is_told_as_it_was_and_its_family_goes_with_it(start: Start) -> None:
    trial = start(FAMILY + "    os.kill(os.getpid(), signal.SIGSEGV)\n")
    assert trial.wait(15) and trial.poll() == -signal.SIGSEGV
    assert family(trial.mark) == []


def test_a_trial_that_does_not_listen_is_killed_with_all_its_family(start: Start) -> None:
    deaf = "\n    import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    trial = start(deaf + FAMILY + "    time.sleep(99)\n")
    until(Path("ready").exists)
    trial.terminate()
    assert not trial.wait(0.5)
    trial.kill()
    assert trial.wait(5) and trial.poll() == -9
    assert family(trial.mark) == []


def test_a_trial_that_is_asked_to_stop_may_checkpoint(start: Start) -> None:
    trial = start("""
        import signal, sys, time
        def save(*_):
            print("saved", flush=True)
            sys.exit(7)
        signal.signal(signal.SIGTERM, save)
        open("ready", "w").close()
        time.sleep(99)
    """)
    until(Path("ready").exists)
    trial.terminate()
    assert trial.wait(5) and trial.poll() == 7
    assert trial.tail() == ["saved"]


def test_even_a_killed_guard_takes_the_trial_with_it(start: Start) -> None:
    trial = start(FAMILY + "    time.sleep(99)\n")
    until(Path("ready").exists)
    os.kill(trial.process.pid, signal.SIGKILL)
    assert trial.wait(5) and trial.poll() == -9
    assert family(trial.mark) == []


def test_a_killed_agent_leaves_no_trial(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(textwrap.dedent(FAMILY) + "time.sleep(99)\n")
    agent = textwrap.dedent("""
        import time
        from sweepkit.sweeps.agents import trial
        from sweepkit.sweeps.agents.devices import Slot
        from sweepkit.sweeps.backends import Backend
        from sweepkit.sweeps.wandb_api import SweepRef
        command = {"type": "run", "run_id": "run1", "args": {}}
        started = trial.start({"program": "program.py"}, command, SweepRef("me", "demo", "s1"), Slot("cpu:0"),
                              Backend("embedded", "http://127.0.0.1:9", "k" * 40, "me"))
        print(started.mark, flush=True)
        time.sleep(99)
    """)
    environment = {**os.environ, "SWEEPKIT_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-c", agent]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        mark = process.stdout.readline().strip()
        until((tmp_path / "ready").exists)
        assert len(family(mark)) == 5  # the guard, the trial and its three
        process.kill()
    until(lambda: family(mark) == [])


def test_a_command_that_is_not_there_says_so_in_the_output(start: Start) -> None:
    trial = start("", {"command": ["/nowhere/python"]})
    assert trial.wait(5) and trial.poll() == 127
    assert trial.tail() == ["cannot start /nowhere/python: no such program"]


def test_the_last_lines_leave_out_what_a_progress_bar_drew_over(start: Start) -> None:
    trial = start("print('10%\\r50%\\r100%'); print(); [print(n) for n in range(3)]")
    assert trial.wait(10)
    assert trial.tail(3) == ["0", "1", "2"]
    assert trial.tail() == ["100%", "0", "1", "2"]


def test_a_run_id_leads_to_no_other_folder(start: Start, tmp_path: Path) -> None:
    trial = start("", name="../../../x")
    assert trial.wait(10)
    assert trial.log.parent == tmp_path / "home" / "trials" / "s1"


def test_a_gigabyte_without_a_newline_fills_neither_memory_nor_disk(start: Start) -> None:
    """A sixteenth of one; the bounds do not know how much is still to come."""
    trial = start("""
        import os, sys
        print("first words", flush=True)
        for _ in range(64):
            os.write(1, b"x" * 2**20)
        os.write(2, b"last words")
    """)
    most = 0
    while not trial.wait(0.02):
        most = max(most, psutil.Process(trial.process.pid).memory_info().rss if trial.poll() is None else 0)
    text = trial.log.read_bytes()
    assert trial.poll() == 0 and len(text) < 3.1 * 2**20 and 0 < most < 64 * 2**20
    assert text.startswith(b"first words\nxxx") and text.endswith(b"xlast words")
    assert b"bytes of output are left out here" in text


def test_a_disk_without_room_for_output_does_not_disturb_the_trial(start: Start, tmp_path: Path) -> None:
    (tmp_path / "home" / "trials" / "s1").mkdir(parents=True)
    (tmp_path / "home" / "trials" / "s1" / "run1.log").symlink_to("/dev/full")
    trial = start("""
        for _ in range(1000):
            print("x" * 1000, flush=True)
        open("done", "w").close()
    """)
    assert trial.wait(10) and trial.poll() == 0 and Path("done").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's choice is Linux's")
def test_where_memory_runs_out_a_trial_goes_before_its_agent(start: Start) -> None:
    trial = start("print(open('/proc/self/oom_score_adj').read())")
    assert trial.wait(10)
    assert int(trial.tail()[-1]) == min(1000, int(Path("/proc/self/oom_score_adj").read_text()) + 100)


def test_a_lease_is_said_beside_the_users_own_headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEPKIT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    name = "WANDB__EXTRA_HTTP_HEADERS"
    (tmp_path / "program.py").write_text(f"import os; print(os.environ[{name!r}])")
    command = {"type": "run", "run_id": "run1", "args": {}, "lease": 2}

    def begin() -> trials.Trial:
        return trials.start({"program": "program.py"}, command, REF, Slot("cpu:0", {}), BACKEND)

    monkeypatch.setenv(name, '{"Team": "a"}')
    trial = begin()
    assert trial.wait(20)
    assert json.loads(trial.tail()[-1]) == {"Team": "a", "X-Sweepkit-Lease": "2"}
    for wrong in ("Team: a", '["Team"]'):
        monkeypatch.setenv(name, wrong)
        with pytest.raises(UsageError, match=f"{name} .* no JSON object"):
            begin()
