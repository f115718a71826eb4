"""The YAML's ``scheduler:`` beyond W&B's schema: its source and the functions in it, which are read and never run here.

Source of what the engines take: ``wandb/sdk/sweeps/scheduler`` of the wandb client 0.31.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..distributions import Parameter
from ..space import Space, closest
from .schema import Place, Problem

#: What each engine needs besides wandb: the module, and what installs it.
PACKAGES = {
    "optuna": ("optuna", "pip install 'wandb[optuna]'"),
    "ax": ("ax", "pip install ax-platform"),
    "wandb": ("sweeps", "pip install 'wandb[sweeps]'"),
}
#: The functions of `source` that an engine calls, each with one argument; it passes over any other in silence.
FUNCTIONS = {"optuna": ("optimizer", "search_space"), "ax": ("optimizer",), "wandb": ()}

_OPTUNA = frozenset(
    ("constant", "categorical", "int_uniform", "uniform", "log_uniform_values", "q_uniform", "q_log_uniform_values")
)


def scheduler_of(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The scheduler of a sweep that a process outside the server searches for, as `wandb sweep-scheduler` does."""
    scheduler = config.get("scheduler")
    return scheduler if isinstance(scheduler, Mapping) and scheduler.get("engine") else None


def check(config: Mapping[str, Any], space: Space, folder: Path) -> None:
    """Check the scheduler of a configuration that keeps W&B's schema. Raises Problem.

    ``folder`` is the YAML's own, where its source may lie.
    """
    scheduler = scheduler_of(config)
    if scheduler is None:
        return
    if "metric" not in config and "metrics" not in config:
        fix = "add `metric: {name: val_loss, goal: minimize}` with a metric that the program logs"
        raise Problem(("scheduler",), "a `scheduler` needs a `metric`, or several `metrics`, to improve", fix)
    if "source" in scheduler:
        _check_source(scheduler, folder)
    calls = "search_space" in scheduler or (scheduler["engine"] == "ax" and "optimizer" in scheduler)
    if scheduler["engine"] != "wandb" and not calls:
        for parameter in space.parameters:
            _check_parameter(parameter, str(scheduler["engine"]))


def found(source: str, folder: Path) -> Path | None:
    """Where the source is: in the working folder, as W&B's scheduler looks for it, or else beside the YAML."""
    for path in (Path(source), folder / source):
        if os.path.isfile(path):
            return path
    return None


