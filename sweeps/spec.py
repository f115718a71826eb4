"""A sweep's YAML: found, read, checked with line and column, and counted."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from .. import space
from ..distributions import Parameter, SpaceError
from ..errors import UsageError
from ..space import Space
from . import catalog, document, scheduler_key, schema
from .document import Document, Fault
from .metric import Metric
from .schema import Problem


@dataclass(frozen=True)
class Warning:
    """Something that W&B allows and the author surely did not mean. Line and column count from 1."""

    message: str
    line: int
    column: int
    fix: str


@dataclass(frozen=True)
class Spec:
    """A checked sweep. ``config`` is what W&B gets; ``text`` is the file as its author wrote it."""

    path: Path
    config: dict[str, Any]
    text: str
    space: Space = field(repr=False)
    warnings: tuple[Warning, ...] = ()

    @property
    def name(self) -> str:
        return str(self.config.get("name", self.path.stem))

    @property
    def method(self) -> str:
        return str(self.config["method"])

    @property
    def metric(self) -> Metric | None:
        """The metric with W&B's default goal, which is to minimize."""
        given = self.config.get("metric")
        return Metric(given["name"], given.get("goal", "minimize"), given.get("target")) if given else None

    @property
    def run_cap(self) -> int | None:
        return self.config.get("run_cap")

    @property
    def program(self) -> str | None:
        return self.config.get("program")

    @property
    def project(self) -> str | None:
        return self.config.get("project")

    @property
    def entity(self) -> str | None:
        return self.config.get("entity")

    def count(self) -> int | None:
        """How many runs the sweep will have at most, or None where it goes on until it is stopped."""
        if self.method != "grid":
            return self.run_cap
        runs = self.space.grid_size() * self.order.get("repeats", 1)
        return min(runs, self.run_cap or runs)

    @property
    def says(self) -> str | None:
        """Who says what the trials are given where the YAML does not: a function of the scheduler's source."""
        scheduler = self.config.get("scheduler", {})
        return f"{scheduler['search_space']} in {scheduler['source']}" if "search_space" in scheduler else None

    def size(self) -> int | None:
        """How many configurations there are; None where there is no end, or only a function would know it."""
        return None if self.says else self.space.size()

    @property
    def order(self) -> dict[str, Any]:
        """Seed, shuffle and repeats, those that were given."""
        controller = self.config.get("controller", {})
        return {key: controller[key] for key in schema.ORDER if key in controller}

    def changed(
        self,
        constants: Mapping[str, Any] | None = None,
        run_cap: int | None = None,
        order: Mapping[str, Any] | None = None,
    ) -> Spec:
        """This sweep with some parameters held fast (by dotted name), another number of runs at most, and another
        seed, shuffle or repeats.

        Raises UsageError when what comes out is no valid sweep, such as an unknown parent in a dotted name.
        """
        config = dict(self.config)
        if run_cap is not None:
            config["run_cap"] = run_cap
        if order:
            config["controller"] = {"type": "cloud", **config.get("controller", {}), **order}
        if constants:
            self._refuse_constants(constants)
            config["parameters"] = dict(config.get("parameters", {}))
            for name, value in constants.items():
                _fix(config["parameters"], self.space, name, value)
        try:
            schema.check(config)
            parameters = space.parse(config["parameters"]) if "parameters" in config else self.space
        except (Problem, SpaceError) as error:
            raise UsageError(f"{self.path}: {error.message}", error.fix) from error
        text = yaml.safe_dump(config, sort_keys=False)
        return replace(self, config=config, space=parameters, text=text)

    def _refuse_constants(self, constants: Mapping[str, Any]) -> None:
        if self.says:
            message = f"{self.path}: {self.says} says all that a trial is given, so nothing can be held fast here"
            raise UsageError(message, f"have it return the {', '.join(constants)} that you want")


def load(name_or_path: str | Path) -> Spec:
    """The sweep of a library name such as ``quickstart``, or of a YAML file.

    Raises UsageError, whose message starts with FILE:LINE:COLUMN, for a file that is not there or not a valid sweep.
    """
    path = _find(str(name_or_path))
    return parse(_read(path), path)


def parse(text: str, path: Path) -> Spec:
    """The sweep in ``text``, checked; ``path`` is what messages call it. Raises UsageError as ``load`` does."""
    try:
        read = document.read(text)
        return _checked(read, path)
    except Fault as fault:
        raise UsageError(f"{path}:{fault.line}:{fault.column}: {fault.message}", fault.fix) from fault


