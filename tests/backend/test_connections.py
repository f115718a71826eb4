"""Clients that are slow, silent or too many, over real sockets: they are cut off, and everybody else is served.

The backend runs with short deadlines, so that the tests need not wait for minutes.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
import requests
from sweepkit.backend import connections

MOST = 60
DEADLINES = f"""
import sys
from sweepkit.backend import connections
connections.HEAD_SECONDS, connections.BODY_SECONDS, connections.READER_SECONDS = 1.0, 1.0, 1.5
connections.LAST_SECONDS, connections.MOST_CONNECTIONS = 1.0, {MOST}
from sweepkit.backend.__main__ import main
sys.exit(main())
"""
PATIENCE = 8.0  # seconds until a test takes it that nothing happens any more


class Impatient:
    """A backend with short deadlines."""

    def __init__(self, home: Path, log: Path) -> None:
        self.home, self.log = home, log
        with log.open("wb") as out:
            command = [sys.executable, "-c", DEADLINES, "--home", str(home), "--port", "0"]
            self.process = subprocess.Popen(command, stdout=out, stderr=out)
        note = self._note()
        self.url, self.key, self.entity = note["url"], note["key"], note["entity"]
        self.basic = "Basic " + b64encode(f"api:{self.key}".encode()).decode()
        self.pid = self.process.pid

    def _note(self) -> dict[str, Any]:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(OSError, ValueError):
                note: dict[str, Any] = json.loads((self.home / "server.json").read_text())
                return note
            time.sleep(0.02)
        raise AssertionError(self.log.read_text())

    def connect(self) -> socket.socket:
        address = urlsplit(self.url)
        return socket.create_connection((address.hostname or "", address.port or 0), timeout=PATIENCE)

    def head(self, method: str, path: str, *lines: str) -> bytes:
        """The head of a request with the key, to be sent as it is."""
        host = urlsplit(self.url).netloc
        return "\r\n".join(
            [f"{method} {path} HTTP/1.1", f"Host: {host}", f"Authorization: {self.basic}", *lines, "", ""]
        ).encode()

    def answers(self) -> float:
        """Seconds that a new client waits for an answer."""
        started = time.monotonic()
        answer = requests.get(f"{self.url}/healthz", auth=("api", self.key), timeout=PATIENCE)
        assert answer.status_code == 200
        return time.monotonic() - started

    def run_at(self, name: str) -> str:
        """The path of a run's files, after making it."""
        query = f'mutation {{ upsertBucket(input: {{modelName: "slow", name: "{name}"}}) {{ inserted }} }}'
        answer = requests.post(f"{self.url}/graphql", json={"query": query}, auth=("api", self.key), timeout=30)
        assert answer.status_code == 200, answer.text
        return f"/files/{self.entity}/slow/{name}"

    def downloads(self) -> int:
        """How many contents the process holds open."""
        return sum("/blobs/" in file.path for file in psutil.Process(self.pid).open_files())

    def drafts(self) -> list[Path]:
        return list((self.home / "blobs" / "incoming").iterdir())


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Impatient]:
    folder = tmp_path_factory.mktemp("impatient")
    running = Impatient(folder / "home", folder / "log")
    yield running
    running.process.terminate()
    running.process.wait(20)
    assert "Traceback" not in running.log.read_text()  # nothing of all this is news for the log


