"""The server: an interpreter that has imported what the program imports, and forks the guards of its trials.

It has one thread, no CUDA context, no run and no child that its imports started; where an import makes it otherwise it
says so and ends, and the trials start as fresh processes. It runs no line of the program.
"""

from __future__ import annotations

import importlib
import os
import select
import signal
import socket
import sys
from typing import Any

from .. import guard
from . import ending, imports, pages, standby
from .messages import receive, send

PARENT_DIED = signal.SIGKILL


class Unsafe(Exception):
    """Why this process must not be forked."""


def serve(fd: int) -> list[str]:
    """Serve the agent at the other end of the socket ``fd`` for its whole life.

    Returns in a trial only: the names of the modules that a trial must not have.
    """
    agent = socket.socket(fileno=fd)
    agent.set_inheritable(False)
    guard.prctl(guard.PR_SET_PDEATHSIG, PARENT_DIED)  # an import may hang, and then nobody reads the socket
    hello = receive(agent)
    if hello is None or os.getppid() != hello[0]["agent"]:
        os._exit(0)
    imported = standby.Imported()
    try:
        names = load(hello[0])
    except Unsafe as problem:
        send(agent, {"unsafe": str(problem)})
        os._exit(0)
    imported.done(hello[0]["output"])
    own = [name for name in sys.modules if name.partition(".")[0] == "_sweepkit"]
    ending.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # guards report to their agents
    send(agent, {"ready": names, "pid": os.getpid()})
    idle = pages.collapse()
    while True:
        while not select.select([agent], [], [], 0)[0] and next(idle, False):
            pass
        message = receive(agent)
        if message is None:
            os._exit(0)
        (connection,) = message[1]
        if os.fork():
            os.close(connection)
            continue
        agent.close()
        standby.stand_by(socket.socket(fileno=connection), imported)
        return own


def load(hello: dict[str, Any]) -> list[str]:
    """Import what is wanted; the top-level names of it. Raises Unsafe, with the line that is to blame."""
    program = hello["program"]
    folder = os.path.dirname(os.path.realpath(program))
    found = imports.of_module(program) if hello["is_module"] else imports.of_program(program, folder)
    before = descriptors()
    for name in hello["preload"]:
        try:
            importlib.import_module(name)
        except BaseException as error:
            raise Unsafe(f"--preload {name} failed: {type(error).__name__}: {error}") from error
        check(f"--preload {name}", before)
    for line in found:
        bring(line)
        check(line.where, before)
    tops = [line.module.partition(".")[0] for line in found if line.sure] + list(hello["preload"])
    return [name for name in dict.fromkeys(tops) if name in sys.modules and name not in sys.stdlib_module_names]


def bring(line: imports.Line) -> None:
    """What the import line would do. What is not installed is left to the trial, which meets it by itself."""
    try:
        module = importlib.import_module(line.module)
        if line.name and not hasattr(module, line.name) and hasattr(module, "__path__"):
            importlib.import_module(f"{line.module}.{line.name}")
    except ModuleNotFoundError:
        return
    except BaseException as error:
        if line.sure:
            raise Unsafe(f"importing {line.module} ({line.where}) failed: {type(error).__name__}: {error}") from error


def check(culprit: str, before: set[str]) -> None:
    """Raise Unsafe where a fork of this process would not be as good as a fresh one."""
    wandb, torch = sys.modules.get("wandb"), sys.modules.get("torch")
    if getattr(wandb, "run", None) is not None:
        raise Unsafe(f"{culprit} opens a run")
    if torch is not None and torch.cuda.is_initialized():
        raise Unsafe(f"{culprit} makes a CUDA context")
    threads = os.listdir("/proc/self/task")
    if len(threads) > 1:
        names = {thread_name(each) for each in threads if each != str(os.getpid())}
        raise Unsafe(f"{culprit} starts a thread ({', '.join(sorted(names))})")
    if guard.descendants(os.getpid()):
        raise Unsafe(f"{culprit} starts a process")
    opened = sorted(each for each in descriptors() - before if each.startswith(("socket:", "/dev/nvidia")))
    if opened:
        raise Unsafe(f"{culprit} opens {opened[0].partition(':')[0]}")


def descriptors() -> set[str]:
    """What this process has open."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{name}"))
        except OSError:
            continue
    return found


def thread_name(task: str) -> str:
    try:
        with open(f"/proc/self/task/{task}/comm") as file:
            return file.read().strip()
    except OSError:
        return task