def _find(name: str) -> Path:
    path = Path(os.path.expanduser(name))
    if os.path.isfile(path):  # which, unlike Path's, is False and no error for a name that is too long
        return path
    library = catalog.paths()
    if name in library:
        return library[name]
    if os.path.isdir(path):
        raise UsageError(f"{name} is a folder, not a sweep YAML")
    meant = space.closest(path.stem, library)
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        likely = scheduler_key.neighbour(path)
        hint = f"did you mean {likely}?" if likely else _library_hint(meant)
        raise UsageError(f"there is no file {name}", hint)
    raise UsageError(f"there is no file {name}, and no sweep of that name in the library", _library_hint(meant))


def _library_hint(meant: str | None) -> str:
    names = ", ".join(catalog.paths())
    return (f"did you mean `{meant}`? " if meant else "") + f"the library has {names}"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}:1:1: this is no YAML: it is not UTF-8 text", "save it as UTF-8") from error
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error


def _checked(read: Document, path: Path) -> Spec:
    try:
        schema.check(read.value)
        parameters = space.parse(read.value["parameters"]) if "parameters" in read.value else Space(())
        if read.value["method"] == "grid":
            parameters.grid_size()
        _check_program(read.value)
        scheduler_key.check(read.value, parameters, path.parent)
    except Problem as problem:
        line, column = read.position(problem.path, problem.key)
        raise Fault(problem.message, line, column, problem.fix) from problem
    except SpaceError as error:
        raise _space_fault(read, error) from error
    warnings = sorted(_warnings(read, parameters), key=lambda warning: (warning.line, warning.column))
    config = scheduler_key.placed(read.value, path.parent)
    return Spec(path, config, read.text, parameters, tuple(warnings))


def _check_program(config: Mapping[str, Any]) -> None:
    program = schema.program_file(config)
    if program is None or os.path.isfile(program):
        return
    meant = scheduler_key.neighbour(Path(program))
    fix = f"did you mean `{meant}`?" if meant else f"it is looked for in {Path.cwd()}; run from its folder"
    raise Problem(("program",), f"there is no program {program}", fix)


def _space_fault(read: Document, error: SpaceError) -> Fault:
    where = _yaml_path(error.path)
    if error.key is None:
        line, column = read.position(where)
    elif error.key in ("distribution", "values", "probabilities", "parameters"):
        line, column = read.position((*where, error.key))
    else:
        line, column = read.position((*where, error.key), key=error.key not in space.KEYS)
    return Fault(error.message, line, column, error.fix)


def _yaml_path(names: tuple[Any, ...]) -> tuple[str | int, ...]:
    """Where a parameter stands in the file: below `parameters`, once for each level."""
    path: tuple[str | int, ...] = ()
    for name in names:
        path = (*path, "parameters", name)
    return path if path else ("parameters",)


def _fix(parameters: dict[str, Any], known: Space, name: str, value: Any) -> None:
    """Hold one parameter fast; the mappings on the way to it are copied, never changed."""
    parts = next((parameter.path for parameter in known.parameters if parameter.name == name), (name,))
    for part in parts[:-1]:
        parameters[part] = {"parameters": dict(parameters[part]["parameters"])}
        parameters = parameters[part]["parameters"]
    parameters[parts[-1]] = {"value": value}


def _warnings(read: Document, parameters: Space) -> Iterator[Warning]:
    config = read.value
    if config["method"] in ("random", "bayes") and "run_cap" not in config:
        message = f"without `run_cap` a {config['method']} search goes on until it is stopped"
        yield Warning(message, *read.position(("method",)), "add `run_cap: 20`")
    yield from _goal_warnings(read)
    for place, message, fix in scheduler_key.warnings(config):
        yield Warning(message, *read.position(place), fix)
    for parameter in parameters.parameters:
        yield from _log_trap(read, parameter)


def _goal_warnings(read: Document) -> Iterator[Warning]:
    metric = read.value.get("metric")
    if (
        metric
        and "goal" not in metric
        and any(word in metric["name"].lower() for word in ("acc", "auc", "f1", "score"))
    ):
        message = f"metric {metric['name']} has no goal, so W&B minimizes it"
        yield Warning(message, *read.position(("metric", "name")), "add `goal: maximize`")


def _log_trap(read: Document, parameter: Parameter) -> Iterator[Warning]:
    """W&B's log_uniform takes exponents, which users ask about again and again (wandb/wandb#507, #642)."""
    kind = parameter.distribution
    if not kind.endswith("log_uniform") or (parameter.min <= 0 and parameter.max <= 10):
        return
    low, high = parameter.bounds
    message = (
        f"{parameter.name}: {kind} takes exponents of e, so min {parameter.min:g} and max {parameter.max:g} "
        f"give values from {low:.4g} to {high:.4g}"
    )
    position = read.position((*_yaml_path(parameter.path), "distribution"))
    yield Warning(message, *position, f"write `distribution: {kind}_values` if min and max are the values themselves")
