"""A full disk and a folder that cannot be written: told, waited for by clients, and nothing acknowledged is lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

Make = Callable[..., Any]
ON_A_SMALL_DISK = 'set -e; mount -t tmpfs -o size=12m none "$1"; exec "$2" "$3" "$1"'
SCRIPT = """
import json, os, subprocess, sys, time
from pathlib import Path
import requests
from sweepkit.backend import daemon
from sweepkit.backend.backup import client
from sweepkit.errors import SweepkitError, UsageError

disk = Path(sys.argv[1])
os.environ["SWEEPKIT_HOME"] = str(disk / "home")
server = daemon.start()
auth = ("api", server.key)
kept = 0

def upsert(name):
    query = "mutation ($i: UpsertBucketInput!) { upsertBucket(input: $i) { bucket { id } } }"
    body = {"query": query, "variables": {"i": {"modelName": "p", "name": name}}}
    return requests.post(server.url + "/graphql", json=body, auth=auth)

def stream(line):
    row = json.dumps({"_step": line, "x": "x" * 5000})
    body = {"files": {"wandb-history.jsonl": {"offset": line, "content": [row]}}}
    return requests.post(f"{server.url}/files/{server.entity}/p/r/file_stream", json=body, auth=auth)

def put(name, content=b"y" * 100000):
    return requests.put(f"{server.url}/files/{server.entity}/p/r/{name}", data=content, auth=auth)

def told(work):
    try:
        work()
    except SweepkitError as error:
        return f"{error.message} {error.hint}"
    return "nothing"

assert upsert("r").status_code == 200
assert put("goes.bin").status_code == 204
for kept in range(5):
    assert stream(kept).status_code == 200
user = subprocess.Popen([sys.executable, "-c", '''if True:
    import sys, wandb
    run = wandb.init(project="p", id="client")
    run.log({"x": 0}); print("begun", flush=True)
    sys.stdin.readline()
    for n in range(1, 30):
        run.log({"x": n})
    run.finish()
'''], env={**os.environ, "WANDB_BASE_URL": server.url, "WANDB_API_KEY": server.key, "WANDB_SILENT": "true",
           "WANDB_DIR": "/tmp"}, stdin=-1, stdout=-1, text=True)
assert user.stdout.readline() == "begun\\n"
time.sleep(1)
# A deleted file, whose content is loose while there is room yet to say so.
find = '{ project(name: "p") { run(name: "r") { files { edges { node { id } } } } } }'
answer = requests.post(server.url + "/graphql", auth=auth, json={"query": find}).json()
ids = [edge["node"]["id"] for edge in answer["data"]["project"]["run"]["files"]["edges"]]
remove = {"query": "mutation ($f: [ID!]!) { deleteFiles(input: {files: $f}) { success } }", "variables": {"f": ids}}
assert requests.post(server.url + "/graphql", auth=auth, json=remove).json()["data"]["deleteFiles"]["success"]

filler = (disk / "filler").open("wb", buffering=0)
try:
    while filler.write(b"z" * 4096):
        pass
except OSError:
    pass
while (answer := stream(kept + 1)).status_code == 200:
    kept += 1
assert answer.status_code == 503 and "could not be written" in answer.json()["error"], answer.text
assert put("large.bin", b"z" * 2000000).status_code == 507
print("backup:", told(lambda: client.save(server, Path("/tmp/durable-never.tar"), force=False)))
assert requests.get(server.url + "/healthz", auth=auth).status_code == 200
answer = requests.post(server.url + "/admin/gc", auth=auth)  # frees what it can on a disk without room
assert answer.status_code == 200 and answer.json()["bytes"] == 100000, answer.text
try:
    while filler.write(b"z" * 4096):
        pass
except OSError:
    pass
user.stdin.write("go on\\n"); user.stdin.flush()
time.sleep(3)

print("start:", end=" ")
daemon.stop()
print(told(daemon.start))
os.truncate(disk / "filler", 0)
server = daemon.start()
assert stream(kept + 1).status_code == 200
assert put("large.bin").status_code == 204
assert user.wait(timeout=120) == 0
from contextlib import closing
import sqlite3
with closing(sqlite3.connect(disk / "home" / "store.sqlite3")) as conn:
    assert conn.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    query = "SELECT h.step FROM history h JOIN runs r ON r.id = h.run_id WHERE r.name = ?"
    steps = [row[0] for row in conn.execute(query, ("r",))]
    assert sorted(steps) == list(range(kept + 2)), steps
    assert len(conn.execute(query, ("client",)).fetchall()) == 30
    assert conn.execute("SELECT state FROM runs WHERE name = 'client'").fetchone()[0] == "finished"
daemon.stop()
print("all is there")
"""


def _missing(what: str) -> None:
    """A developer's machine may be without it, CI may not."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(what)


def test_all_goes_on_when_there_is_room_again(tmp_path: Path) -> None:
    disk, script = tmp_path / "disk", tmp_path / "script.py"
    disk.mkdir()
    script.write_text(SCRIPT.replace("/tmp/durable-never.tar", str(tmp_path / "b.tar")))
    command = ["unshare", "-rm", "sh", "-c", ON_A_SMALL_DISK, "sh", str(disk), sys.executable, str(script)]
    try:
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200)
    except FileNotFoundError:
        _missing("needs unshare, which mounts a small disk without rights")
    if "unshare" in done.stderr or "mount:" in done.stderr:
        _missing(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stdout + done.stderr
    said = dict(line.split(": ", 1) for line in done.stdout.splitlines() if ": " in line)
    assert "full" in said["backup"] and not (tmp_path / "b.tar").exists()
    assert said["start"] == "nothing" or "free some disk space" in said["start"]
    assert done.stdout.endswith("all is there\n")


def test_a_folder_that_becomes_read_only_is_told_and_waited_for(tmp_path: Path) -> None:
    home = tmp_path / "home"
    command = [sys.executable, "-m", "sweepkit.backend", "--home", str(home), "--port", "0"]
    if os.geteuid() == 0:  # root writes everywhere, unless it gives that up
        if shutil.which("setpriv") is None:
            _missing("needs setpriv, to take root's right to write everywhere away")
        command = ["setpriv", "--bounding-set=-dac_override", *command]
    import json

    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 30
        while not (home / "server.json").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        note = json.loads((home / "server.json").read_text())
        auth, url = ("api", note["key"]), note["url"]
        query = 'mutation { upsertBucket(input: {modelName: "p", name: "r"}) { bucket { id } } }'
        assert requests.post(f"{url}/graphql", json={"query": query}, auth=auth, timeout=30).status_code == 200
        address = f"{url}/files/{note['entity']}/p/r/f.txt"
        (home / "blobs" / "incoming").chmod(0o500)
        answer = requests.put(address, data="x", auth=auth, timeout=30)
        assert answer.status_code == 503, answer.text
        assert "the data folder cannot be written: Permission denied" in answer.json()["error"]
        (home / "blobs" / "incoming").chmod(0o700)
        assert requests.put(address, data="x", auth=auth, timeout=30).status_code == 204
    finally:
        process.terminate()
        assert "Traceback" not in process.communicate(timeout=30)[1]
