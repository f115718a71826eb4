"""What a sweep's configuration asks of the search: method, space, metric, cap and early termination, checked once.

Source of the keys: https://docs.wandb.ai/models/sweeps/sweep-config-keys.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from ...space import Space, SpaceError, closest, parse
from .hyperband import Hyperband, HyperbandError
from .metric import Metric

METHODS = ("grid", "random", "bayes", "custom")
KEYS = (
    "apiVersion",
    "kind",
    "controller",
    "description",
    "program",
    "job",
    "image_uri",
    "entity",
    "project",
    "method",
    "command",
    "name",
    "run_cap",
    "metric",
    "metrics",
    "scheduler",
    "early_terminate",
    "parameters",
)
CONTROLLER_KEYS = ("type", "seed", "shuffle", "repeats")
_IMPUTE = ("worst", "best", "latest")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Reads 1e-4 as the number that it is in YAML 1.2 and JSON, and to W&B's servers; PyYAML takes it for text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


class SettingsError(ValueError):
    """A sweep configuration that cannot be searched; the message says what is wrong and what is allowed."""


@dataclass(frozen=True)
class Settings:
    """A checked configuration. ``external``: another process searches, the server only hands out what it enqueues.

    ``seed``, ``shuffle`` and ``repeats`` stand under ``controller``, where W&B's schema allows any key.
    """

    method: str
    space: Space
    metric: Metric | None
    run_cap: int | None
    early: Hyperband | None
    program: str | None
    external: bool
    warnings: tuple[str, ...]
    seed: str | None = None  # None: the sweep's id
    shuffle: bool = False
    repeats: int = 1  # how often each configuration is tried

    @property
    def expected_runs(self) -> int | None:
        """How many runs W&B expects: the cap or the grid's size, whichever is less; None where there is no end."""
        grid = self.space.grid_size() * self.repeats if self.method == "grid" and not self.external else None
        return min((n for n in (self.run_cap, grid) if n is not None), default=None)


def load(text: str) -> dict[str, Any]:
    """The mapping in a configuration's YAML text. Raises SettingsError."""
    try:
        loaded = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        place = getattr(error, "problem_mark", None)
        where = f" in line {place.line + 1}, column {place.column + 1}" if place else ""
        what = getattr(error, "problem", None) or type(error).__name__
        raise SettingsError(f"the sweep configuration is no YAML{where}: {what}") from error
    if not isinstance(loaded, dict):
        raise SettingsError("the sweep configuration must be a mapping with `method` and `parameters`")
    return loaded


def read(config: Mapping[str, Any]) -> Settings:
    """The settings in a configuration. Raises SettingsError."""
    external = _external(config)
    method = _method(config)
    metric = _metric(config, method, external)
    return Settings(
        method=method,
        space=_space(config, method, external),
        metric=metric,
        run_cap=_run_cap(config),
        early=_early(config, metric),
        program=config["program"] if isinstance(config.get("program"), str) else None,
        external=external,
        warnings=tuple(_unknown_keys(config)),
        **_order(config.get("controller"), external),
    )


def _external(config: Mapping[str, Any]) -> bool:
    controller, scheduler = config.get("controller"), config.get("scheduler")
    local = isinstance(controller, Mapping) and controller.get("type") == "local"
    engine = isinstance(scheduler, Mapping) and bool(scheduler.get("engine"))
    return local or engine or config.get("method") == "custom"


def _order(controller: Any, external: bool) -> dict[str, Any]:
    """Seed, shuffle and repeats; a search outside the server has an order of its own."""
    if not isinstance(controller, Mapping) or external:
        return {}
    seed, shuffle = _whole(controller, "seed", 0), controller.get("shuffle", False)
    if not isinstance(shuffle, bool):
        raise SettingsError(f"`shuffle` of the controller must be true or false, not {shuffle!r}")
    repeats = _whole(controller, "repeats", 1)
    return {"seed": None if seed is None else str(seed), "shuffle": shuffle, "repeats": repeats or 1}


