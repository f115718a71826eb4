"""The servers that are compared, each started as its own documentation says, on loopback, with a folder of its own."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests

PEERS = ("mlflow==3.17.*", "trackio==0.43.*")
ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 120


@dataclass(frozen=True)
class Server:
    """One that runs. ``ready`` is how long it took from its start to its first answer, in seconds."""

    name: str
    url: str
    folder: Path
    process: subprocess.Popen[bytes]
    ready: float
    key: str = ""
    entity: str = ""

    @property
    def memory(self) -> float:
        """MiB of its process and all below it; what they share is counted once (PSS)."""
        total = 0
        for process in [main := psutil.Process(self.process.pid), *main.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                total += process.memory_full_info().pss
        return total / 2**20


@dataclass(frozen=True)
class Peers:
    """The environment with the peers."""

    python: Path

    @staticmethod
    def at(folder: Path) -> Peers:
        """The environment in ``folder``, made there if it is not."""
        python = folder / "bin" / "python"
        if not python.exists():
            print(f"Installing {' and '.join(PEERS)} into {folder}; this happens once.", flush=True)
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
            subprocess.run([str(python), "-m", "pip", "install", "-q", *PEERS], check=True)
        return Peers(python)

    @property
    def versions(self) -> dict[str, str]:
        code = "import importlib.metadata as m; print(m.version('mlflow'), m.version('trackio'))"
        said = subprocess.run([str(self.python), "-c", code], check=True, capture_output=True, text=True).stdout.split()
        return dict(zip(("mlflow", "trackio"), said, strict=True))


@contextlib.contextmanager
def sweepkit(folder: Path) -> Iterator[Server]:
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "sweepkit.backend", "--home", str(folder), "--port", "0"]
    note: dict[str, str] = {}

    def answers() -> bool:
        with contextlib.suppress(OSError, ValueError, requests.RequestException):
            note.update(json.loads((folder / "server.json").read_text()))
            return requests.get(f"{note['url']}/healthz", auth=("api", note["key"]), timeout=5).ok
        return False

    with _running(command, folder, {}, answers) as (process, ready):
        yield Server("sweepkit", note["url"], folder, process, ready, note["key"], note["entity"])


@contextlib.contextmanager
def mlflow(folder: Path, peers: Peers) -> Iterator[Server]:
    folder.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    command = [str(peers.python), "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    command += ["--default-artifact-root", str(folder / "artifacts"), "--host", "127.0.0.1", "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    with _running(command, folder, {"MLFLOW_DISABLE_TELEMETRY": "true"}, lambda: _ok(f"{url}/health")) as (
        process,
        ready,
    ):
        yield Server("mlflow", url, folder, process, ready)


@contextlib.contextmanager
def trackio(folder: Path, peers: Peers) -> Iterator[Server]:
    folder.mkdir(parents=True, exist_ok=True)
    port, token = _free_port(), secrets.token_urlsafe(24)
    code = f"import trackio; trackio.show(open_browser=False, block_thread=True, host='127.0.0.1', server_port={port})"
    url = f"http://127.0.0.1:{port}"
    variables = {"TRACKIO_DIR": str(folder), "TRACKIO_WRITE_TOKEN": token, "HF_HUB_OFFLINE": "1"}
    with _running([str(peers.python), "-c", code], folder, variables, lambda: _ok(url)) as (process, ready):
        yield Server("trackio", f"{url}/?write_token={token}", folder, process, ready)


@contextlib.contextmanager
def _running(
    command: list[str], folder: Path, variables: dict[str, str], answers: object
) -> Iterator[tuple[subprocess.Popen[bytes], float]]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB_", "MLFLOW_"))}
    environment |= {"PYTHONPATH": environment.get("PYTHONPATH", ""), "NO_PROXY": "127.0.0.1", **variables}
    log = folder.parent / f"{folder.name}.log"
    began = time.monotonic()
    with log.open("ab") as out:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=out, start_new_session=True)
    try:
        while not answers():  # type: ignore[operator]
            if process.poll() is not None or time.monotonic() - began > START_SECONDS:
                raise SystemExit(f"{' '.join(command[:5])} did not start; {log} ends:\n{log.read_text()[-2000:]}")
            time.sleep(0.01)
        yield process, time.monotonic() - began
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class Highest:
    """The most memory that a server was seen to take while this was open, in MiB."""

    def __init__(self, server: Server) -> None:
        self.memory = server.memory
        self._server = server
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Highest:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.5):
            self.memory = max(self.memory, self._server.memory)


def _ok(url: str) -> bool:
    with contextlib.suppress(requests.RequestException):
        return requests.get(url, timeout=5).ok
    return False


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
