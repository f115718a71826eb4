"""Uploads and downloads of artifacts over plain HTTP: what is verified, what is refused, files in parts."""

from __future__ import annotations

import base64
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

CREATE = """mutation ($input: CreateArtifactInput!) { createArtifact(input: $input) { artifact { id state } } }"""
FILES = """mutation ($input: CreateArtifactFilesInput!) { createArtifactFiles(input: $input) { files { edges { node {
  storagePath uploadUrl uploadMultipartUrls { uploadID uploadUrlParts { partNumber uploadUrl } } } } } } }"""
MANIFEST = """mutation ($id: ID!, $digest: String!, $entity: String!, $project: String!, $type: ArtifactManifestType) {
  createArtifactManifest(input: {artifactID: $id, name: "wandb_manifest.json", digest: $digest, entityName: $entity,
  projectName: $project, runName: "none", type: $type}) { artifactManifest { id file { uploadUrl } } } }"""
COMMIT = """mutation ($id: ID!) { commitArtifact(input: {artifactID: $id}) { artifact { id digest versionIndex } } }"""
COMPLETE = """mutation ($input: CompleteMultipartUploadArtifactInput!) {
  completeMultipartUploadArtifact(input: $input) { digest } }"""
READ = """query ($id: ID!) { artifact(id: $id) { state size files { edges { node { name directUrl } } } } }"""


def md5(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content).digest()).decode()


class Client:
    """The protocol by hand, for what the real client would never send."""

    def __init__(self, server: Any, project: str) -> None:
        self.server = server
        self.project = project

    def graphql(self, query: str, **variables: Any) -> dict[str, Any]:
        body = {"query": query, "variables": variables}
        answer = requests.post(f"{self.server.url}/graphql", json=body, auth=("api", self.server.key), timeout=30)
        return {"status": answer.status_code, **answer.json()}

    def create(self, name: str, digest: str) -> str:
        given = {
            "entityName": self.server.entity, "projectName": self.project, "artifactTypeName": "dataset",
            "artifactCollectionName": name, "digest": digest, "enableDigestDeduplication": True,
        }  # fmt: skip
        return str(self.graphql(CREATE, input=given)["data"]["createArtifact"]["artifact"]["id"])

    def announce(self, artifact: str, name: str, content: bytes, parts: list[bytes] | None = None) -> dict[str, Any]:
        told = [{"partNumber": n + 1, "hexMD5": hashlib.md5(part).hexdigest()} for n, part in enumerate(parts or [])]
        spec = {"artifactID": artifact, "name": name, "md5": md5(content), "uploadPartsInput": told}
        answer = self.graphql(FILES, input={"artifactFiles": [spec], "storageLayout": "V2"})
        node: dict[str, Any] = answer["data"]["createArtifactFiles"]["files"]["edges"][0]["node"]
        return node

    def manifest(self, artifact: str, contents: dict[str, Any]) -> requests.Response:
        text = json.dumps({"version": 1, "storagePolicyConfig": {"storageLayout": "V2"}, "contents": contents}).encode()
        where = {"entity": self.server.entity, "project": self.project, "type": "FULL"}
        made = self.graphql(MANIFEST, id=artifact, digest=md5(text), **where)
        url = made["data"]["createArtifactManifest"]["artifactManifest"]["file"]["uploadUrl"]
        return requests.put(url, data=text, timeout=30)

    def entry(self, content: bytes) -> dict[str, Any]:
        return {"digest": md5(content), "size": len(content)}


@pytest.fixture
def client(server: Any, request: pytest.FixtureRequest) -> Client:
    return Client(server, request.function.__name__)


def test_an_upload_is_verified_and_a_version_is_never_half_there(client: Client) -> None:
    artifact = client.create("a", "d1")
    url = client.announce(artifact, "f", b"right")["uploadUrl"]
    damaged = requests.put(url, data=b"wrong", timeout=30)
    assert (damaged.status_code, "damaged" in damaged.text) == (400, True)
    assert client.manifest(artifact, {"f": client.entry(b"right")}).ok
    refused = client.graphql(COMMIT, id=artifact)
    assert refused["status"] == 400 and "has not been uploaded" in refused["errors"][0]["message"]
    assert requests.put(url, data=b"right", timeout=30).ok
    assert client.graphql(COMMIT, id=artifact)["data"]["commitArtifact"]["artifact"]["versionIndex"] == 0
    assert client.announce(client.create("b", "d2"), "f", b"right")["uploadUrl"] is None, "it is here already"


