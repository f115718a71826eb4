"""The backend in the background, as commands use it: find, start, stop, administer. No server is imported here."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import requests

from .. import home
from ..errors import SweepkitError, Unreachable, UsageError
from ..home import Server, make_home, read_server
from .tokens import Signer, secret_at

T = TypeVar("T")

START_SECONDS = 20.0
STOP_SECONDS = 20.0
_ANSWER_SECONDS = 5.0
_ADMIN_SECONDS = 600.0  # a backup of a large store takes its time; a dead backend is noticed at once
_TAIL_LINES = 15
_NOTHING = "(nothing)"
_LEAST_ROOM = 64 * 2**10  # bytes


def find() -> Server | None:
    """The backend of the data folder, if it is alive and takes its key; None otherwise, also for a stale note."""
    note = read_server()
    return note if note is not None and healthy(note) else None


def healthy(note: Server) -> bool:
    """Whether the server of a note answers as that server: the same process, and the key is right."""
    try:
        with requests.Session() as session:
            session.trust_env = False  # neither a proxy nor a netrc stands between us and loopback
            answer = session.get(f"{note.url}/healthz", auth=("api", note.key), timeout=_ANSWER_SECONDS)
            return answer.status_code == 200 and answer.json().get("pid") == note.pid
    except (requests.RequestException, ValueError, AttributeError):
        return False


def start(port: int | None = None) -> Server:
    """The running backend; started in the background if there is none.

    ``port`` None or 0 takes the one that runs, wherever it listens; a new one gets the port of last time if that is
    free (None), or any (0). Two starts at the same time end with the same backend. Raises UsageError when the port is
    taken or the data folder cannot be used, SweepkitError when it is not ready in time; either has the reason.
    """
    folder = make_home()
    with _starting(folder):
        running = find()
        if running is None:
            return _launch(folder, port)
    if port and not running.url.endswith(f":{port}"):
        raise UsageError(
            f"the backend runs already, at {running.url}", "stop it with `sweepkit serve --stop`, or leave --port out"
        )
    return running


def stop() -> bool:
    """End the backend of the data folder, after the requests that it works on; whether there was one.

    Raises SweepkitError when it does not end.
    """
    running = find()
    pid = running.pid if running else _holder()
    if pid is None:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while _holds_folder(home.home()):
        if time.monotonic() > deadline:
            raise SweepkitError(f"the backend (process {pid}) does not end", f"end it with `kill -9 {pid}`")
        time.sleep(0.05)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)  # started by this very process: do not leave a zombie
    return True


def restarted(work: Callable[[], T]) -> tuple[T, Server]:
    """Do ``work`` while no backend holds the data folder and none can start; then start it, on the port that it had.

    Raises what ``work`` raises; a backend that ran is not started again then.
    """
    folder = make_home()
    with _starting(folder):
        stop()
        with _held(folder):
            result = work()
        return result, _launch(folder, None)


def _holder() -> int | None:
    """The process that holds the data folder although its note is lost or it does not answer, if it is a backend."""
    folder = home.home()
    if not _holds_folder(folder):
        return None
    import psutil  # only needed here, and commands should start fast

    try:
        pid = int((folder / "lock").read_text(encoding="ascii"))
        command = psutil.Process(pid).cmdline()
    except (OSError, ValueError, psutil.Error):
        return None
    return pid if __package__ in command else None


def login_url(path: str = "/") -> str:
    """An address that opens ``path`` of the running backend in a browser and logs it in: good once, for minutes.

    Raises SweepkitError when no backend runs.
    """
    running = find()
    if running is None:
        raise SweepkitError("no backend is running", "start it with `sweepkit serve`")
    token = Signer(secret_at(home.home() / "secret")).login_token(running.entity)
    return f"{running.url}/login?token={token}&next={quote(path, safe='/')}"


def administer(server: Server, method: str, path: str, **options: Any) -> requests.Response:
    """One request to ``/admin/<path>`` with the owner's key; ``options`` as for ``requests``.

    Raises UsageError where the backend refuses what was asked (400, 404, 409), Unreachable where it does not answer,
    SweepkitError for every other failure; each with the backend's own words (``error`` and ``hint`` of its answer).
    """
    try:
        with requests.Session() as session:
            session.trust_env = False  # neither a proxy nor a netrc stands between us and loopback
            url = f"{server.url}/admin/{path}"
            answer = session.request(method, url, auth=("api", server.key), timeout=_ADMIN_SECONDS, **options)
    except requests.RequestException as error:
        raise Unreachable(
            f"the backend at {server.url} does not answer: {error}", "start it: sweepkit serve"
        ) from error
    if answer.status_code < 400:
        return answer
    kind = UsageError if answer.status_code in {400, 404, 409} else SweepkitError
    raise kind(*_said(answer))


def log_file() -> Path:
    """Where a backend in the background writes what it has to say."""
    return home.home() / "server.log"


def _launch(folder: Path, port: int | None) -> Server:
    command = [sys.executable, "-m", f"{__package__}", "--home", str(folder)]
    command += [] if port is None else ["--port", str(port)]
    try:
        log = os.open(log_file(), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError as error:
        raise UsageError(f"{log_file()} cannot be written: {error.strerror}", "mend its permissions") from error
    try:
        begin = os.fstat(log).st_size
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # a Ctrl-C in the terminal is not for the server
        )
    finally:
        os.close(log)
    return _wait_until_ready(process, begin)


def _environment() -> dict[str, str]:
    """The caller's, without what belongs to a trial or a client: the server outlives them."""
    return {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}


