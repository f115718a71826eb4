"""The agent's side of warm trials: the server's process, kept alive, and a launcher for each slot.

One server serves all slots of a command: what it imported is in memory once, and a fork takes it some milliseconds, so
that slots do not wait for each other. A slot keeps one guard ready for its next trial.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ..launching import FRESH, Order, Process
from ..leftovers import LENGTH, MARK
from .messages import receive, send
from .plan import Plan, parse
from .standby import PIPE

IMPORTS = 300.0  # seconds that the imports may take
GUARD = 15.0  # seconds that a guard may take to be ready
ENTRY = "SWEEPKIT_WARM"  # as in sitecustomize.py
DEATHS = 3  # deaths of the server within one command after which trials start as fresh processes
_HOOK = Path(__file__).parent


class Server:
    """The server of one command, in a process of its own that a thread starts, and starts again when it dies.

    What it is, and why trials are no forks of it if they are not, is said once, through ``say``.
    """

    def __init__(
        self, plan: Plan, environment: Mapping[str, str], preload: Sequence[str], say: Callable[[str], None]
    ) -> None:
        self.plan = plan
        self.pid = 0
        self._environment = dict(environment)
        self._preload = list(preload)
        self._say = say
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._decided = threading.Event()
        self._closing = False
        # The kernel kills a server whose starter died, and a starter is a thread: so one that lives as long as it.
        self._keeper = threading.Thread(target=self._keep, name="warm server", daemon=True)
        self._keeper.start()

    @property
    def serves(self) -> bool:
        """Whether it is there and ready to fork."""
        return self._control is not None

    def wait(self, over: Callable[[], bool]) -> None:
        """Until it is known whether trials can be forks, or all is ``over``."""
        while not self._decided.wait(0.05) and not over():
            pass

    def fork(self, environment: Mapping[str, str]) -> socket.socket | None:
        """The connection to a new guard, which gets ``environment`` for its service; None where there is no server."""
        with self._lock:
            if self._control is None:
                return None
            ours, theirs = socket.socketpair()
            try:
                send(self._control, {}, (theirs.fileno(),))
                send(ours, dict(environment))
            except OSError:  # it has just died
                ours.close()
                return None
            finally:
                theirs.close()
            return ours

    def close(self) -> None:
        """End the server; running trials go on."""
        self._closing = True
        self._decided.set()
        if self._process is not None:
            self._process.kill()
        self._keeper.join(GUARD)

    def _keep(self) -> None:
        try:
            for death in range(DEATHS):
                if not self._serve(again=death > 0) or self._closing:
                    return
            self._fresh(f"the server that holds the imports died {DEATHS} times")
        except OSError as error:
            self._fresh(f"no server can be started: {error.strerror or error}")
        finally:
            self._decided.set()

    def _serve(self, again: bool) -> bool:
        """One life of a server; whether there should be another."""
        if not self._way_in():
            return self._fresh("this Python does not import sitecustomize from PYTHONPATH")
        ours, self._process = self._start()
        with ours:
            problem = self._await(ours, again)
            if problem is None:
                with suppress(OSError):
                    receive(ours)  # it says nothing more: this is its end
            with self._lock:
                self._control = None
        code = self._end()
        if problem is not None:
            return self._fresh(problem)
        if not self._closing:
            self._say(f"the warm server died ({_death(code)}); it is started again, and running trials go on")
        return True

    def _end(self) -> int:
        assert self._process is not None
        try:
            return self._process.wait(1.0)  # its own end, if it has come to it by itself
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _way_in(self) -> bool:
        """Whether an interpreter with these flags comes to us before it would run the program."""
        command = [self.plan.python, *self.plan.flags, "-c", "pass"]
        environment = {**self._entered("probe"), ENTRY: "probe"}
        done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
        return done.stdout == b"in"

    def _start(self) -> tuple[socket.socket, subprocess.Popen[bytes]]:
        ours, theirs = socket.socketpair()
        written, end = os.pipe()  # as a trial's own: Python looks at the kind of its standard streams when it starts
        with suppress(OSError):
            fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, PIPE)
        try:
            process = subprocess.Popen(
                self.plan.command, env=self._entered(str(theirs.fileno())), pass_fds=[theirs.fileno(), written],
                stdin=subprocess.DEVNULL, stdout=end, stderr=end, start_new_session=True,
            )  # fmt: skip
        finally:
            theirs.close()
            os.close(written)
            os.close(end)
        send(ours, {
            "agent": os.getpid(), "program": self.plan.program, "is_module": self.plan.is_module,
            "preload": self._preload, "output": written,
        })  # fmt: skip
        return ours, process

    def _entered(self, entry: str) -> dict[str, str]:
        before = self._environment.get("PYTHONPATH", "")
        path = os.pathsep.join([str(_HOOK), before] if before else [str(_HOOK)])
        own = {"PYTHONPATH": path, ENTRY: f"{entry}:{before}", MARK: "0" * LENGTH, "OPENBLAS_NUM_THREADS": "1"}
        return {**self._environment, **own}

    def _await(self, ours: socket.socket, again: bool) -> str | None:
        """Until the imports are done. The problem, if there is one."""
        ours.settimeout(IMPORTS)
        try:
            message = receive(ours)
        except TimeoutError:
            return f"the imports took more than {IMPORTS:.0f} s"
        except OSError:
            message = None
        if message is None:
            return "the imports ended the server"
        if "unsafe" in message[0]:
            return str(message[0]["unsafe"])
        ours.settimeout(None)
        self.pid = message[0]["pid"]
        with self._lock:
            self._control = ours
        if not again:
            names = ", ".join(message[0]["ready"]) or "nothing"
            self._say(f"isolation: warm; trials are forks of a process that has imported {names} for {self.plan.name}")
        self._decided.set()
        return None

    def _fresh(self, why: str) -> bool:
        if not self._closing:
            self._say(f"isolation: process; {why}")
        self._decided.set()
        return False


class Warm:
    """The launcher of one slot: its next trial's guard is asked for when a trial has started."""

    def __init__(self, server: Server, environment: Mapping[str, str]) -> None:
        self._server = server
        self._environment = dict(environment)
        self._next: socket.socket | None = None

    def prepare(self, over: Callable[[], bool]) -> None:
        self._server.wait(over)
        self._next = self._next or self._server.fork(self._environment)

    def start(self, order: Order) -> Process:
        parsed = parse(order.argv, order.environment)
        if isinstance(parsed, str) or parsed[0] != self._server.plan:
            return FRESH.start(order)
        guard, self._next = self._next or self._server.fork(self._environment), None
        process = _order(guard, order, *parsed) if guard else None
        self._next = self._server.fork(self._environment)
        return process or FRESH.start(order)

    def close(self) -> None:
        if self._next:
            self._next.close()
            self._next = None


