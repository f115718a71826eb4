"""The command line as its users meet it: real processes, their output, their exit codes."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = ["run", "list", "check", "plan", "create", "edit", "agents", "retry", "status", "logs", "stop", "pause"]
COMMANDS += ["resume", "cancel", "best", "promote", "compare", "export", "serve", "user", "backup", "restore", "gc"]
COMMANDS += ["doctor"]
# A user's own script: it logs a loss, and takes its time if it is asked to.
SCRIPT = """
import time
import wandb

with wandb.init() as run:
    print("started", flush=True)
    time.sleep(float(run.config.get("sleep", 0)))
    run.log({"loss": run.config["x"]})
"""
SWEEP = {
    "program": "own.py",
    "method": "grid",
    "project": "cli",
    "metric": {"name": "loss", "goal": "minimize"},
    "parameters": {"x": {"values": [2.0, 1.0]}},
}


@pytest.fixture
def folder(wandb_env: dict[str, str], tmp_path: Path) -> Path:
    """A user's folder with a script and its sweep; the environment points at the tests' server."""
    (tmp_path / "own.py").write_text(SCRIPT)
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(SWEEP))
    return tmp_path


def sweepkit(*arguments: str, code: int | None = 0, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a user would; nothing may ever end in a traceback."""
    environment = {name: value for name, value in {**os.environ, **variables}.items() if value}
    command = [sys.executable, "-m", "sweepkit", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert code is None or done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stdout + done.stderr
    return done


def refused(*arguments: str, code: int = 2, **variables: str) -> str:
    """The one message of a command that fails: nothing on stdout, `error:` and what to do on stderr."""
    done = sweepkit(*arguments, code=code, **variables)
    assert done.stdout == ""
    said = [line for line in done.stderr.splitlines() if not line.startswith("backend: ")]
    assert said[0].startswith("error: "), done.stderr
    assert len(said) == 2, done.stderr
    assert sum(line.startswith("error: ") for line in said) == 1
    return "\n".join(said)


def test_help_names_every_command_and_imports_nothing_heavy() -> None:
    code = "import sys; from sweepkit.cli import main\ntry: main(['--help'])\nfinally: print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert re.findall(r"^  ([a-z]+)  ", done.stdout, flags=re.MULTILINE) == COMMANDS
    modules = set(re.findall(r"'([a-z_]+)'", done.stdout.splitlines()[-1]))
    assert not modules & {"torch", "wandb", "requests", "yaml", "numpy", "rich", "ariadne", "plotly", "uvicorn"}


def test_a_clone_under_any_name_works_as_a_script(tmp_path: Path) -> None:
    clone = tmp_path / "somewhere"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    version = _output(["cli.py", "--version"], clone)
    library = json.loads(_output([str(clone / "cli.py"), "list", "--format", "json"], tmp_path))
    assert version.startswith("sweepkit ")
    assert all(Path(entry["path"]).is_relative_to(clone) for entry in library)


def _output(words: list[str], cwd: Path) -> str:
    return subprocess.run([sys.executable, *words], cwd=cwd, capture_output=True, text=True, check=True).stdout


def test_the_reference_names_every_command_and_option() -> None:
    from sweepkit.cli import cli

    reference = (ROOT / "docs" / "commands.md").read_text()
    for name, command in _leaves(cli):
        section = reference.split(f"## sweepkit {name}\n")[1].split("\n## ")[0]
        options = [option for parameter in command.params for option in parameter.opts if option.startswith("--")]
        own = [option for option in options if option not in ("--backend", "--format", "--debug")]
        assert [option for option in own if f"`{option}" not in section] == [], name


def _leaves(group: click.Group, before: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, by its words after ``sweepkit``."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _leaves(command, f"{before}{name} ")
        else:
            yield before + name, command


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["stauts"], "did you mean `sweepkit status`?"),
        (["status"], "Missing argument 'SWEEP_ID'"),
        (["status", "x", "--wacth"], "Did you mean '--watch'?"),
        (["list", "--format", "xml"], "'table', 'json', 'yaml', 'value'"),
        (["user", "ad"], "did you mean `sweepkit user add`?"),
        (["run", "quickstrat"], "did you mean `quickstart`?"),
        (["run", "quickstart", "--set", "lr"], "this is no NAME=VALUE"),
        (["run", "quickstart", "--gpus", "77"], "there is no GPU '77'"),
        (["serve", "--backend", "wandb"], "W&B's servers need no starting"),
    ],
)
def test_what_is_mistyped_is_answered_with_what_was_meant(arguments: list[str], said: str) -> None:
    assert said in refused(*arguments)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("program: [unclosed\nmethod: grid\n", "bad.yaml:2:"),
        (yaml.safe_dump({**SWEEP, "metohd": "grid"}), "did you mean `method`?"),
        (yaml.safe_dump({**SWEEP, "program": "onw.py"}), "did you mean `own.py`?"),
        (yaml.safe_dump({**SWEEP, "parameters": {"x": {"values": []}}}), "bad.yaml:"),
    ],
)
def test_a_bad_yaml_is_answered_with_line_column_and_fix(folder: Path, text: str, said: str) -> None:
    (folder / "bad.yaml").write_text(text)
    for command in ("check", "create"):
        assert said in refused(command, "bad.yaml")


