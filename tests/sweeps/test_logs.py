"""`sweepkit logs`: real runs of the real client, real files, a real terminal."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sweepkit.sweeps.logs import FileLog, Paper, show
from sweepkit.sweeps.wandb_api import WandbApi

TALK = """
    import pathlib, sys, time
    import wandb
    print("before the run", flush=True)
    with wandb.init(project="logs", name="talking one") as run:
        print("first \\x1b[31mred\\x1b[0m\\x1b[5Aup", flush=True)
        for step in range(5):
            sys.stderr.write(f"\\rbar {step}/4")
            sys.stderr.flush()
            time.sleep(0.1)
        sys.stderr.write("\\n")
        pathlib.Path("ready").write_text(run.id)
        while pathlib.Path("wait").exists():
            time.sleep(0.05)
        print("last", flush=True)
        run.log({"loss": 1.0})
"""
WROTE = ["first redup", "bar 4/4", "last"]  # as the client sends it; its own words lie between


@pytest.fixture
def talk(wandb_env: dict[str, str], tmp_path: Path) -> Path:
    (tmp_path / "talk.py").write_text(textwrap.dedent(TALK))
    return tmp_path


def logs(*words: str, code: int = 0) -> tuple[list[str], str]:
    """The lines on stdout, the words on stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "sweepkit", "logs", *words], capture_output=True, text=True, timeout=90
    )
    assert done.returncode == code, done.stderr
    return done.stdout.splitlines(), done.stderr


def own(lines: list[str]) -> list[str]:
    return [line for line in lines if not line.startswith("wandb:")]


def test_a_run_of_another_host_by_every_name_it_has(talk: Path, server: Any) -> None:
    subprocess.run([sys.executable, "talk.py"], check=True, capture_output=True)
    run = (talk / "ready").read_text()
    for name in (run, f"logs/{run}", f"{server.entity}/logs/{run}", f"{server.url}/{server.entity}/logs/runs/{run}"):
        assert own(logs(name)[0]) == WROTE
    assert own(logs("logs/talking one")[0]) == WROTE
    whole = logs(run)[0]
    assert logs("-n", "2", run)[0] == whole[-2:]
    assert logs("-n", "0", run)[0] == []
    assert logs("-n", "5000", run)[0] == whole
    wrong = run[:-1] + ("a" if run[-1] != "a" else "b")
    assert f"did you mean {run} (talking one)" in logs(wrong, code=2)[1]
    assert "did you mean" in logs("logs/talking", code=2)[1]
    assert "there is no run 'logs/@@@@'" in logs("logs/@@@@", code=2)[1]


def test_following_a_run_of_another_host_ends_with_the_run(talk: Path) -> None:
    (talk / "wait").touch()
    program = subprocess.Popen([sys.executable, "talk.py"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until((talk / "ready").exists)
        words = [sys.executable, "-m", "sweepkit", "logs", "-f", (talk / "ready").read_text()]
        follower = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert follower.stdout is not None
        first = follower.stdout.readline()
        assert follower.poll() is None  # it waits for more
        (talk / "wait").unlink()
        rest, _ = follower.communicate(timeout=60)
        assert follower.returncode == 0
        assert own([first.rstrip("\n"), *rest.splitlines()]) == WROTE
    finally:
        program.kill()
        program.wait()


def test_a_trial_of_this_host_has_its_first_words_too(talk: Path, api: WandbApi, server: Any) -> None:
    config = {"program": "talk.py", "method": "grid", "parameters": {"x": {"values": [1, 2]}}}
    ref = api.create_sweep(config, "logs")
    (talk / "wait").touch()
    words = [sys.executable, "-m", "sweepkit", "agents", ref.path, "--cpu-slots", "1", "--count", "1"]
    agents = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: (talk / "ready").exists())
        run = (talk / "ready").read_text()
        threading.Timer(1.0, (talk / "wait").unlink).start()
        lines, _ = logs("-f", run)
        assert own(lines) == ["before the run", *WROTE]
        assert agents.wait(30) == 0
        (server.home / "trials" / ref.id / f"{run}.log").unlink()
        assert own(logs(run)[0]) == WROTE
    finally:
        agents.kill()
        agents.wait()


def test_a_run_that_wrote_nothing_says_so(record: Any) -> None:
    _, ids = record({"method": "grid", "program": "x.py", "parameters": {"x": {"values": [1, 2]}}}, [("a", [{}], 0)])
    lines, said = logs(ids[0])
    assert lines == []
    assert "wrote nothing that was kept" in said


def test_a_name_that_two_runs_have_is_answered_with_both(record: Any) -> None:
    config = {"method": "grid", "program": "x.py", "parameters": {"x": {"values": [1, 2]}}}
    ref, ids = record(config, [("twin", [{}], 0), ("twin", [{}], 0)])
    _, said = logs(f"{ref.project}/twin", code=2)
    assert "2 runs are called" in said
    assert all(f"{ref.entity}/{ref.project}/{run}" in said for run in ids)


def until(condition: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


# Files


LINES = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=20), max_size=30)


