"""How the trials of one command are kept apart: forks of a warm server where that is possible, else fresh processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ..backends import Backend
from .command import render
from .devices import Slot
from .launching import FRESH, Launcher
from .options import AgentOptions
from .warm.launcher import Server, Warm
from .warm.plan import parse


@contextmanager
def launchers(
    config: Mapping[str, Any],
    slots: Sequence[Slot],
    backend: Backend,
    options: AgentOptions,
    say: Callable[[str], None],
) -> Iterator[dict[str, Launcher]]:
    """The launcher of each slot, by its label; at the end, what they keep ready goes. The choice is said."""
    if options.isolation == "process":
        say("isolation: process; each trial is a fresh process")
        yield {slot.label: FRESH for slot in slots}
        return
    parsed = parse(render(config, {}, os.environ).argv, os.environ)
    if isinstance(parsed, str):
        say(f"isolation: process; {parsed}")
        yield {slot.label: FRESH for slot in slots}
        return
    common = {**os.environ, **backend.environment(), "PYTHONUNBUFFERED": "1"}
    common.pop("WANDB_SERVICE", None)
    server = Server(parsed[0], {**common, **slots[0].environment}, options.preload, say)
    warm = {slot.label: Warm(server, {**common, **slot.environment}) for slot in slots}
    try:
        yield dict(warm)
    finally:
        for each in warm.values():
            each.close()
        server.close()