def placed(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """``config`` with the whole path of a source that lies beside the YAML and not in the working folder."""
    scheduler = scheduler_of(config)
    source = scheduler.get("source") if scheduler else None
    if scheduler is None or source is None or os.path.isfile(source) or not os.path.isfile(folder / source):
        return dict(config)
    return {**config, "scheduler": {**scheduler, "source": str((folder / source).resolve())}}


def warnings(config: Mapping[str, Any]) -> Iterator[tuple[Place, str, str]]:
    """What the author surely did not mean: where, what, and the fix."""
    scheduler = scheduler_of(config)
    if scheduler is None:
        return
    engine = str(scheduler["engine"])
    module, install = PACKAGES[engine]
    if find_spec(module) is None:
        yield ("scheduler", "engine"), f"the engine {engine} needs the package {module}, which is not here", install
    for key in ("optimizer", "search_space"):
        if key in scheduler and key not in FUNCTIONS[engine]:
            yield ("scheduler", key), f"the engine {engine} takes no `{key}`", "remove it"
    if engine == "optuna" and "search_space" in scheduler and "parameters" in config:
        message = "with a `search_space` the engine optuna passes `parameters` over, those with one value too"
        yield ("parameters",), message, f"have {scheduler['search_space']} return all that a trial needs"
    if config["method"] == "custom" and "run_cap" not in config and "optimizer" not in scheduler:
        yield ("scheduler",), "without `run_cap` the search goes on until it is stopped", "add `run_cap: 20`"


def _check_source(scheduler: Mapping[str, Any], folder: Path) -> None:
    source, place = str(scheduler["source"]), ("scheduler", "source")
    path = found(source, folder)
    if path is None:
        meant = neighbour(Path(source)) or neighbour(folder / source)
        fix = f"did you mean `{meant}`?" if meant else f"it is looked for in {Path.cwd()}, and beside the YAML"
        raise Problem(place, f"there is no source {source}", fix)
    try:
        tree = ast.parse(path.read_bytes(), filename=source)
    except SyntaxError as error:
        raise Problem(place, f"{source}:{error.lineno}: this is no Python: {error.msg}") from error
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        raise Problem(place, f"{source} cannot be read as Python: {error}") from error
    for key in FUNCTIONS[scheduler["engine"]]:
        if key in scheduler:
            _check_function(tree, str(scheduler[key]), source, ("scheduler", key))


def _check_function(tree: ast.Module, name: str, source: str, place: Place) -> None:
    names = dict(_names(tree.body))
    if name not in names:
        if "*" in names:  # it may come with `from ... import *`
            return
        meant = closest(name, names)
        there = ", ".join(key for key, node in names.items() if isinstance(node, ast.FunctionDef)) or "none"
        fix = f"did you mean `{meant}`?" if meant else f"its functions: {there}"
        raise Problem(place, f"{source} has no function {name}", fix)
    node = names[name]
    takes = "the sweep" if place[-1] == "optimizer" else "a trial of Optuna"
    if isinstance(node, ast.AsyncFunctionDef):
        raise Problem(place, f"{name} in {source}, line {node.lineno}, is asynchronous", "write it as a plain `def`")
    if isinstance(node, ast.FunctionDef) and not _takes_one(node.args):
        message = f"{name} in {source}, line {node.lineno}, must take one argument, {takes}"
        raise Problem(place, message, f"write it as `def {name}({'sweep' if takes == 'the sweep' else 'trial'}):`")


def _names(body: list[ast.stmt]) -> Iterator[tuple[str, ast.stmt]]:
    """The names that a module's statements bind, and what binds them; `*` where that cannot be told."""
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name, node
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from ((alias.asname or alias.name.split(".")[0], node) for alias in node.names)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found = (each for target in targets for each in ast.walk(target))
            yield from ((each.id, node) for each in found if isinstance(each, ast.Name))
        elif isinstance(node, (ast.If, ast.Try, ast.With, ast.For, ast.While)):
            yield from _names([each for each in ast.walk(node) if isinstance(each, ast.stmt) and each is not node])


def _takes_one(arguments: ast.arguments) -> bool:
    """Whether a function can be called with one argument by place."""
    places = [*arguments.posonlyargs, *arguments.args]
    needed = len(places) - len(arguments.defaults)
    room = bool(places) or arguments.vararg is not None
    return room and needed <= 1 and all(default is not None for default in arguments.kw_defaults)


def _check_parameter(parameter: Parameter, engine: str) -> None:
    """What the engine makes of `parameters` by itself; it refuses others when it starts."""
    where: Place = tuple(part for name in parameter.path for part in ("parameters", name))
    if len(parameter.path) > 1:
        message = f"{parameter.name}: the engine {engine} takes no nested parameters"
    elif parameter.distribution not in _OPTUNA:
        message = f"{parameter.name}: the engine {engine} has no distribution {parameter.distribution}"
    elif engine == "ax" and parameter.distribution == "q_log_uniform_values" and parameter.q != 1:
        message = f"{parameter.name}: the engine ax takes q_log_uniform_values with q 1 only"
    else:
        return
    fix = "use another, or write a `search_space` function" if engine == "optuna" else "use another distribution"
    raise Problem(where, message, fix)


def neighbour(path: Path) -> Path | None:
    """A file of the same kind in the same folder, whose name is nearly that of ``path``."""
    try:
        there = {file.stem: file for file in path.parent.iterdir() if file.suffix == path.suffix}
    except (OSError, ValueError):
        return None
    meant = closest(path.stem, there)
    return there[meant] if meant else None
