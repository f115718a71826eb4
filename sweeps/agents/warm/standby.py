"""The guard of the next trial: forked ahead, with a wandb-core that is ready, and waiting for its agent's order."""

from __future__ import annotations

import importlib
import os
import signal
import socket
import sys
from contextlib import suppress
from typing import Any

from .. import guard
from . import birth, ending, service
from .messages import receive, send

PIPE = 2**20  # bytes that the imports of a program may write


class Imported:
    """What the server's imports changed in the process, as they would have in the trial's own."""

    def __init__(self) -> None:
        self._before = dict(os.environ)
        self.output = b""
        self.pools: birth.Pools
        self.ending: ending.Ending
        self.environment: dict[str, str | None] = {}

    def done(self, output: int) -> None:
        """The imports are over. What they wrote is in the pipe ``output``: every trial will have written it."""
        now = dict(os.environ)
        changed = {name for name in now.keys() | self._before if now.get(name) != self._before.get(name)}
        self.environment = {name: now.get(name) for name in changed}
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os.set_blocking(output, False)
        with suppress(BlockingIOError):
            self.output = os.read(output, PIPE)
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (1, 2):
            os.dup2(null, descriptor)
        os.close(null)
        os.close(output)
        importlib.invalidate_caches()  # what lies beside the program is looked for in each trial
        self.pools = birth.Pools()
        self.ending = ending.Ending()


class WarmGuard(guard.Guard):
    """A guard that is a fork: it tells its agent how the trial ended."""

    def __init__(self, agent: socket.socket) -> None:
        super().__init__(agent.fileno())
        self.core: service.Service | None = None

    def farewell(self, status: int) -> set[int]:
        return self.core.dismiss(status) if self.core else set()


def stand_by(agent: socket.socket, imported: Imported) -> None:
    """Be the guard of one trial. Returns in the trial, and only there."""
    os.setsid()
    it = WarmGuard(agent)
    said = os.memfd_create("wandb-core")  # there is no log yet for what the service may say
    for descriptor in (1, 2):
        os.dup2(said, descriptor)
    environment, _ = expect(agent)
    birth.set_environment(environment)
    it.core = service.start()
    send(agent, {"waiting": os.getpid()})
    order, (log,) = expect(agent)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    if it.core and not it.core.lives():
        it.core = None
    if it.core:
        order["environment"][service.VARIABLE] = it.core.token
    pid = it.fork()
    if pid == 0:
        for each in (agent.detach(), it.waker, it.alarm, said, log):
            os.close(each)
        birth.become(order, imported)
        return
    it.main = pid
    status = it.run()
    if words := os.pread(said, PIPE, 0):
        it.log.write(words)
    with suppress(OSError):  # the agent is gone
        send(agent, {"ended": status})
    os._exit(0)


def expect(agent: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """The agent's next word. Without one, this guard and its service end here."""
    message = receive(agent)
    if message is None:
        guard.signal_all(guard.descendants(os.getpid()), 0, signal.SIGKILL)
        os._exit(0)
    return message
