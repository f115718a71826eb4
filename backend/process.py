"""The server process: one per data folder, on loopback, announced in ``server.json`` while it listens."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import secrets
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import psutil
import uvicorn
from starlette.applications import Starlette

from .. import home
from ..errors import UsageError
from ..home import Server
from . import app as asgi
from . import connections
from .backup import swap
from .storage import users
from .storage.opening import FREE_SPACE, StoreError

ADDRESS = "127.0.0.1"
_GRACE = 10  # seconds that requests under way have when the server is stopped
_LOCK_PATIENCE = _GRACE + 2.0  # seconds; a server that is being stopped holds the folder so long
# File systems of several machines: SQLite's WAL needs memory that all its processes share, and their locks may lie.
_NETWORK = frozenset({"nfs", "nfs4", "lustre", "cifs", "smb3", "smbfs", "9p", "afs", "beegfs", "gpfs", "fuse.sshfs"})
NETWORK_VARIABLE = "SWEEPKIT_ALLOW_NETWORK_HOME"


def serve(port: int | None) -> None:
    """Serve until SIGTERM or SIGINT. ``port`` 0 is any free one, None the one of last time if it is free.

    Raises UsageError when the folder cannot be used or is in use, or the port is taken.
    """
    folder = home.make_home()
    os.umask(0o077)  # whatever is kept from here on is its owner's only
    refuse_network_folder(folder)
    with _only_one(folder), contextlib.closing(_listening(port, folder)) as listener, _usable(folder):
        swap.finish(folder)  # a restore that a crash cut off
        name, key = account(folder)
        app = asgi.create(folder)
        app.state.database.write(lambda conn: users.ensure(conn, name, key))
        app.state.owner = name
        url = f"http://{ADDRESS}:{listener.getsockname()[1]}"
        _run(app, listener, Server(url, key, name, os.getpid()))


@contextlib.contextmanager
def _usable(folder: Path) -> Iterator[None]:
    """A store that cannot be opened or written, and a folder that takes no file, in one message."""
    try:
        yield
    except (StoreError, OSError) as error:
        hint = error.hint if isinstance(error, StoreError) else FREE_SPACE
        raise UsageError(f"the data folder {folder} cannot be used: {error}", hint) from error


class _Announcing(uvicorn.Server):
    """Leaves the note when it listens, and takes it away when it stops taking requests."""

    def __init__(self, config: uvicorn.Config, note: Server, app: Starlette) -> None:
        super().__init__(config)
        self._note = note
        self._app = app

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._app.state.ending = True  # from here on it is no backend that a command could rely on
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._watch = asyncio.create_task(connections.watch(self.server_state.connections))
            home.write_server(self._note)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        current = home.read_server()
        if current is not None and current.pid == self._note.pid:
            home.server_file().unlink(missing_ok=True)
        await super().shutdown(sockets)


def _run(app: Starlette, listener: socket.socket, note: Server) -> None:
    config = uvicorn.Config(
        app,
        http=connections.protocol(connections.allowed_connections()),
        access_log=False,
        log_level="warning",
        server_header=False,
        ws="none",
        timeout_keep_alive=75,  # longer than the client's pauses between two reports
        timeout_graceful_shutdown=_GRACE,
        proxy_headers=False,
    )
    _Announcing(config, note, app).run(sockets=[listener])


@contextlib.contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Hold the folder. The lock is the kernel's: it ends with the process, however that dies, so it is never stale."""
    with home.opened_privately(folder / "lock", "a+") as file:
        deadline = time.monotonic() + _LOCK_PATIENCE
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise UsageError(*_in_use(folder)) from None
                time.sleep(0.05)
        with contextlib.suppress(OSError):  # a full disk is told by the store
            file.truncate(0)
            file.write(str(os.getpid()))  # for `serve --stop`, should the note be lost
            file.flush()
        yield


def _in_use(folder: Path) -> tuple[str, str]:
    note = home.read_server()
    who = f" at {note.url} (process {note.pid})" if note else ""
    return f"another backend{who} uses the data folder {folder}", "stop it with `sweepkit serve --stop`"


def _listening(port: int | None, folder: Path) -> socket.socket:
    """A socket that listens; the port is remembered, so that addresses in notes and browsers stay good."""
    listener = _bound(_remembered(folder)) if port is None else _bound(port)
    if listener is None and port is None:
        listener = _bound(0)
    if listener is None:
        who = _taken_by(port or 0)
        raise UsageError(f"port {port} is taken{who}", "choose another with --port, or 0 for any free one")
    listener.listen(512)
    with contextlib.suppress(OSError):  # a full disk is told by the store
        (folder / "port").write_text(str(listener.getsockname()[1]), encoding="ascii")
    return listener


def _bound(port: int) -> socket.socket | None:
    if not 0 <= port < 65536:
        raise UsageError(f"{port} is no port", "ports are 1 to 65535, and 0 for any free one")
    # The protocol must be named: asyncio turns Nagle's algorithm off only for sockets that say they are TCP, and with
    # it on, an answer of two packets waits 40 ms for the other side's delayed acknowledgement.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((ADDRESS, port))
    except PermissionError:
        listener.close()
        raise UsageError(f"port {port} needs more rights", "choose one above 1023, or 0 for any free one") from None
    except OSError:
        listener.close()
        return None
    return listener


def _remembered(folder: Path) -> int:
    try:
        port = int((folder / "port").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0
    return port if 1024 <= port < 65536 else 0


def _taken_by(port: int) -> str:
    """Who listens there, as far as this user may see it."""
    try:
        for connection in psutil.net_connections("tcp"):
            local = connection.laddr[1] if connection.laddr else None
            if connection.status == psutil.CONN_LISTEN and local == port and connection.pid:
                return f" by process {connection.pid} ({psutil.Process(connection.pid).name()})"
    except (psutil.Error, OSError):
        pass
    return ""


def account(folder: Path) -> tuple[str, str]:
    """The owner's name and key, made at the first start and kept in the folder (0600)."""
    file = folder / "account.json"
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        return str(kept["entity"]), str(kept["key"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    name, key = users.default_name(), secrets.token_hex(20)  # the client wants at least 40 characters
    draft = file.with_suffix(f".{os.getpid()}.tmp")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
            json.dump({"entity": name, "key": key}, out)
        draft.replace(file)
    except OSError as error:
        raise UsageError(f"the data folder {folder} cannot be written: {error.strerror}", FREE_SPACE) from error
    return name, key


def refuse_network_folder(folder: Path) -> None:
    """Raise UsageError for a folder that lies on another machine, where the store would be damaged."""
    kind = file_system(folder)
    if kind in _NETWORK and not os.environ.get(NETWORK_VARIABLE):
        raise UsageError(
            f"the data folder {folder} lies on a network file system ({kind}), where SQLite cannot keep its promises",
            f"set SWEEPKIT_HOME to a folder on a local disk (or {NETWORK_VARIABLE}=1, if only this machine uses it)",
        )


def file_system(folder: Path) -> str:
    """The kind of file system that holds a folder, as the kernel names it; empty when that is not known."""
    best, kind = "", ""
    real = str(folder.resolve())
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    for mount in mounts:
        fields = mount.split(" ")
        point = fields[1].replace("\\040", " ") if len(fields) > 2 else ""
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if point and inside and len(point) >= len(best):
            best, kind = point, fields[2]
    return kind
