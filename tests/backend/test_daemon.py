"""Starting, finding and stopping the backend: races, stale notes, taken ports, folders that cannot be used."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from sweepkit import home
from sweepkit.backend import daemon, process
from sweepkit.errors import SweepkitError, UsageError
from sweepkit.home import Server

START = "from sweepkit.backend import daemon; s = daemon.start(); print(s.url, s.pid)"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A data folder of this test's own; no backend is left behind."""
    monkeypatch.setenv("SWEEPKIT_HOME", str(tmp_path / "home"))
    yield tmp_path / "home"
    daemon.stop()


def test_start_find_and_stop(folder: Path) -> None:
    assert daemon.find() is None
    begun = time.monotonic()
    server = daemon.start()
    assert time.monotonic() - begun < 10
    assert daemon.start() == daemon.find() == server
    assert daemon.start(0) == server
    for name in ("server.json", "account.json", "secret", "server.log"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600, name
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert len(server.key) >= 40
    assert daemon.stop()
    assert daemon.find() is None and not psutil.pid_exists(server.pid)
    assert not daemon.stop()
    again = daemon.start()
    assert (again.key, again.url) == (server.key, server.url)  # notes and browsers keep their addresses


def test_many_starts_at_once_end_with_one_backend(folder: Path) -> None:
    def start(_: int) -> str:
        done = subprocess.run([sys.executable, "-c", START], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(start, range(4)))) == 1


def test_a_start_does_not_take_a_backend_that_is_about_to_end(folder: Path) -> None:
    """A restore that is killed has told the old backend to stop, and nobody else knows of it."""
    for _ in range(5):
        before = daemon.start()
        os.kill(before.pid, signal.SIGTERM)
        after = daemon.start()
        assert after.pid != before.pid
        assert daemon.healthy(after) and daemon.find() == after


def test_notes_and_locks_of_the_dead_block_nothing(folder: Path) -> None:
    folder.mkdir()
    unused = subprocess.Popen([sys.executable, "-c", ""])
    unused.wait()
    for url, pid in (("http://127.0.0.1:1", unused.pid), ("http://127.0.0.1:1", os.getpid()), ("nonsense", 1)):
        home.write_server(Server(url, "k" * 40, "e", pid))
        assert daemon.find() is None
        assert not daemon.stop()
    (folder / "lock").write_text("")
    (folder / "start.lock").write_text("")
    (folder / "port").write_text("nonsense")
    server = daemon.start()
    psutil.Process(server.pid).kill()
    psutil.wait_procs([psutil.Process(server.pid)] if psutil.pid_exists(server.pid) else [], timeout=10)
    assert daemon.find() is None
    assert daemon.start().pid != server.pid


@pytest.mark.parametrize("note", ["{", None])
def test_a_backend_whose_note_was_lost_is_stopped_all_the_same(folder: Path, note: str | None) -> None:
    server = daemon.start()
    (folder / "server.json").unlink()
    if note is not None:
        (folder / "server.json").write_text(note)
    assert daemon.find() is None
    with pytest.raises(UsageError, match="another backend uses the data folder") as refused:
        daemon.start()
    assert "sweepkit serve --stop" in str(refused.value.hint)
    assert daemon.stop()
    assert not psutil.pid_exists(server.pid)


def test_another_process_at_the_remembered_address_is_not_taken_for_ours(folder: Path) -> None:
    server = daemon.start()
    note = json.loads((folder / "server.json").read_text())
    assert daemon.healthy(server)
    assert not daemon.healthy(Server(note["url"], "0" * 40, note["entity"], note["pid"]))
    assert not daemon.healthy(Server(note["url"], note["key"], note["entity"], note["pid"] + 1))


def test_a_taken_port_is_told_with_who_has_it(folder: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port} is taken") as caught:
            daemon.start(port)
        assert "--port" in (caught.value.hint or "")
        assert str(os.getpid()) in caught.value.message
        folder.mkdir(exist_ok=True)
        (folder / "port").write_text(str(port))
        assert not daemon.start().url.endswith(f":{port}")  # the port of last time is only a wish