def _wait_until_ready(process: subprocess.Popen[bytes], begin: int) -> Server:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        note = read_server()
        if note is not None and healthy(note):
            if note.pid != process.pid:  # one was on its way, whose starter was killed: ours waits for the folder
                process.kill()
                process.wait()
            return note
        if process.poll() is not None:
            _raise_failed(process.returncode, begin)
        time.sleep(0.05)
    process.kill()
    process.wait()
    raise SweepkitError(
        f"the backend was not ready after {START_SECONDS:.0f} seconds; its log ends:\n{_tail(begin)}",
        f"the whole log is {log_file()}",
    )


def _raise_failed(code: int, begin: int) -> None:
    """Pass on the one message that the server process printed; a traceback only if it had nothing else to say."""
    said = _tail(begin)
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    hints = [line for line in said.splitlines() if line.startswith("hint: ")]
    if errors:
        kind = UsageError if code == UsageError.exit_code else SweepkitError
        raise kind(errors[-1].removeprefix("error: "), hints[-1].removeprefix("hint: ") if hints else None)
    if said == _NOTHING and shutil.disk_usage(home.home()).free < _LEAST_ROOM:  # there was no room to say even that
        hint = "free some disk space, or choose another folder with SWEEPKIT_HOME"
        raise UsageError(f"the disk of the data folder {home.home()} is full", hint)
    raise SweepkitError(f"the backend ended with code {code}; its log ends:\n{said}", f"the whole log is {log_file()}")


def _tail(begin: int) -> str:
    """The last lines of the log that were written since ``begin``."""
    try:
        with log_file().open("rb") as log:
            log.seek(begin)
            text = log.read()[-20_000:].decode("utf-8", "replace")
    except OSError:
        return "(no log)"
    return "\n".join(text.splitlines()[-_TAIL_LINES:]) or _NOTHING


@contextlib.contextmanager
def _starting(folder: Path) -> Iterator[None]:
    """Only one start at a time; the lock is the kernel's and ends with its holder."""
    with home.opened_privately(folder / "start.lock", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold the data folder as a server does. Raises SweepkitError when one took it first (a service manager's)."""
    with home.opened_privately(folder / "lock", "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SweepkitError(
                f"a backend was started in {folder} meanwhile", "keep it stopped, and try again"
            ) from None
        yield


def _holds_folder(folder: Path) -> bool:
    """Whether a server process holds the data folder."""
    try:
        with home.opened_privately(folder / "lock", "a") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except OSError:
        return False


def _said(answer: requests.Response) -> tuple[str, str | None]:
    try:
        said = answer.json()
        return str(said["error"]), said.get("hint")
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"the backend answered {answer.status_code}: {answer.text[:200]}", None
