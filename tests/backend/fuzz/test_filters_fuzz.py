"""Filters, orders, patterns and cursors of every listing that has them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from . import values

FUZZ = settings.get_profile("fuzz-7")
LISTINGS = {
    "runs": "runs(filters: $f, order: $o, first: $n, after: $c) { totalCount edges { cursor node { name state } } }",
    "runCount": "runCount(filters: $f)",
    "sweeps": "sweeps(filters: $f, first: $n, after: $c) { totalCount edges { node { name } } }",
    "collections": """artifactCollections(filters: $f, order: $o, first: $n, after: $c) {
        totalCount edges { node { name } } }""",
    "versions": """artifactCollection(name: "model-1") {
        artifactMemberships(filters: $f, order: $o, first: $n, after: $c) { edges { node { versionIndex } } }
        artifacts(filters: $f, order: $o, first: $n, after: $c) { edges { version node { metadata } } } }""",
}
KINDS = {"$f": "JSONString", "$o": "String", "$n": "Int", "$c": "String"}


@pytest.mark.parametrize("listing", LISTINGS)
@FUZZ
@given(
    filters=st.one_of(st.none(), values.FILTER_TEXTS),
    order=st.one_of(st.none(), values.ORDERS),
    first=st.one_of(st.none(), st.integers(-(2**31), 2**31 - 1)),
    cursor=st.one_of(st.none(), values.CURSORS),
)
def test_listings(
    target: Any, listing: str, filters: str | None, order: str | None, first: int | None, cursor: str | None
) -> None:
    fields = LISTINGS[listing]
    declared = ", ".join(f"{name}: {kind}" for name, kind in KINDS.items() if name in fields)
    query = f'query ($e: String, {declared}) {{ project(name: "fuzz", entityName: $e) {{ {fields} }} }}'
    target.graphql(query, {"e": target.entity, "f": filters, "o": order, "n": first, "c": cursor})


@FUZZ
@given(
    pattern=st.one_of(values.TEXTS, values.PATTERNS),
    names=st.lists(st.one_of(st.none(), values.TEXTS), max_size=4),
    cursor=values.CURSORS,
)
def test_file_patterns(target: Any, pattern: str, names: list[str | None], cursor: str) -> None:
    query = """query ($e: String, $p: String, $n: [String], $c: String) { project(name: "fuzz", entityName: $e) {
        run(name: "r1") { files(pattern: $p, names: $n, after: $c) { edges { node { name url } } } } } }"""
    target.graphql(query, {"e": target.entity, "p": pattern, "n": names, "c": cursor})


@FUZZ
@given(manifest=values.MANIFESTS)
def test_manifests(target: Any, manifest: str) -> None:
    """A manifest is taken or refused when its version is committed; each version begins anew."""
    where = {"entityName": target.entity, "projectName": "fuzz", "runName": "r1"}
    made = target.mutate(
        "createArtifact",
        "CreateArtifactInput",
        "artifact { id }",
        artifactTypeName="model",
        artifactCollectionName="manifests",
        digest="d",
        enableDigestDeduplication=False,
        **where,
    )["artifact"]
    announced = target.mutate(
        "createArtifactManifest",
        "CreateArtifactManifestInput",
        "artifactManifest { file { uploadUrl } }",
        artifactID=made["id"],
        name="m",
        digest="",
        **where,
    )["artifactManifest"]
    path = "/artifact-manifests/" + announced["file"]["uploadUrl"].partition("/artifact-manifests/")[2]
    target.send("PUT", path, manifest.encode("utf-8", "surrogatepass"))
    commit = """mutation ($id: ID!) { commitArtifact(input: {artifactID: $id}) { artifact {
        state files { edges { node { name url directUrl storagePath sizeBytes } } } } } }"""
    status, answer = target.graphql(commit, {"id": made["id"]})
    if status == 200 and not answer.get("errors"):
        target.graphql(commit, {"id": made["id"]})
