"""Artifacts whose manifests are made to leave the folder they are downloaded to, to lie, or to exhaust the server."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
import requests

Ask = Callable[..., dict[str, Any]]
CONTENT = b"the content"
MD5 = base64.b64encode(hashlib.md5(CONTENT).digest()).decode()
CREATE = """mutation ($e: String!, $name: String!) { createArtifact(input: {entityName: $e, projectName: "hostile",
    artifactTypeName: "dataset", artifactCollectionName: $name, digest: "d", enableDigestDeduplication: false
    }) { artifact { id } } }"""
FILES = """mutation ($id: ID!, $md5: String!) { createArtifactFiles(input: {artifactFiles: [
    {artifactID: $id, name: "f", md5: $md5}]}) { files { edges { node { uploadUrl } } } } }"""
MANIFEST = """mutation ($e: String!, $id: ID!) { createArtifactManifest(input: {artifactID: $id, name: "m", digest: "",
    entityName: $e, projectName: "hostile", runName: "r"}) { artifactManifest { file { uploadUrl } } } }"""
COMMIT = """mutation ($id: ID!) { commitArtifact(input: {artifactID: $id}) { artifact { state size files { edges {
    node { name sizeBytes md5 url } } } } } }"""


class Maker:
    """Commits versions with whatever manifest it is given."""

    def __init__(self, server: Any, ask: Ask) -> None:
        self.entity, self.ask = server.entity, ask

    def begin(self) -> str:
        artifact = str(self.ask(CREATE, e=self.entity, name="a")["data"]["createArtifact"]["artifact"]["id"])
        node = self.ask(FILES, id=artifact, md5=MD5)["data"]["createArtifactFiles"]["files"]["edges"][0]["node"]
        if node["uploadUrl"]:
            requests.put(node["uploadUrl"], data=CONTENT, timeout=30).raise_for_status()
        return artifact

    def upload(self, artifact: str, manifest: Any) -> requests.Response:
        made = self.ask(MANIFEST, e=self.entity, id=artifact)["data"]["createArtifactManifest"]
        body = json.dumps(manifest).encode() if isinstance(manifest, dict) else manifest
        return requests.put(made["artifactManifest"]["file"]["uploadUrl"], data=body, timeout=60)

    def commit(self, manifest: Any, status: int = 200) -> dict[str, Any]:
        artifact = self.begin()
        self.upload(artifact, manifest).raise_for_status()
        return self.ask(COMMIT, status=status, id=artifact)


@pytest.fixture
def maker(server: Any, ask: Ask) -> Maker:
    return Maker(server, ask)


def _of(name: str, **entry: Any) -> dict[str, Any]:
    return {"version": 1, "contents": {name: {"digest": MD5, "size": len(CONTENT), **entry}}}


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "../../../../home/someone/.ssh/authorized_keys",
        "a/../../x",
        "/etc/cron.d/x",
        "//server/share/x",
        "\\\\server\\share\\x",
        "..\\..\\x",
        "a\\..\\..\\x",
        "C:\\Windows\\x",
        "c:/x",
        "a\x00b",
        "",
        ".",
        "..",
        "x" * 5000,
        "a\ud800",
    ],
)
def test_a_name_that_would_leave_the_folder_is_refused_at_the_commit(maker: Maker, name: str) -> None:
    answer = maker.commit(_of(name), status=400)
    assert "cannot be the name" in answer["errors"][0]["message"] or "Unicode" in answer["errors"][0]["message"]
    assert maker.commit({"version": 1, "contents": {}})["data"]["commitArtifact"]["artifact"]["files"]["edges"] == []
    reference = {"version": 1, "contents": {name: {"digest": "x", "ref": "s3://bucket/x", "size": 1}}}
    maker.commit(reference, status=400)


@pytest.mark.parametrize(
    "name", ["ａ／．．／b", "‥/x", "a:b", "con", "-rf", "a b\tc", "e\u0301", "x.tar.gz/y", "~/x", "$HOME"]
)
def test_other_odd_names_are_kept_as_they_are(maker: Maker, name: str) -> None:
    (edge,) = maker.commit(_of(name))["data"]["commitArtifact"]["artifact"]["files"]["edges"]
    assert edge["node"]["name"] == name
    answer = requests.get(edge["node"]["url"], timeout=30)
    assert answer.content == CONTENT
    assert answer.headers["content-disposition"].startswith("attachment")


def test_names_that_differ_by_case_or_by_form_are_different_files(maker: Maker) -> None:
    names = ["a", "A", "\u00e9", "e\u0301"]
    contents = {name: {"digest": MD5, "size": 1} for name in names}
    edges = maker.commit({"version": 1, "contents": contents})["data"]["commitArtifact"]["artifact"]["files"]["edges"]
    assert sorted(edge["node"]["name"] for edge in edges) == sorted(names)


def test_a_size_that_lies_is_not_believed(maker: Maker) -> None:
    for size in (0, -1, 10**30, "x", None, 1e308):
        artifact = maker.commit(_of("f", size=size))["data"]["commitArtifact"]["artifact"]
        assert artifact["size"] == len(CONTENT)
        assert artifact["files"]["edges"][0]["node"]["sizeBytes"] == len(CONTENT)
    references = {f"r{n}": {"digest": "x", "ref": "s3://b/x", "size": 2**62} for n in range(8)}
    assert maker.commit({"version": 1, "contents": references})["data"]["commitArtifact"]["artifact"]["size"] >= 0


@pytest.mark.parametrize("digest", ["1B2M2Y8AsgTpgAmY7PhCfg==", "", "x", "../../x", "A" * 100_000, 5, None, ["x"]])
def test_an_md5_that_lies_is_refused(maker: Maker, digest: Any) -> None:
    maker.commit(_of("f", digest=digest), status=400)


@pytest.mark.parametrize(
    "manifest",
    [
        b"",
        b"no JSON",
        b"[]",
        b"null",
        b'{"contents": []}',
        b'{"contents": {"a": 5}}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"contents": {"a": {"digest": 5}}}',
        b'{"contents": {"a": {"digest": "x", "birthArtifactID": "QXJ0aWZhY3Q6djE6OTk5OTk5OTk5OTk5OTk5OTk5OTk5OQ=="}}}',
    ],
)
def test_a_manifest_that_is_none_is_refused(maker: Maker, manifest: bytes) -> None:
    assert maker.commit(manifest, status=400)["errors"]


def test_a_manifest_too_large_to_be_read_is_not_taken(maker: Maker) -> None:
    def endless() -> Any:
        for _ in range(300):
            yield b" " * (1 << 20)

    artifact = maker.begin()
    with contextlib.suppress(requests.ConnectionError):  # cut off while it was still sending
        assert maker.upload(artifact, endless()).status_code == 413
    assert maker.ask(COMMIT, status=400, id=artifact)["errors"]