def _until(done: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if done():
            return True
        time.sleep(0.05)
    return False


def _everything(connection: socket.socket) -> bytes:
    """What the server says until it closes; a reset counts as closing, silence as failure."""
    said = b""
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(65536):
            said += piece
    return said


def _drip(connection: socket.socket, content: bytes) -> None:
    """Send a byte at a time, endlessly, until the server closes."""
    with contextlib.suppress(OSError):
        for n in range(10_000):
            connection.sendall(content[n % len(content) : n % len(content) + 1])
            time.sleep(0.05)


def test_heads_that_never_end_are_cut_off_and_others_are_served(backend: Impatient) -> None:
    slow = [backend.connect() for _ in range(20)]
    for connection in slow:
        connection.sendall(b"POST /graphql HTTP/1.1\r\nX-Slow: ")
        threading.Thread(target=_drip, args=(connection, b"a"), daemon=True).start()
    waits = sorted(backend.answers() for _ in range(20))
    assert waits[18] < 0.5
    for connection in slow:
        with connection:
            assert _everything(connection).startswith(b"HTTP/1.1 408 ")


def test_a_connection_that_says_nothing_is_closed(backend: Impatient) -> None:
    with backend.connect() as connection:
        assert _everything(connection).startswith(b"HTTP/1.1 408 ")


def test_a_second_request_must_come_in_time_too(backend: Impatient) -> None:
    with backend.connect() as connection:
        connection.sendall(backend.head("GET", "/healthz"))
        said = b""
        while not said.endswith(b"}"):
            said += connection.recv(65536)
        assert said.startswith(b"HTTP/1.1 200 ")
        connection.sendall(b"GET /healthz HT")
        assert _everything(connection).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("length", ["Content-Length: 1000000", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("path", ["{run}/file_stream", "{run}/slow.bin", "/graphql"])
def test_bodies_that_stop_coming_are_given_up(backend: Impatient, path: str, length: str) -> None:
    path = path.format(run=backend.run_at("slow"))
    with backend.connect() as connection:
        connection.sendall(backend.head("PUT" if path.endswith(".bin") else "POST", path, length))
        connection.sendall(b"5\r\nhello\r\n" if "chunked" in length else b"hello")
        assert _everything(connection).startswith(b"HTTP/1.1 408 ")
    assert _until(lambda: not backend.drafts())
    assert requests.get(f"{backend.url}{path}", auth=("api", backend.key), timeout=30).status_code != 200


def test_a_body_by_single_bytes_is_given_up(backend: Impatient) -> None:
    with backend.connect() as connection:
        connection.sendall(backend.head("PUT", backend.run_at("drip") + "/f", "Content-Length: 100000"))
        threading.Thread(target=_drip, args=(connection, b"x"), daemon=True).start()
        assert _everything(connection).startswith(b"HTTP/1.1 408 ")


def test_a_slow_upload_that_goes_on_is_taken(backend: Impatient) -> None:
    """Three times the deadline: 100 KiB at 20 KiB a second."""
    path = backend.run_at("steady") + "/f"
    with backend.connect() as connection:
        connection.sendall(backend.head("PUT", path, "Content-Length: 102400", "Connection: close"))
        for _ in range(20):
            connection.sendall(b"x" * 5120)
            time.sleep(0.2)
        assert _everything(connection).startswith(b"HTTP/1.1 204 ")
    assert len(requests.get(backend.url + path, auth=("api", backend.key), timeout=30).content) == 102400


def test_a_refused_body_is_not_read_for_ever(backend: Impatient) -> None:
    """The refusal comes at once; what goes on coming afterwards is not taken for long."""
    with backend.connect() as connection:
        host = urlsplit(backend.url).netloc
        connection.sendall(f"PUT /files/a/b/c/d HTTP/1.1\r\nHost: {host}\r\nContent-Length: 900000\r\n\r\n".encode())
        threading.Thread(target=_drip, args=(connection, b"x"), daemon=True).start()
        assert _everything(connection).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize(
    "cut",
    [
        lambda connection: connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"),  # a reset
        lambda connection: None,
    ],
)
def test_an_aborted_upload_leaves_nothing(backend: Impatient, cut: Callable[[socket.socket], None]) -> None:
    path = backend.run_at("aborted") + "/f"
    for length in ("Content-Length: 10000000", "Transfer-Encoding: chunked"):
        connection = backend.connect()
        connection.sendall(
            backend.head("PUT", path, length) + (b"fff\r\n" if "chunked" in length else b"") + b"x" * 4000
        )
        assert _until(lambda: len(backend.drafts()) == 1)
        cut(connection)
        connection.close()
        assert _until(lambda: not backend.drafts())
    assert requests.get(backend.url + path, auth=("api", backend.key), timeout=30).status_code == 404


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"Content-Length: -5\r\n\r\nhello",
        b"Content-Length: 5\r\nTransfer-Encoding: identity\r\n\r\nhello",
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n",
        b"X: " + b"y" * 2_000_000 + b"\r\n\r\n",
        b"A: b\r\n" * 300_000 + b"\r\n",
        b"Bad Header\r\n\r\n",
        b"X: a\x00b\r\n\r\n",
    ],
)
def test_wrong_framing_is_refused_and_nothing_is_kept(backend: Impatient, framing: bytes) -> None:
    path = backend.run_at("framing") + "/f"
    with backend.connect() as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(backend.head("PUT", path)[:-2] + framing)
        said = _everything(connection)
        assert said == b"" or said.split(b" ")[1] in {b"400", b"408", b"501"}, said
        assert said == b"" or b"x-content-type-options: nosniff" in said.lower()
    assert _until(lambda: not backend.drafts())
    assert requests.get(backend.url + path, auth=("api", backend.key), timeout=30).status_code == 404


def test_a_chunked_upload_without_a_length_is_whole(backend: Impatient) -> None:
    path = backend.run_at("chunked") + "/f"
    pieces = [b"a" * 70_000, b"b", b"c" * 5000]
    answer = requests.put(backend.url + path, data=iter(pieces), auth=("api", backend.key), timeout=30)
    assert answer.status_code == 204
    assert requests.get(backend.url + path, auth=("api", backend.key), timeout=30).content == b"".join(pieces)


def test_a_reader_that_never_reads_is_dropped(backend: Impatient) -> None:
    path = backend.run_at("big") + "/big.bin"
    content = os.urandom(1 << 20) * 24
    assert requests.put(backend.url + path, data=content, auth=("api", backend.key), timeout=60).status_code == 204
    readers = [backend.connect() for _ in range(10)]
    for connection in readers:
        connection.sendall(backend.head("GET", path))
    assert _until(lambda: backend.downloads() == 10)
    assert max(backend.answers() for _ in range(10)) < 0.5
    assert _until(lambda: backend.downloads() == 0)
    for connection in readers:
        with connection:
            assert len(_everything(connection)) < len(content)


def test_thousands_of_idle_connections_shut_nobody_out(backend: Impatient) -> None:
    """The cap of this backend is small; ten times as many connections come."""
    server = psutil.Process(backend.pid)
    idle: list[socket.socket] = []
    waits = []
    for n in range(10 * MOST):
        idle.append(backend.connect())
        if n % 100 == 99:
            waits.append(backend.answers())
    assert max(waits) < 1.0
    assert len(server.net_connections("tcp")) <= MOST + 10
    for connection in idle:
        connection.close()


def test_an_upload_at_work_outlives_a_flood(backend: Impatient) -> None:
    """Those who have been silent the longest make room, not those who send."""
    path = backend.run_at("working") + "/f"
    with backend.connect() as connection:
        connection.sendall(backend.head("PUT", path, f"Content-Length: {40 * 5000}", "Connection: close"))
        flood: list[socket.socket] = []
        for _ in range(40):
            connection.sendall(b"x" * 5000)
            flood += [backend.connect() for _ in range(5)]
            time.sleep(0.02)
        assert _everything(connection).startswith(b"HTTP/1.1 204 ")
    for other in flood:
        other.close()


def test_many_small_uploads_at_once_are_all_kept(backend: Impatient) -> None:
    """More at the same time than there may be connections: each succeeds, or is cut off and sent again."""
    base = backend.run_at("many")
    kept = []

    def put(n: int) -> None:
        with requests.Session() as session:
            for _ in range(20):
                with contextlib.suppress(requests.ConnectionError):
                    url = f"{backend.url}{base}/f{n}"
                    if session.put(url, data=b"%d" % n, auth=("api", backend.key), timeout=30).status_code == 204:
                        kept.append(n)
                        return

    threads = [threading.Thread(target=put, args=(n,)) for n in range(2 * MOST)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(kept) == list(range(2 * MOST))
    assert not backend.drafts()
    assert psutil.Process(backend.pid).memory_info().rss < 1 << 29


def test_the_real_deadlines_fit_the_client() -> None:
    """wandb-core waits up to 30 s between two reports on one connection, and sends a request as fast as it can."""
    assert connections.HEAD_SECONDS >= 10 and connections.BODY_SECONDS >= 20 and connections.READER_SECONDS >= 30
    assert 16 <= connections.allowed_connections() <= connections.MOST_CONNECTIONS
