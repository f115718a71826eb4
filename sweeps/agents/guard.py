"""The process between an agent and a trial: when the trial ends, or the agent dies, nothing of the trial lives on.

Run as a script by ``launching.py``, with the trial's command as arguments and a pipe from the agent as standard input
(or forked by a warm server, with a socket from the agent): ``t`` asks the trial to stop (SIGTERM to its process group),
``k`` kills all of it, and the end of the pipe means that the agent is gone, however it died. A parent-death signal
alone would reach only the trial's first process; as a *subreaper* (Linux) the guard inherits every orphan among the
trial's descendants, whichever session it moved to, so that a walk down the process tree finds them all. The guard ends
as the trial did: same code, or same signal.

It is started for every trial, so it imports only what starts in a few milliseconds.
"""

import ctypes
import fcntl
import os
import resource
import select
import signal
import sys
import time
from contextlib import suppress

if __package__:
    from .bounded_log import BoundedLog
else:  # run as a script, in Python's isolated mode, which does not look beside it
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    from bounded_log import BoundedLog  # type: ignore[no-redef]

    del sys.path[0]

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
FLUSH = 5.0  # seconds that a helper of an ended trial, such as wandb's own process, may take to send what it holds
POLITE = 3.0  # seconds between SIGTERM and SIGKILL for what is still there then
ORPHANED = 10.0  # seconds that a trial has to checkpoint when its agent died
NOT_FOUND, NOT_EXECUTABLE = 127, 126  # as shells say it
EXPENDABLE = 100  # of 1000: where memory runs out, the kernel is to end a trial before its agent or the backend
OUTPUT = 2**18  # bytes of the trial's output that are taken at once


def prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def fork() -> int:
    """Fork the trial's first process, in a session, and so a process group, of its own; 0 there, its id here."""
    guard = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # should even the guard be killed
    if os.getppid() != guard:
        os._exit(1)
    signal.set_wakeup_fd(-1)
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE):
        signal.signal(signum, signal.SIG_DFL)
    with suppress(OSError, ValueError):
        file = os.open("/proc/self/oom_score_adj", os.O_RDWR)
        os.pwrite(file, str(min(1000, int(os.pread(file, 16, 0)) + EXPENDABLE)).encode(), 0)
        os.close(file)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)  # a trial that reads from a terminal would wait for ever
    os.close(null)
    return 0


def execute(argv: list[str]) -> None:
    """Become the trial's program; what is wrong with it is told as its output, and in its exit code as shells do."""
    try:
        os.execvp(argv[0], argv)
    except FileNotFoundError:
        os.write(2, f"cannot start {argv[0]}: no such program\n".encode())
        os._exit(NOT_FOUND)
    except OSError as error:
        os.write(2, f"cannot start {argv[0]}: {error.strerror}\n".encode())
        os._exit(NOT_EXECUTABLE)
    finally:
        os._exit(NOT_EXECUTABLE)


def stat(pid: str) -> bytes:
    """/proc/PID/stat by the fewest calls: with hundreds of processes, a walk down the tree makes an end wait."""
    file = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    try:
        return os.read(file, 1024)
    finally:
        os.close(file)