def _order(guard: socket.socket, order: Order, plan: Plan, arguments: list[str]) -> Process | None:
    """Have the waiting guard start the trial; None where it is not there (any more)."""
    argv = list(order.argv[-len(plan.command) - len(arguments) :])  # without env
    words = {"argv": argv, "arguments": arguments, "environment": dict(order.environment)}
    guard.settimeout(GUARD)
    try:
        if (waiting := receive(guard)) is not None:
            send(guard, words, (order.output.fileno(),))
            guard.settimeout(None)
            return Forked(int(waiting[0]["waiting"]), guard)
    except OSError:
        pass
    guard.close()
    return None


class Forked:
    """A guard that the server forked. It is no child of the agent, and says by itself how its trial ended."""

    def __init__(self, pid: int, guard: socket.socket) -> None:
        self.pid = pid
        self._guard = guard
        self._code: int | None = None
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        with self._lock:
            if self._code is None and select.select([self._guard], [], [], 0)[0]:
                try:
                    message = receive(self._guard)
                except OSError:
                    message = None
                ended = -signal.SIGKILL if message is None else os.waitstatus_to_exitcode(message[0]["ended"])
                self._code = ended
                self._guard.close()
            return self._code

    def tell(self, word: bytes) -> None:
        with self._lock, suppress(OSError):
            if self._code is None:
                self._guard.send(word)

    def pause(self, seconds: float) -> None:
        with suppress(OSError, ValueError):  # another thread has just seen the end
            select.select([self._guard], [], [], seconds)


def _death(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