def test_downloads_need_a_permission_and_answer_ranges(client: Client) -> None:
    name, content = "etc/passwd <b>.html", b"<script>0123456789</script>"
    artifact = client.create("a", "d1")
    requests.put(client.announce(artifact, name, content)["uploadUrl"], data=content, timeout=30).raise_for_status()
    client.manifest(artifact, {name: client.entry(content)}).raise_for_status()
    client.graphql(COMMIT, id=artifact)
    (edge,) = client.graphql(READ, id=artifact)["data"]["artifact"]["files"]["edges"]
    url = edge["node"]["directUrl"]
    answer = requests.get(url, headers={"Range": "bytes=8-17"}, timeout=30)
    assert (answer.status_code, answer.content) == (206, b"0123456789")
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert edge["node"]["name"] == name
    assert requests.get(url.split("?")[0], timeout=30).status_code == 401
    assert requests.get(url.replace("signature=", "signature=0"), timeout=30).status_code == 401
    assert requests.put(url, data=b"x", timeout=30).status_code in (401, 405)
    hexed = hashlib.md5(content).hexdigest()
    base, auth = f"{client.server.url}/artifactsV2/default/{client.server.entity}", ("api", client.server.key)
    for path in (f"{client.project}/a/{artifact}/birth/{hexed}/f", f"{client.project}/a/birth/{hexed}/f"):
        assert requests.get(f"{base}/{path}", auth=auth, timeout=30).content == content
    old = f"{client.server.url}/artifacts/{client.server.entity}/{hexed}"
    assert requests.get(old, auth=auth, timeout=30).content == content
    assert requests.get(f"{base}/nope/a/birth/{hexed}/f", auth=auth, timeout=30).status_code == 404


def test_a_large_file_comes_in_parts(client: Client) -> None:
    parts = [b"a" * 1000, b"b" * 1000, b"c" * 10]
    content = b"".join(parts)
    artifact = client.create("a", "d1")
    told = client.announce(artifact, "big", content, parts)
    urls = told["uploadMultipartUrls"]
    sent = [
        {
            "partNumber": url["partNumber"],
            "hexMD5": requests.put(url["uploadUrl"], data=part, timeout=30).headers["etag"],
        }
        for url, part in list(zip(urls["uploadUrlParts"], parts, strict=True))[::-1]
    ]
    finish = {
        "completeMultipartAction": "Complete", "artifactID": artifact, "storagePath": told["storagePath"],
        "uploadID": urls["uploadID"],
    }  # fmt: skip
    short = client.graphql(COMPLETE, input={**finish, "completedParts": sent[:2]})
    assert short["status"] == 400, "a part is left out: the whole has another MD5"
    assert client.graphql(COMPLETE, input={**finish, "completedParts": sent})["status"] == 200
    client.manifest(artifact, {"big": client.entry(content)})
    assert client.graphql(COMMIT, id=artifact)["status"] == 200
    (edge,) = client.graphql(READ, id=artifact)["data"]["artifact"]["files"]["edges"]
    assert requests.get(edge["node"]["directUrl"], timeout=30).content == content


def test_versions_that_are_committed_at_once_get_numbers_of_their_own(client: Client) -> None:
    def make(number: int) -> tuple[str, int]:
        artifact = client.create("a", f"digest{number // 2}")  # two of each content
        client.manifest(artifact, {})
        answer = client.graphql(COMMIT, id=artifact)["data"]["commitArtifact"]["artifact"]
        return answer["id"], answer["versionIndex"]

    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(make, range(12)))
    assert sorted(version for _, version in made) == list(range(6))


@pytest.mark.parametrize(
    "contents",
    ["[]", '{"contents": []}', '{"contents": {"f": 1}}', '{"contents": {"f": {"digest": 1}}}', "no JSON"],
)
def test_a_malformed_manifest_is_told(client: Client, contents: str) -> None:
    artifact = client.create("a", contents)
    where = {"entity": client.server.entity, "project": client.project, "type": "FULL"}
    made = client.graphql(MANIFEST, id=artifact, digest=md5(contents.encode()), **where)
    url = made["data"]["createArtifactManifest"]["artifactManifest"]["file"]["uploadUrl"]
    assert requests.put(url, data=contents, timeout=30).ok
    refused = client.graphql(COMMIT, id=artifact)
    assert refused["status"] == 400 and "manifest" in refused["errors"][0]["message"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"artifactCollectionName": "a/b"}, "no artifact name"),
        ({"artifactTypeName": "../x"}, "no artifact type"),
        ({"tags": [{"tagName": "!bad"}]}, "Invalid tag"),
        ({"aliases": [{"artifactCollectionName": "a", "alias": "x:y"}]}, "no alias"),
        ({"metadata": "[1]"}, "JSON object"),
        ({"runName": "nope"}, "no run"),
        ({"storageRegion": "moon"}, "moon"),
    ],
)
def test_what_cannot_be_is_refused(client: Client, change: dict[str, Any], message: str) -> None:
    given = {
        "entityName": client.server.entity, "projectName": "refused", "artifactTypeName": "dataset",
        "artifactCollectionName": "a", "digest": "d", **change,
    }  # fmt: skip
    answer = client.graphql(CREATE, input=given)
    assert answer["status"] in (400, 404) and message in answer["errors"][0]["message"]