@given(LINES, st.integers(0, 35), st.booleans())
def test_the_last_lines_of_a_file(tmp_path_factory: Any, lines: list[str], last: int, ended: bool) -> None:
    path = tmp_path_factory.mktemp("log", numbered=True) / "x.log"
    path.write_text("\n".join(lines) + ("\n" if ended and lines else ""), encoding="utf-8")
    log = FileLog(path, last)
    found = list(log.more())
    found += [log.rest()] if log.rest() else []
    whole = path.read_text(encoding="utf-8").split("\n")
    whole = whole[:-1] if not whole[-1] else whole
    assert found == (whole[-last:] if last else [])


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_a_file_that_grows_by_any_pieces_is_read_once(tmp_path_factory: Any, pieces: list[bytes]) -> None:
    path = tmp_path_factory.mktemp("log", numbered=True) / "x.log"
    path.touch()
    log, found = FileLog(path, None), []
    for piece in pieces:
        with path.open("ab") as file:
            file.write(piece)
        found += list(log.more())
    whole = b"".join(pieces).decode("utf-8", "replace") if b"\r" not in b"".join(pieces) else None
    assert len(found) == b"".join(pieces).count(b"\n")
    if whole is not None:
        again = FileLog(path, None)
        assert found == list(again.more())
        assert log.rest() == again.rest()


def test_a_line_without_end_is_neither_kept_nor_lost(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_bytes(b"x" * 5_000_000)
    log = FileLog(path, None)
    parts = [*log.more(), log.rest()]
    assert "".join(parts) == "x" * 5_000_000
    assert max(map(len, parts)) < 2_000_000
    path.write_bytes(b"".join(b"\rstep %d" % number for number in range(500_000)))
    bar = FileLog(path, None)
    assert list(bar.more()) == []
    assert bar.rest() == "step 499999"


def test_a_file_that_was_made_shorter_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_text("one\ntwo\nthree\n")
    log = FileLog(path, 1)
    assert list(log.more()) == ["three"]
    path.write_text("new\n")
    assert list(log.more()) == ["new"]
    path.unlink()
    assert list(log.more()) == []


# Paper


@pytest.fixture
def terminal() -> Iterator[tuple[Any, int]]:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as out:
        yield out, ours
    os.close(ours)


def test_on_a_terminal_a_bar_moves_in_place_and_colours_stay(
    terminal: tuple[Any, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    out, ours = terminal
    paper = Paper(out)
    for text in ("bar 1/2", "bar 1/2", "bar 2/2 \x1b[2A"):
        paper.unfinished(text)
    paper.line("\x1b[31mred\x1b[0m \x1b[2J\x1b]0;title\x07 \x07end")
    out.flush()
    wanted = b"bar 1/2\r\x1b[Kbar 2/2 \r\x1b[K\x1b[31mred\x1b[0m  \\x07end\x1b[0m\r\n"
    found = b""
    while len(found) < len(wanted):
        found += os.read(ours, 1000)
    assert found == wanted


def test_elsewhere_nothing_is_written_twice_and_nothing_steers() -> None:
    out = io.StringIO()
    paper = Paper(out)
    paper.unfinished("bar 1/2")
    paper.line("\x1b[31mred\x1b[0m\x1b[2J \u202e\x07")
    assert out.getvalue() == "red \\x202e\\x07\n"
    assert not re.search("[\x00-\x09\x0b-\x1f]", out.getvalue())


def test_many_lines_come_in_pages_and_from_the_end(api: WandbApi, wandb_env: dict[str, str], tmp_path: Path) -> None:
    """More lines than a server gives in one answer."""
    code = """
        import wandb
        with wandb.init(project="logs") as run:
            print("\\n".join(f"line {n}" for n in range(2500)), flush=True)
            open("id", "w").write(run.path)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, capture_output=True)
    run = api.run((tmp_path / "id").read_text())
    for last, first in ((None, 0), (1500, 1000), (3, 2497)):
        out = io.StringIO()
        show(api, run, last, out=out)
        told = [line for line in out.getvalue().splitlines() if line.startswith("line ")]
        assert told[-1] == "line 2499"
        if last is None:
            assert told == [f"line {n}" for n in range(first, 2500)]
        else:
            assert len(out.getvalue().splitlines()) == last