def test_a_sweep_in_steps(folder: Path) -> None:
    """The documented JSON of every command, its one value for scripts, and what each state does."""
    checked = json.loads(sweepkit("check", "sweep.yaml", "--format", "json").stdout)
    assert (checked["configurations"], checked["trials"], checked["warnings"]) == (2, 2, [])
    planned = json.loads(sweepkit("plan", "sweep.yaml", "--format", "json").stdout)
    assert [command[-2:] for command in planned["commands"]] == [["own.py", "--x=2.0"], ["own.py", "--x=1.0"]]
    assert planned["exact"] is True
    created = json.loads(sweepkit("create", "sweep.yaml", "--format", "json").stdout)
    assert set(created) == {"id", "path", "name", "url"}
    assert created["path"].endswith(f"/cli/{created['id']}")
    assert created["url"].startswith(os.environ["WANDB_BASE_URL"])

    sweep = created["id"]
    for command, state in (("pause", "PAUSED"), ("resume", "RUNNING")):
        assert sweepkit(command, sweep, "--format", "value").stdout == f"{state}\n"
    standing = yaml.safe_load(sweepkit("status", created["path"], "--format", "yaml").stdout)
    assert (standing["state"], standing["runs"], standing["expected"], standing["best"]) == ("RUNNING", {}, 2, None)
    assert "has no runs yet" in refused("best", sweep, code=1)
    assert "has no runs to compare" in refused("compare", sweep, code=1)
    for command, state in (("stop", "FINISHED"), ("cancel", "CANCELED")):
        assert sweepkit(command, sweep, "--backend", "embedded", "--format", "value").stdout == f"{state}\n"
    for command in ("status", "best", "promote", "compare", "agents", "stop"):
        assert "no sweep" in refused(command, "nixda")


def test_a_backend_that_is_down_is_exit_code_3(folder: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        said = refused("status", "abc", code=3, WANDB_BASE_URL=url, WANDB_API_KEY="k" * 40)
    assert f"the backend at {url} is out of reach: connection refused" in said
    assert "k" * 40 not in said


def test_a_wrong_key_is_exit_code_3_and_is_not_shown(folder: Path) -> None:
    assert "refused the API key" in refused("status", "me/p/abc", code=3, WANDB_API_KEY="w" * 40)


def test_a_taken_port_and_a_data_folder_that_cannot_be(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert f"port {port} is taken" in refused("serve", "--port", port, SWEEPKIT_HOME=str(tmp_path / "home"))
    assert "cannot make the data folder /proc/sweepkit" in refused("serve", SWEEPKIT_HOME="/proc/sweepkit")


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system without a free byte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True).returncode:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("mounting a small tmpfs is not permitted here")
    (disk / "home").mkdir()
    subprocess.run(["dd", "if=/dev/zero", f"of={disk}/filler", "bs=4096"], capture_output=True, check=False)
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_is_told(full_disk: Path) -> None:
    said = refused("serve", SWEEPKIT_HOME=str(full_disk / "home"))
    assert f"the disk of the data folder {full_disk / 'home'} is full" in said
    report = sweepkit("doctor", "--format", "json", code=1, SWEEPKIT_HOME=str(full_disk / "home"))
    checks = {check["name"]: check for check in json.loads(report.stdout)}
    assert checks["data folder"]["state"] == "fail"
    assert "SWEEPKIT_HOME" in checks["data folder"]["mend"]


def test_doctor_shows_no_key(folder: Path) -> None:
    done = sweepkit("doctor", code=None)
    assert os.environ["WANDB_API_KEY"] not in done.stdout + done.stderr
    assert "a key was found (not shown)" in done.stdout


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    pipe = f"{sys.executable} -m sweepkit list | head -c 5; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", pipe], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.endswith("0\n")


