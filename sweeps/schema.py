"""What W&B's sweep schema allows above the parameters: every key, its values, and which keys need or exclude others.

Source: the JSON schema in W&B's search package (``sweeps`` 0.3 on PyPI) and
https://docs.wandb.ai/models/sweeps/sweep-config-keys. The parameters themselves are checked by ``sweepkit.space``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..space import closest

Place = tuple[str | int, ...]  # the keys and indexes that lead to something in the file


class Problem(Exception):
    """A fault of the configuration: the keys that lead to it, whether the key or its value is wrong, and the remedy."""

    def __init__(self, path: Place, message: str, fix: str | None = None, key: bool = False) -> None:
        super().__init__(message)
        self.path = path
        self.message = message
        self.fix = fix
        self.key = key


Check = Callable[[Any, Place], None]

#: What ``command:`` may hold besides plain words; W&B's agent drops any other macro in silence.
MACROS = (
    "env",
    "interpreter",
    "program",
    "args",
    "args_no_boolean_flags",
    "args_no_equals",
    "args_no_hyphens",
    "args_json",
    "args_json_file",
    "args_dict",
    "args_append_hydra",
    "args_override_hydra",
)
#: Keys of ``controller`` that are sweepkit's own: W&B's schema allows them there, and its servers pass them over.
ORDER = ("seed", "shuffle", "repeats")
DEFAULT_COMMAND = ("${env}", "${interpreter}", "${program}", "${args}")


def text(value: Any, path: Place) -> None:
    if not isinstance(value, str):
        raise Problem(path, f"`{path[-1]}` must be a text, not {value!r:.40}", "put it in quotes")
    if not value.strip():
        raise Problem(path, f"`{path[-1]}` is empty")


def boolean(value: Any, path: Place) -> None:
    if not isinstance(value, bool):
        raise Problem(path, f"`{path[-1]}` must be true or false, not {value!r:.40}")


def whole_from(least: int) -> Check:
    def check(value: Any, path: Place) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise Problem(path, f"`{path[-1]}` must be a whole number from {least}, not {_brief(value)}")

    return check


def number_above(bound: float) -> Check:
    def check(value: Any, path: Place) -> None:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not bound < value < float("inf"):
            above = "" if bound == float("-inf") else f" above {bound:g}"
            raise Problem(path, f"`{path[-1]}` must be a number{above}, not {_brief(value)}")

    return check


def one_of(*allowed: str) -> Check:
    def check(value: Any, path: Place) -> None:
        if value in allowed and isinstance(value, str):
            return
        meant = closest(value.lower() if isinstance(value, str) else value, allowed)
        fix = f"did you mean `{meant}`?" if meant else None
        raise Problem(path, f"`{path[-1]}` is {_brief(value)}; allowed are {', '.join(allowed)}", fix)

    return check


def mapping(checks: Mapping[str, Check], *required: str) -> Check:
    """A mapping with these keys and no others."""

    def check(value: Any, path: Place) -> None:
        what = f"`{path[-1]}`" if path else "a sweep"
        if not isinstance(value, Mapping):
            raise Problem(path, f"{what} must be a mapping of keys, not {_brief(value)}", f"keys: {', '.join(checks)}")
        for key in value:
            if key not in checks:
                raise unknown_key((*path, key), what, checks)
        for key in required:
            if key not in value:
                raise Problem(path, f"{what} needs the key `{key}`", f"add `{key}:`", key=True)
        for key, part in value.items():
            checks[key](part, (*path, key))

    return check


def unknown_key(path: Place, what: str, allowed: Mapping[str, Check]) -> Problem:
    meant = closest(path[-1], allowed)
    fix = f"did you mean `{meant}`?" if meant else None
    if len(path) == 1 and path[0] in ORDER:  # W&B's schema allows keys of others in the controller only
        fix = f"write `controller: {{type: cloud, {path[0]}: ...}}`"
    message = f"unknown key {_brief(path[-1])}; {what} may have {', '.join(allowed)}"
    return Problem(path, message, fix, key=True)


def command(value: Any, path: Place) -> None:
    if not isinstance(value, list):
        fix = "write it as a list: command: [${env}, ${interpreter}, ${program}, ${args}]"
        raise Problem(path, f"`command` must be a list of words, not {_brief(value)}", fix)
    if not value:
        raise Problem(path, "`command` is empty", "leave it out, or write what starts a trial")
    for index, word in enumerate(value):
        if isinstance(word, bool) or not isinstance(word, (str, int, float)):
            raise Problem((*path, index), f"a word of `command` must be a text, not {_brief(word)}", "put it in quotes")
        _macro(str(word), (*path, index))


def _macro(word: str, path: Place) -> None:
    """A word that is a macro must be a known one. Inside a longer word it may be meant for a shell."""
    macro = re.fullmatch(r"\$\{([^}]*)\}", word)
    if macro is None or macro[1] in MACROS or re.fullmatch(r"envvar:[A-Z0-9_]+", macro[1]):
        return
    meant = closest(macro[1], MACROS)
    fix = f"did you mean `${{{meant}}}`?" if meant else None
    allowed = ", ".join(f"${{{name}}}" for name in [*MACROS, "envvar:NAME"])
    raise Problem(path, f"unknown macro {word}; allowed are {allowed}", fix)


def metrics(value: Any, path: Place) -> None:
    if not isinstance(value, list) or len(value) < 2:
        raise Problem(path, "`metrics` must be a list of two or more", "a single one goes under `metric:`")
    for index, entry in enumerate(value):
        METRIC(entry, (*path, index))


def anything(value: Any, path: Place) -> None:
    """For what is checked elsewhere."""


METRIC = mapping(
    {
        "name": text,
        "goal": one_of("minimize", "maximize"),
        "target": number_above(float("-inf")),
        "impute": one_of("latest", "best", "worst"),
        "impute_while_running": one_of("latest", "best", "worst", "false"),
    },
    "name",
)
HYPERBAND = mapping(
    {
        "type": one_of("hyperband"),
        "min_iter": whole_from(1),
        "max_iter": whole_from(1),
        "s": whole_from(1),
        "eta": number_above(1),
        "strict": boolean,
    },
    "type",
)
SWEEP = mapping(
    {
        "name": text,
        "description": text,
        "project": text,
        "entity": text,
        "program": text,
        "command": command,
        "method": one_of("grid", "random", "bayes", "custom"),
        "metric": METRIC,
        "metrics": metrics,
        "parameters": anything,
        "early_terminate": HYPERBAND,
        "run_cap": whole_from(1),
        "controller": mapping(
            {"type": one_of("cloud", "local"), "seed": whole_from(0), "shuffle": boolean, "repeats": whole_from(1)},
            "type",
        ),
        "scheduler": mapping(
            {"engine": one_of("wandb", "optuna", "ax"), "source": text, "optimizer": text, "search_space": text},
            "engine",
        ),
        "job": text,
        "image_uri": text,
        "apiVersion": text,
        "kind": one_of("sweep"),
    },
    "method",
)


def check(config: Any) -> None:
    """Check everything but the parameters. Raises Problem for the first fault."""
    SWEEP(config, ())
    for rule in (_metric_rules, _early_terminate_rules, _scheduler_rules, _order_rules):
        rule(config)
    if "parameters" not in config and "search_space" not in config.get("scheduler", {}):
        raise Problem((), "a sweep needs the key `parameters`", "add `parameters:` with what to search", key=True)


def _metric_rules(config: Mapping[str, Any]) -> None:
    if "metric" in config and "metrics" in config:
        raise Problem(("metrics",), "`metric` and `metrics` exclude each other", "keep one", key=True)
    if "metrics" in config and config["method"] != "custom":
        raise Problem(("metrics",), "several `metrics` need `method: custom`", "write `metric:` with one", key=True)
    if config["method"] == "bayes" and "metric" not in config:
        fix = "add `metric: {name: val_loss, goal: minimize}` with a metric that the program logs"
        raise Problem(("method",), "method bayes needs a `metric` to improve", fix)


def _early_terminate_rules(config: Mapping[str, Any]) -> None:
    if "early_terminate" not in config:
        return
    rule = config["early_terminate"]
    path: Place = ("early_terminate",)
    if "max_iter" in rule:
        if "s" not in rule:
            raise Problem(
                path, "`max_iter` needs `s`, how many times runs are judged until then", "add `s: 2`", key=True
            )
        if rule["max_iter"] < rule.get("eta", 3):
            message = f"`max_iter` {rule['max_iter']} is less than eta, {rule.get('eta', 3)}, so no run is ever judged"
            raise Problem((*path, "max_iter"), message, "raise it")
    elif "min_iter" not in rule:
        raise Problem(path, "`early_terminate` needs `min_iter`, or `max_iter` and `s`", "add `min_iter: 3`", key=True)
    if "metric" not in config:
        raise Problem(path, "`early_terminate` needs a `metric` to compare runs by", "add `metric:`", key=True)


def _scheduler_rules(config: Mapping[str, Any]) -> None:
    custom = config["method"] == "custom"
    scheduler = config.get("scheduler")
    if custom and scheduler is None:
        raise Problem(("method",), "method custom needs a `scheduler`", "write `method: bayes`, or add `scheduler:`")
    if scheduler is None:
        return
    if "early_terminate" in config:
        raise Problem(("scheduler",), "`scheduler` and `early_terminate` exclude each other", "keep one", key=True)
    if config.get("controller", {}).get("type") == "local":
        raise Problem(("scheduler",), "`scheduler` and a local `controller` exclude each other", "keep one", key=True)
    if (scheduler["engine"] == "wandb") == custom:
        allowed = "grid, random or bayes" if custom else "custom"
        message = f"`engine: {scheduler['engine']}` needs method {allowed}, not {config['method']}"
        raise Problem(("scheduler", "engine"), message)
    for key in ("optimizer", "search_space"):
        if key in scheduler and "source" not in scheduler:
            raise Problem(("scheduler", key), f"`{key}` names a function of `source`, which is missing", key=True)


def _order_rules(config: Mapping[str, Any]) -> None:
    given = [key for key in ORDER if key in config.get("controller", {})]
    if given and (config["controller"]["type"] == "local" or "scheduler" in config):
        message = f"`{given[0]}` is for a search of the server, and this sweep's is elsewhere"
        raise Problem(("controller", given[0]), message, "remove it", key=True)
    if "shuffle" in given and config["method"] != "grid":
        message = f"`shuffle` is for the order of a grid; {config['method']} has none"
        raise Problem(("controller", "shuffle"), message, "remove it", key=True)


def program_file(config: Mapping[str, Any]) -> str | None:
    """The program that must be there as a file when a trial starts; None where the command names none.

    Raises Problem when the command needs a program and the sweep has none.
    """
    words: Sequence[Any] = config.get("command") or DEFAULT_COMMAND
    if "${program}" not in words or "job" in config or "image_uri" in config:
        return None
    if "program" not in config:
        raise Problem(
            (), "a sweep needs the key `program`, the script that trains", "add `program: train.py`", key=True
        )
    as_module = words[words.index("${program}") - 1] == "-m"
    return None if as_module else str(config["program"])


def _brief(value: Any) -> str:
    try:
        shown = (
            repr(value)
            if not isinstance(value, (list, dict))
            else f"a {'list' if isinstance(value, list) else 'mapping'}"
        )
    except ValueError:  # an int of thousands of digits
        return "a huge number"
    return shown if len(shown) <= 50 else shown[:47] + "..."