def descendants(root: int) -> set[int]:
    """Every living process below ``root``, however deep. Where there is no /proc, none (then there are only groups)."""
    children: dict[int, list[int]] = {}
    try:
        names = [name for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return set()
    for name in names:
        try:
            state, parent = stat(name).rpartition(b")")[2].split()[:2]
        except (OSError, ValueError):
            continue  # it ended meanwhile
        if state != b"Z":
            children.setdefault(int(parent), []).append(int(name))
    found, todo = set(), [root]
    while todo:
        below = children.get(todo.pop(), [])
        found.update(below)
        todo += below
    return found


def signal_all(pids: set[int], group: int, signum: int) -> None:
    """Send it to ``pids`` and to the process group ``group``, if there is one."""
    for target in (-group, *pids) if group else pids:
        with suppress(OSError):  # it has just ended
            os.kill(target, signum)


def reap(main: int, status: "int | None") -> "int | None":
    """Collect what ended, orphans too; the status of the trial's first process once it is known."""
    while True:
        try:
            pid, ended = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status
        if pid == 0:
            return status
        if pid == main:
            status = ended


def lives(pid: int) -> bool:
    """Whether a child that is reaped when it ends is still there."""
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


class Guard:
    """One trial and what is asked of it, through the pipe or socket ``agent``. ``main`` is its first process."""

    main = 0

    def __init__(self, agent: int) -> None:
        self.agent = agent
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        self.waker, self.alarm = os.pipe()
        os.set_blocking(self.alarm, False)
        signal.set_wakeup_fd(self.alarm)
        self.asked = b""
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(signum, self.told)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.status: int | None = None
        self.deadline: float | None = None
        self.listening = True
        self.service: set[int] = set()
        self.output = -1

    def fork(self) -> int:
        """Fork the trial's first process as ``fork`` does. Its output comes to this process, which keeps it within
        bounds in what was its own standard output."""
        self.output, end = os.pipe()
        with suppress(OSError, AttributeError):  # not Linux, or a user's pipes are many: a small one does as well
            fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, 2**20)
        self.log = BoundedLog(1)
        pid = fork()
        if pid == 0:
            for descriptor in (1, 2):
                os.dup2(end, descriptor)
            os.close(self.output)
        os.close(end)
        return pid

    def start(self, argv: list[str]) -> None:
        """Start the trial as a program."""
        try:
            self.main = self.fork()
        except OSError as error:
            os.write(2, f"cannot start {argv[0]}: {error.strerror}\n".encode())
            os._exit(NOT_EXECUTABLE)
        if self.main == 0:
            execute(argv)

    def told(self, *_: object) -> None:
        self.asked += b"t"

    def run(self) -> int:
        """Until the trial has ended and nothing of it is left; its wait status."""
        while (status := reap(self.main, self.status)) is None:
            self.wait()
            self.obey()
            if self.deadline is not None and time.monotonic() > self.deadline:
                signal_all(descendants(os.getpid()), self.main, signal.SIGKILL)
        self.status = status
        self.service = self.farewell(status)
        while self.service and not (self.deadline is not None and time.monotonic() > self.deadline):
            self.wait(1.0)
            self.obey()
            reap(self.main, status)
            self.service = {pid for pid in self.service if lives(pid)}
        self.clear(b"k" in self.asked)
        while self.output >= 0 and self.hear(0.0):
            pass
        return status

    def farewell(self, status: int) -> set[int]:
        """The trial's own services, told that it is over: they may take as long as they need to send what they hold."""
        return set()

    def wait(self, timeout: "float | None" = None) -> None:
        """For a word of the agent, the end of a child, or the deadline, and no longer than ``timeout``."""
        if self.deadline is not None:
            timeout = max(0.05, self.deadline - time.monotonic())
        watched = [self.waker]
        watched += [self.agent] if self.listening else []
        watched += [self.output] if self.output >= 0 else []
        ready, _, _ = select.select(watched, [], [], timeout)
        if self.output in ready:
            self.hear()
        if self.waker in ready:
            os.read(self.waker, 4096)
        if self.agent in ready:
            word = os.read(self.agent, 64)
            self.listening = bool(word)
            self.asked += word

    def hear(self, timeout: "float | None" = None) -> bool:
        """Take what the trial has written; whether there was anything."""
        if timeout is not None and not select.select([self.output], [], [], timeout)[0]:
            return False
        data = os.read(self.output, OUTPUT)
        if data:
            self.log.write(data)
        else:  # nobody is left who could write
            os.close(self.output)
            self.output = -1
        return bool(data)

    def obey(self) -> None:
        if b"k" in self.asked:
            self.deadline = 0.0
        elif not self.listening and self.deadline is None:
            self.deadline = time.monotonic() + ORPHANED
            self.asked += b"t"
        if b"t" in self.asked:
            self.asked = self.asked.replace(b"t", b"")
            signal_all(self.service, self.main, signal.SIGTERM)

    def clear(self, now: bool) -> None:
        """What the trial left gets some time to end by itself, is then asked to, and is then killed."""
        if not os.path.isdir("/proc/self"):
            signal_all(set(), self.main, signal.SIGKILL)
        signums = [signal.SIGKILL] if now else [signal.SIGTERM, signal.SIGKILL]
        until = 0.0 if now else time.monotonic() + FLUSH
        while left := descendants(os.getpid()):
            if time.monotonic() > until or b"k" in self.asked:
                signum = signums.pop(0) if len(signums) > 1 and b"k" not in self.asked else signal.SIGKILL
                for pid in left:
                    with suppress(OSError):
                        os.kill(pid, signum)
                until = time.monotonic() + (POLITE if signum == signal.SIGTERM else 0.05)
            self.deadline = time.monotonic() + 0.05
            self.wait()
            reap(self.main, self.status)


def end(status: int) -> None:
    """End as the trial did."""
    if os.WIFSIGNALED(status):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the trial has left its own, if any
        signum = os.WTERMSIG(status)
        if signum != signal.SIGKILL:
            signal.signal(signum, signal.SIG_DFL)
        os.kill(os.getpid(), signum)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


if __name__ == "__main__":
    guard = Guard(0)
    guard.start(sys.argv[1:])
    end(guard.run())
