"""The command of a trial is what W&B's own agent would execute."""

from __future__ import annotations

import copy
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sweepkit.errors import UsageError
from sweepkit.sweeps.agents.command import check, render
from wandb.sdk.launch.sweeps import utils as wandbs

MACROS = ["env", "interpreter", "program", "args", "args_no_equals", "args_no_hyphens", "args_no_boolean_flags",
          "args_append_hydra", "args_override_hydra", "args_dict", "args_json", "args_json_file"]  # fmt: skip
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.text(), SCALARS, max_size=3)
PARTS = (
    st.sampled_from([f"${{{name}}}" for name in MACROS])
    | st.text(alphabet="ab c;|&$()'\"\\*\n")  # no braces: a macro that nobody knows has a test of its own
    | st.sampled_from(["${envvar:HOME}", "a${envvar:HOME}b${envvar:NONE_SUCH}", "x${args}"])
)


def wandbs_command(config: dict[str, Any], args: dict[str, Any]) -> list[str]:
    """What wandb's agent executes (`wandb_agent.py`, Agent._command_run), with this Python as the interpreter."""
    macros = wandbs.create_sweep_command_args({"args": args})
    macros |= {"interpreter": [sys.executable], "program": [config["program"]], "env": ["/usr/bin/env"]}
    macros["args_json_file"] = ["config.json"]
    words: list[str] = []
    for part in wandbs.create_sweep_command(copy.deepcopy(config.get("command"))):
        whole = part.startswith("${") and part.endswith("}")
        words += macros.get(part[2:-1], []) if whole else [part]
    return words


@given(
    args=st.dictionaries(st.text(min_size=1), st.fixed_dictionaries({"value": VALUES}), max_size=4),
    command=st.none() | st.lists(PARTS, min_size=1, max_size=6),
)
def test_every_macro_means_what_it_means_to_wandb(args: dict[str, Any], command: list[str] | None) -> None:
    config: dict[str, Any] = {"program": "my train.py"} | ({"command": command} if command else {})
    rendered = render(config, args, os.environ)
    assert list(rendered.argv) == wandbs_command(config, args)
    assert rendered.json_text == json.dumps({name: entry["value"] for name, entry in args.items()})


def test_a_macro_that_does_not_exist_is_told_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"\$\{arg_json\}") as caught:
        render({"program": "x.py", "command": ["${arg_json}"]}, {}, {})
    assert caught.value.hint == "did you mean ${args_json}?"


def test_a_program_that_is_not_there_is_told_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"program 'train.py' is not there \(looked in "):
        check({"program": "train.py"}, os.environ)
    with pytest.raises(UsageError, match="has no `program:`"):
        check({}, os.environ)
    with pytest.raises(UsageError, match="'no-such-tool' cannot be executed"):
        check({"command": ["no-such-tool", "${args}"]}, os.environ)
    Path("train.py").touch()
    check({"program": "train.py"}, os.environ)
