"""What ``run`` would do with a sweep, without doing it: nothing is created and nothing is started."""

from __future__ import annotations

import os
import random
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..home import Server, home
from ..permutation import Permutation
from .backends import choose

if TYPE_CHECKING:
    from .agents.devices import Slot
    from .spec import Spec

SHOWN = 3


class _NotRunning(Exception):
    """The embedded backend would have to be started."""


@dataclass(frozen=True)
class Plan:
    """``configurations`` is None where the space has no end, ``trials`` where the search has none."""

    backend: str
    project: str
    slots: tuple[Slot, ...]
    method: str
    trials: int | None
    configurations: int | None
    commands: tuple[tuple[str, ...], ...]
    exact: bool  # whether these commands will be run, rather than some like them
    growing: bool = False  # whether more slots are added while that pays
    says: str | None = None  # the function that alone knows what the trials are given, if there is one

    def record(self) -> dict[str, Any]:
        """The documented keys of a plan."""
        return {
            "backend": self.backend,
            "project": self.project,
            "slots": [{"slot": slot.label, "environment": dict(slot.environment)} for slot in self.slots],
            "growing": self.growing,
            "method": self.method,
            "trials": self.trials,
            "configurations": self.configurations,
            "commands": [list(command) for command in self.commands],
            "exact": self.exact,
        }

    def lines(self) -> list[str]:
        """The plan in words."""
        trials = self.trials if self.trials is not None else "no end: until it is stopped"
        space = "endless" if self.configurations is None else self.configurations
        space = f"as {self.says} says" if self.says else space
        which = f"the first {len(self.commands)}" if self.exact else "for example"
        return [
            f"backend         {self.backend}",
            f"project         {self.project}",
            f"slots           {len(self.slots)}: {', '.join(slot.label for slot in self.slots)}"
            + " to begin with, and more while that pays" * self.growing,
            f"search          {self.method}",
            f"trials          {trials}",
            f"configurations  {space}",
            *([] if self.says else [f"commands        {which}:"]),
            *(f"  {shlex.join(command)}" for command in self.commands),
        ]


def plan(spec: Spec, backend: str, project: str, slots: list[Slot], find: Callable[[], Server | None]) -> Plan:
    """The plan for ``spec``. ``find`` tells the running embedded backend, if there is one.

    Raises UsageError for what ``run`` would refuse: a macro that does not exist, W&B without a key.
    """
    commands = _commands(spec, {**os.environ, **slots[0].environment})
    exact = spec.method == "grid" and ("seed" in spec.order or not spec.order.get("shuffle"))
    return Plan(
        _backend(backend, find), project, tuple(slots), spec.method, spec.count(), spec.size(), commands,
        exact=exact, growing=any(slot.place and slot.place.growing for slot in slots), says=spec.says,
    )  # fmt: skip


def _backend(name: str, find: Callable[[], Server | None]) -> str:
    def running() -> Server:
        if server := find():
            return server
        raise _NotRunning

    try:
        return choose(name, running).describe()
    except _NotRunning:
        return f"embedded backend, to be started (data in {home()})"


def _commands(spec: Spec, surroundings: Mapping[str, str]) -> tuple[tuple[str, ...], ...]:
    from .agents.command import check, render

    check(spec.config, surroundings)
    wrapped = [{name: {"value": value} for name, value in each.items()} for each in _configurations(spec)]
    return tuple(render(spec.config, args, surroundings).argv for args in wrapped)


def _configurations(spec: Spec) -> list[dict[str, Any]]:
    """The first configurations of a grid; of any other search some that it may propose, where that can be known."""
    if spec.says:
        return []
    if spec.method == "grid":
        size = spec.space.grid_size()
        places: Iterable[int] = [n % size for n in range(min(SHOWN, spec.count() or 0))]
        if spec.order.get("shuffle"):
            places = map(Permutation(size, str(spec.order.get("seed"))).at, places)
        return [spec.space.configuration(spec.space.grid_at(n)) for n in places]
    rng = random.Random(0)
    count = SHOWN if spec.run_cap is None else min(SHOWN, spec.run_cap)
    return [spec.space.configuration(spec.space.sample(rng)) for _ in range(count)]