def _whole(controller: Mapping[str, Any], key: str, least: int) -> int | None:
    number = controller.get(key)
    if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < least):
        raise SettingsError(f"`{key}` of the controller must be a whole number from {least}, not {number!r}")
    return number


def _method(config: Mapping[str, Any]) -> str:
    method = config.get("method")
    if method in METHODS:
        return str(method)
    meant = closest(method, METHODS) if method is not None else None
    what = "the sweep configuration has no `method`" if method is None else f"unknown method {method!r}"
    raise SettingsError(f"{what}; allowed are {', '.join(METHODS)}" + (f". Did you mean {meant}?" if meant else ""))


def _space(config: Mapping[str, Any], method: str, external: bool) -> Space:
    parameters = config.get("parameters")
    if external:
        return _space_if_any(parameters)
    try:
        space = parse(parameters if parameters is not None else {})
        if method == "grid":
            space.grid_size()
    except SpaceError as error:
        raise SettingsError(f"{error.message}" + (f". {error.fix}" if error.fix else "")) from error
    return space


def _space_if_any(parameters: Any) -> Space:
    """An external search may have a space of its own that the server need not understand."""
    try:
        return parse(parameters)
    except SpaceError:
        return Space(())


def _metric(config: Mapping[str, Any], method: str, external: bool) -> Metric | None:
    given = config.get("metric")
    if given is None:
        if method == "bayes" and not external:
            raise SettingsError("method bayes needs a `metric` with `name` and `goal`")
        if config.get("early_terminate") and not external:
            raise SettingsError("early_terminate needs a `metric` with `name` and `goal`")
        return None
    if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
        raise SettingsError("`metric` must be a mapping with a `name`, for example {name: val_loss, goal: minimize}")
    goal = str(given.get("goal", "minimize")).lower()
    if goal not in ("minimize", "maximize"):
        raise SettingsError(f"unknown metric goal {given['goal']!r}; allowed are minimize and maximize")
    return Metric(
        name=given["name"],
        maximize=goal == "maximize",
        target=_target(given),
        impute=_impute(given, "impute", "worst") or "worst",
        impute_while_running=_impute(given, "impute_while_running", None),
    )


def _target(metric: Mapping[str, Any]) -> float | None:
    target = metric.get("target")
    if target is None:
        return None
    if isinstance(target, bool) or not isinstance(target, (int, float)):
        raise SettingsError(f"the metric's `target` must be a number, not {target!r}")
    return float(target)


def _impute(metric: Mapping[str, Any], key: str, default: str | None) -> str | None:
    given = metric.get(key, default)
    if given in _IMPUTE or given == default:
        return default if given == default else str(given)
    if key == "impute_while_running" and given in (False, "false"):
        return None
    raise SettingsError(f"unknown `{key}` {given!r} of the metric; allowed are {', '.join(_IMPUTE)}")


def _run_cap(config: Mapping[str, Any]) -> int | None:
    cap = config.get("run_cap")
    if cap is None:
        return None
    if isinstance(cap, bool) or not isinstance(cap, int) or cap < 1:
        raise SettingsError(f"`run_cap` must be a whole number above 0, not {cap!r}")
    return cap


def _early(config: Mapping[str, Any], metric: Metric | None) -> Hyperband | None:
    given = config.get("early_terminate")
    if not given or metric is None:
        return None
    try:
        return Hyperband.read(given)
    except HyperbandError as error:
        raise SettingsError(str(error)) from error


def _unknown_keys(config: Mapping[str, Any]) -> Iterable[str]:
    controller = config.get("controller")
    inner = controller if isinstance(controller, Mapping) else {}
    for given, known, where in ((config, KEYS, "the sweep configuration"), (inner, CONTROLLER_KEYS, "its controller")):
        for key in given:
            if key not in known:
                meant = closest(key, known)
                yield f"unknown key {key!r} in {where}" + (f"; did you mean {meant!r}?" if meant else "")