def test_answers_do_not_wait_for_delayed_acknowledgements(tmp_path: Path) -> None:
    """With Nagle's algorithm on, each request over a connection that is kept takes 40 ms."""

    async def accepted() -> int:
        found: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connected = writer.get_extra_info("socket")
            found.set_result(connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        listener = process._listening(0, tmp_path)
        async with await asyncio.start_server(note, sock=listener):
            await asyncio.open_connection(*listener.getsockname())
            return await asyncio.wait_for(found, 10)

    assert asyncio.run(accepted())


def test_another_port_than_the_running_one_is_told(folder: Path) -> None:
    server = daemon.start()
    with pytest.raises(UsageError, match=server.url):
        daemon.start(int(server.url.rsplit(":", 1)[1]) - 1)


def test_a_second_server_on_the_folder_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = daemon.start()
    monkeypatch.setattr(process, "_LOCK_PATIENCE", 0.1)
    with pytest.raises(UsageError, match=str(server.pid)):
        process.serve(0)


def test_a_folder_that_is_no_folder_or_not_writable(folder: Path, tmp_path: Path) -> None:
    folder.write_text("a file")
    with pytest.raises(UsageError) as caught:
        daemon.start()
    assert "SWEEPKIT_HOME" in (caught.value.hint or "")
    folder.unlink()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(UsageError, match="cannot make"):
        patch.setenv("SWEEPKIT_HOME", "/proc/no-room-here")
        daemon.start()


def test_a_folder_without_write_permission(folder: Path) -> None:
    folder.mkdir(mode=0o500)
    command = [sys.executable, "-m", "sweepkit.backend"]
    if os.geteuid() == 0:  # root writes everywhere, unless it gives that up
        if shutil.which("setpriv") is None:
            pytest.skip("needs setpriv, to take root's right to write everywhere away")
        command = ["setpriv", "--bounding-set=-dac_override", *command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    folder.chmod(0o700)
    assert done.returncode == UsageError.exit_code, done.stderr
    assert done.stderr.startswith(f"error: the data folder {folder} is not writable\nhint: ")
    assert "Traceback" not in done.stderr


def test_a_store_that_is_none_is_told_in_one_message(folder: Path) -> None:
    folder.mkdir()
    (folder / "store.sqlite3").write_bytes(b"not a database, but long enough to be read as one" * 100)
    with pytest.raises(UsageError, match="cannot be used") as caught:
        daemon.start()
    assert "\n" not in caught.value.message
    assert "Traceback" not in (folder / "server.log").read_text()


FULL_DISK = """
set -e
mount -t tmpfs -o size=400k none "$1"
exec "$2" -c '
from sweepkit.backend import daemon
from sweepkit.errors import SweepkitError
try:
    server = daemon.start()
    import requests
    query = "mutation { upsertBucket(input: {modelName: \\"p\\", name: \\"r\\"}) { bucket { id } } }"
    auth = ("api", server.key)
    statuses = set()
    answer = requests.post(server.url + "/graphql", json={"query": query}, auth=auth)
    statuses.add(answer.status_code)
    for n in range(60):
        body = {"files": {"output.log": {"offset": n, "content": ["x" * 20000]}}}
        answer = requests.post(f"{server.url}/files/{server.entity}/p/r/file_stream", json=body, auth=auth)
        statuses.add(answer.status_code)
    print(sorted(statuses), answer.json()["error"])
    print(requests.get(server.url + "/healthz", auth=auth).status_code)
    daemon.stop()
except SweepkitError as error:
    print("told:", error.message, error.hint)
'
"""


@pytest.mark.parametrize("room", ["400k", "1500k"])
def test_a_full_disk_is_told_and_the_client_is_asked_to_try_again(tmp_path: Path, room: str) -> None:
    (tmp_path / "small").mkdir()
    script = FULL_DISK.replace("400k", room)
    command = ["unshare", "-rm", "sh", "-c", script, "sh", str(tmp_path / "small"), sys.executable]
    environment = {**os.environ, "SWEEPKIT_HOME": str(tmp_path / "small" / "home")}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    except FileNotFoundError:
        pytest.skip("needs unshare, which mounts a small disk without rights")
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
    if "told:" in done.stdout:
        assert "free some disk space" in done.stdout
    else:
        assert "503" in done.stdout and "could not be written" in done.stdout
        assert done.stdout.strip().endswith("200")


def test_network_folders_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert process.file_system(Path("/proc")) in {"proc", ""}
    process.refuse_network_folder(tmp_path)
    monkeypatch.setattr(process, "file_system", lambda folder: "nfs4")
    with pytest.raises(UsageError, match="network file system") as caught:
        process.refuse_network_folder(tmp_path)
    assert "SWEEPKIT_HOME" in (caught.value.hint or "")


def test_a_log_in_address_needs_a_running_backend(folder: Path) -> None:
    with pytest.raises(SweepkitError, match="no backend"):
        daemon.login_url("/")
    server = daemon.start()
    assert daemon.login_url("/e/p?x=1&y").startswith(f"{server.url}/login?token=")
    assert "x%3D1%26y" in daemon.login_url("/e/p?x=1&y")


def test_memory_of_a_fresh_server(folder: Path) -> None:
    server = daemon.start()
    assert psutil.Process(server.pid).memory_info().rss < 150 * 2**20
