"""The command line of a trial: W&B's macros, filled in as lists of arguments and never through a shell.

What each macro means is read from wandb 0.31 (`wandb/sdk/launch/sweeps/utils.py`, `wandb/wandb_agent.py`) and compared
with it by a test. Two things differ on purpose: ``${interpreter}`` is the Python that runs sweepkit, so that an
environment need not be activated, and a macro that nobody knows is an error instead of vanishing.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ...errors import UsageError

HEADERS = "WANDB__EXTRA_HTTP_HEADERS"  # the client's setting x_extra_http_headers: JSON, sent with every request
DEFAULT_COMMAND = ("${env}", "${interpreter}", "${program}", "${args}")
_ENVIRONMENT_VARIABLE = re.compile(r"\$\{envvar:([A-Z0-9_]*)\}")


@dataclass(frozen=True)
class Command:
    """What a trial executes. ``json_text`` is what to write to the file that ${args_json_file} names."""

    argv: tuple[str, ...]
    json_text: str


def render(
    config: Mapping[str, Any],
    args: Mapping[str, Mapping[str, Any]],
    environ: Mapping[str, str],
    json_file: str | os.PathLike[str] = "config.json",
) -> Command:
    """The command of the trial with W&B's ``args`` ({parameter: {"value": ...}}) in the sweep ``config``.

    A variable that ``environ`` has not leaves its own name, as in W&B's agent. Raises UsageError for a macro that
    does not exist, and for ${program} where the sweep has no ``program``.
    """
    values = {name: entry["value"] for name, entry in args.items()}
    known = _macros(config, values, os.fspath(json_file))
    parts = [_ENVIRONMENT_VARIABLE.sub(lambda m: environ.get(m[1], m[1]), text) for text in command_of(config)]
    argv = tuple(word for part in parts for word in _words(part, known))
    return Command(argv, json.dumps(values))


def command_of(config: Mapping[str, Any]) -> list[str]:
    """The sweep's ``command``, or W&B's default."""
    command = config.get("command")
    if isinstance(command, Sequence) and not isinstance(command, str) and command:
        return [str(part) for part in command]
    return list(DEFAULT_COMMAND)


def check(config: Mapping[str, Any], environ: Mapping[str, str]) -> None:
    """Raise UsageError where no trial could start: a program that is not there, an unknown macro, no such command,
    headers that its wandb client could not read."""
    headers(environ)
    argv = render(config, {}, environ).argv
    program = config.get("program")
    if "${program}" in command_of(config) and not Path(str(program)).is_file():
        raise UsageError(
            f"the sweep's program {program!r} is not there (looked in {Path.cwd()})",
            "start sweepkit in the folder that holds it, or give a path in the YAML's `program:`",
        )
    if not argv or shutil.which(argv[0], path=environ.get("PATH")) is None:
        found = f"{argv[0]!r} cannot be executed" if argv else "it is empty"
        raise UsageError(f"the sweep's command does not work: {found}", "mend `command:` in the YAML")


def headers(environ: Mapping[str, str]) -> dict[str, Any]:
    """What the user has each wandb client send along. Raises UsageError for what the client could not read."""
    try:
        return {**json.loads(environ.get(HEADERS) or "{}")}
    except (ValueError, TypeError) as error:
        hint = 'write it as {"NAME": "VALUE"}, or unset it'
        raise UsageError(f"{HEADERS} in the environment is no JSON object", hint) from error


def _macros(config: Mapping[str, Any], values: Mapping[str, Any], json_file: str) -> dict[str, list[str]]:
    pairs = [f"{name}={value}" for name, value in values.items()]
    program = config.get("program")
    macros = {
        "env": ["/usr/bin/env"] if os.name == "posix" else [],
        "interpreter": [sys.executable],
        "args": [f"--{pair}" for pair in pairs],
        "args_no_equals": [word for name, value in values.items() for word in (f"--{name}", str(value))],
        "args_no_hyphens": pairs,
        "args_no_boolean_flags": [flag for name, value in values.items() for flag in _flag(name, value)],
        "args_append_hydra": [f"+{pair}" for pair in pairs],
        "args_override_hydra": [f"++{pair}" for pair in pairs],
        "args_dict": list(values),  # W&B's agent spreads a dictionary here, which leaves its keys
        "args_json": [json.dumps(values)],
        "args_json_file": [json_file],
    }
    return macros | {"program": [str(program)]} if program else macros


def _flag(name: str, value: Any) -> list[str]:
    """True is the bare flag and False nothing, for argparse's ``store_true``."""
    if isinstance(value, bool):
        return [f"--{name}"] if value else []
    return [f"--{name}={value}"]


def _words(part: str, macros: Mapping[str, list[str]]) -> list[str]:
    if not (part.startswith("${") and part.endswith("}")):
        return [part]
    name = part[2:-1]
    if name in macros:
        return macros[name]
    if name == "program":
        raise UsageError("the sweep's command uses ${program}, but the sweep has no `program:`", "add it to the YAML")
    close = get_close_matches(name, [*macros, "program"], n=1)
    hint = f"did you mean ${{{close[0]}}}?" if close else "known: " + ", ".join(f"${{{each}}}" for each in macros)
    raise UsageError(f"the sweep's command uses a macro that does not exist: {part}", hint)
