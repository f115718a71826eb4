"""A run's files: up, listed, down, deleted; served so that a browser runs none of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests

Make = Callable[..., Any]
CREATE = """mutation ($e: String, $r: String!, $files: [String!]!) { createRunFiles(input: {entityName: $e,
    projectName: "files", runName: $r, files: $files}) { runID uploadHeaders files { name uploadUrl } } }"""
LIST = """query ($r: String!, $names: [String], $pattern: String, $upload: Boolean) {
    project(name: "files") { run(name: $r) { fileCount files(names: $names, pattern: $pattern) { edges { node {
    id name url(upload: $upload) directUrl sizeBytes md5 mimetype } } } } } }"""


def _put(ask: Make, run: str, name: str, content: bytes) -> None:
    answer = ask(CREATE, r=run, files=[name])["data"]["createRunFiles"]["files"][0]
    assert requests.put(answer["uploadUrl"], data=content, timeout=30).status_code == 204


def _listed(ask: Make, run: str, **asked: Any) -> list[dict[str, Any]]:
    edges = ask(LIST, r=run, **asked)["data"]["project"]["run"]["files"]["edges"]
    return [edge["node"] for edge in edges]


def test_the_client_saves_finds_and_loads_files(script: Make) -> None:
    seen = script("""
        import os, pathlib
        pathlib.Path("sub dir").mkdir(); pathlib.Path("sub dir/ü %41.txt").write_text("deep")
        run = wandb.init(project="saving", save_code=True)
        run.save("sub dir/*", policy="now"); run.log({"image": wandb.Image(__import__("numpy").zeros((4, 4, 3)))})
        run.log_code("."); run.finish()
        read = wandb.Api().run(run.path)
        names = [file.name for file in read.files(per_page=2)]
        got = read.file("sub dir/ü %41.txt").download("down", replace=True).read()
        pathlib.Path("up.bin").write_bytes(b"x" * 300000)
        size = read.upload_file("up.bin").size
        read.file("up.bin").delete()
        restored = wandb.restore("config.yaml", run_path="/".join(read.path)) is not None
        print(json.dumps({"names": names, "got": got, "size": size, "after": read.file("up.bin").md5,
                          "restored": restored}))
    """)
    assert {"sub dir/ü %41.txt", "config.yaml", "wandb-metadata.json", "wandb-summary.json"} <= set(seen["names"])
    assert any(name.startswith("media/images/") for name in seen["names"])
    assert len(set(seen["names"])) == len(seen["names"])
    assert (seen["got"], seen["size"], seen["after"], seen["restored"]) == ("deep", 300000, "0", True)


def test_files_are_listed_by_name_and_pattern(ask: Make, upsert: Make) -> None:
    upsert(modelName="files", name="listed")
    for name in ("a.txt", "dir/b.txt", "c.json"):
        _put(ask, "listed", name, name.encode())
    assert [node["name"] for node in _listed(ask, "listed")] == ["a.txt", "c.json", "dir/b.txt"]
    assert [node["name"] for node in _listed(ask, "listed", pattern="%.txt")] == ["a.txt", "dir/b.txt"]
    named = _listed(ask, "listed", names=["c.json", "none"])
    assert [(node["name"], node["sizeBytes"], node["mimetype"]) for node in named][0] == (
        "c.json",
        6,
        "application/json",
    )
    assert (named[1]["md5"], named[1]["sizeBytes"]) == ("0", 0)
    old_form = _listed(ask, "listed", names=["new.txt"], upload=True)[0]["url"]
    assert requests.put(old_form, data=b"n", timeout=30).status_code == 204
    assert requests.get(_listed(ask, "listed", names=["new.txt"])[0]["directUrl"], timeout=30).content == b"n"


def test_an_upload_replaces_and_a_failed_one_does_not(ask: Make, upsert: Make) -> None:
    upsert(modelName="files", name="twice")
    _put(ask, "twice", "f", b"one")
    _put(ask, "twice", "f", b"two")
    node = _listed(ask, "twice")[0]
    assert requests.get(node["url"], timeout=30).content == b"two"
    assert requests.put(node["url"], data=b"three", timeout=30).status_code == 401  # an address for reading
    assert requests.get(node["url"], timeout=30).content == b"two"


@pytest.mark.parametrize("name", ["page.html", "image.svg", "script.js", "data.json", "noext", "a.xml"])
def test_what_could_run_in_a_browser_is_a_download_in_a_sandbox(ask: Make, upsert: Make, name: str) -> None:
    upsert(modelName="files", name="served")
    _put(ask, "served", name, b"<script>alert(1)</script>")
    answer = requests.get(_listed(ask, "served", names=[name])[0]["url"], timeout=30)
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert "allow-" not in answer.headers["content-security-policy"]


def test_parts_of_a_file_are_served(ask: Make, upsert: Make) -> None:
    upsert(modelName="files", name="parts")
    _put(ask, "parts", "f.png", bytes(range(100)))
    url = _listed(ask, "parts")[0]["url"]
    part = requests.get(url, headers={"Range": "bytes=10-19"}, timeout=30)
    assert (part.status_code, part.content) == (206, bytes(range(10, 20)))
    assert requests.head(url, timeout=30).headers["content-length"] == "100"


TRAVERSALS = [
    "../../../../etc/passwd",
    "..%2f..%2f..%2fetc%2fpasswd",
    "%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "..%252f..%252fetc%252fpasswd",
    "....//....//etc/passwd",
    "/etc/passwd",
    "//etc/passwd",
    "%00/etc/passwd",
    "..\\..\\etc\\passwd",
    "..%5c..%5cetc%5cpasswd",
    "file:///etc/passwd",
    "file%3A%2F%2F%2Fetc%2Fpasswd",
    "..;/..;/etc/passwd",
    "%c0%ae%c0%ae/etc/passwd",
    "store.sqlite3",
    "../store.sqlite3",
    "../../account.json",
    "x/../../../../secret",
]


@pytest.mark.parametrize("path", TRAVERSALS)
def test_no_address_reaches_beyond_the_blobs(server: Any, raw: Make, upsert: Make, path: str) -> None:
    upsert(modelName="files", name="safe")
    base = f"/files/{server.entity}/files/safe/"
    status, _, text = raw("GET", base + path)
    assert status in {400, 404} and "root:" not in text and "SQLite" not in text and server.key not in text
    status, _, _ = raw("PUT", base + path, body="overwritten")
    assert status in {204, 400, 404, 405}
    assert (server.home / "store.sqlite3").read_bytes()[:6] == b"SQLite"
    assert server.key in (server.home / "account.json").read_text()


@pytest.mark.parametrize("name", ["../x", "/abs", "a/../b", "a//b", "", "a\\b", "a\x00b", "x" * 3000])
def test_names_that_no_folder_could_hold_are_refused(ask: Make, upsert: Make, name: str) -> None:
    upsert(modelName="files", name="names")
    assert ask(CREATE, status=400, r="names", files=[name])["errors"]


def test_deleting_what_is_not_there_is_told(ask: Make, upsert: Make) -> None:
    upsert(modelName="files", name="deleting")
    _put(ask, "deleting", "f", b"x")
    node = _listed(ask, "deleting")[0]
    query = "mutation ($ids: [ID!]!) { deleteFiles(input: {files: $ids}) { success } }"
    assert ask(query, ids=[node["id"]])["data"]["deleteFiles"]["success"]
    ask(query, status=404, ids=[node["id"]])
    ask(query, status=400, ids=["nonsense"])
    assert requests.get(node["url"], timeout=30).status_code == 404


def test_files_of_a_run_that_is_not_there(ask: Make, server: Any) -> None:
    ask(CREATE, status=404, r="nobody", files=["f"])
    url = f"{server.url}/files/{server.entity}/files/nobody/f"
    assert requests.put(url, data=b"x", auth=("api", server.key), timeout=30).status_code == 404
    mark = """mutation { markRunFilesUploaded(input: {
        projectName: "files", runName: "nobody", files: ["f"]}) { success } }"""
    ask(mark, status=404)
