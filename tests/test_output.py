"""Formats: JSON and YAML are stable, a table has no colour where no terminal is, hostile names do nothing."""

from __future__ import annotations

import json
import math

import pytest
import yaml
from sweepkit import output

ROWS = [{"id": "a1", "lr": 0.1, "note": None}, {"id": "b2", "lr": math.nan, "note": "x"}]


def test_json_and_yaml_hold_every_key_and_nothing_that_json_cannot_write(capsys: pytest.CaptureFixture[str]) -> None:
    output.emit(ROWS, "json")
    read = json.loads(capsys.readouterr().out)
    assert read == [{"id": "a1", "lr": 0.1, "note": None}, {"id": "b2", "lr": None, "note": "x"}]
    output.emit(ROWS, "yaml")
    assert yaml.safe_load(capsys.readouterr().out) == read


def test_value_is_one_line_a_record(capsys: pytest.CaptureFixture[str]) -> None:
    output.emit(ROWS, "value")
    output.emit(ROWS[0], "value", value="lr")
    assert capsys.readouterr().out == "a1\nb2\n0.1\n"


def test_a_table_is_plain_and_whole_where_no_terminal_is(capsys: pytest.CaptureFixture[str]) -> None:
    output.emit([{"id": "a" * 200, "lr": 0.12345678}], columns={"lr": "learning rate", "id": "run"})
    head, _, row = (line.rstrip() for line in capsys.readouterr().out.splitlines())
    assert head.split() == ["learning", "rate", "run"]
    assert row.split() == ["0.123457", "a" * 200]
    assert "\x1b" not in row


def test_a_record_is_shown_as_lines_without_what_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    output.emit(ROWS[0], columns={"id": "run", "note": "note"})
    assert capsys.readouterr().out.split() == ["run", "a1"]


def test_a_hostile_name_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    output.emit([{"id": "\x1b[2J[red]x\u202e"}], columns={"id": "[bold]run"})
    output.message("\x07bell")
    said = capsys.readouterr()
    assert "\\x1b[2J[red]x\\x202e" in said.out
    assert "[bold]run" in said.out
    assert said.err == "\\x07bell\n"


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "0s"), (75, "1m 15s"), (3600, "1h"), (3725, "1h 2m 5s")])
def test_durations_are_short(seconds: float, text: str) -> None:
    assert output.duration(seconds) == text