def test_an_unexpected_error_is_one_line_and_a_traceback_for_debug(folder: Path) -> None:
    code = "from sweepkit import cli; from sweepkit.sweeps import catalog as broken; broken.catalog = None; cli.main()"
    for debug in ([], ["--debug"]):
        done = subprocess.run([sys.executable, "-c", code, *debug, "list"], capture_output=True, text=True)
        assert done.returncode == 1
        assert "error: TypeError: 'NoneType' object is not callable\n  please report this" in done.stderr
        assert ("Traceback" in done.stderr) is bool(debug)


def test_a_metric_that_is_never_logged(folder: Path) -> None:
    (folder / "sweep.yaml").write_text(yaml.safe_dump({**SWEEP, "metric": {"name": "val_loss"}}))
    done = sweepkit("run", "sweep.yaml", "--trials", "1", code=1)
    assert "error: the metric 'val_loss' was never logged" in done.stderr
    assert "they logged: loss" in done.stderr
    assert "Open in the browser" in done.stdout


def test_what_to_type_after_a_sweep_without_a_metric(folder: Path) -> None:
    """It is over, so there is nothing to start."""
    sweep = {key: value for key, value in SWEEP.items() if key != "metric"}
    (folder / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    done = sweepkit("run", "sweep.yaml", "--cpu-slots", "1")
    assert "the sweep has no metric" in done.stderr
    words = [line.split()[:2] for line in done.stdout.partition("\nNext\n")[2].splitlines()]
    assert words == [["sweepkit", "status"], ["sweepkit", "export"]]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["digits-grid", "--set", "optimizer=Adamm"], "Adam"),
        (["mnist-grid", "--data-root", "{folder}/nowhere"], "nowhere"),
    ],
)
def test_trials_that_cannot_work_say_why(folder: Path, arguments: list[str], said: str) -> None:
    """An unknown optimizer, a dataset that is not there: the trial's own message is shown."""
    words = [word.format(folder=folder) for word in arguments]
    done = subprocess.run(
        [sys.executable, "-m", "sweepkit", "run", *words, "--trials", "1", "--epochs", "1", "--cpu-slots", "1"],
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert said in done.stderr
    assert "no run of sweep" in done.stderr


def test_the_whole_job(folder: Path, server: Any) -> None:
    """One command from a YAML to a promoted, compared winner, on the embedded backend."""
    page = folder / "page.html"
    words = ["run", "digits-grid", "--trials", "2", "--epochs", "1", "--html", str(page), "--project", "job"]
    done = sweepkit(*words, "--backend", "embedded", WANDB_BASE_URL="", WANDB_API_KEY="")
    for heading in ("Winner", "Artifacts and case tables", "Comparison", "Open in the browser", "Next"):
        assert f"\n{heading}\n" in done.stdout
    assert f"embedded backend at {server.url}" in done.stderr
    assert "digits-model:v0" in done.stdout
    assert "best, latest" in done.stdout
    assert "table good_cases: " in done.stdout
    assert page.as_uri() in done.stdout
    assert f"{server.url}/login?token=" in done.stdout
    assert "Parallel coordinates" in page.read_text()


def test_ctrl_c_says_how_to_go_on(folder: Path) -> None:
    """The first press lets the running trial finish; then what is there is told, and the exit code is 130."""
    parameters = {"x": {"values": [2.0, 1.0]}, "sleep": {"value": 3.0}}
    (folder / "sweep.yaml").write_text(yaml.safe_dump({**SWEEP, "parameters": parameters}))
    words = [sys.executable, "-m", "sweepkit", "run", "sweep.yaml", "--cpu-slots", "1"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("trial ") and "started" in line:
            break
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "Press Ctrl-C again to stop" in said
    assert re.search(r"sweepkit agents \w+ +# go on", out)
    assert "Artifacts" not in out
    assert "Traceback" not in said
