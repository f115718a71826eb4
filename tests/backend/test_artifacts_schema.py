"""The schema answers every document about artifacts that the installed client sends."""

from __future__ import annotations

import pytest
from graphql import parse, validate
from sweepkit.backend.graphql import schema
from wandb.sdk.artifacts._generated import operations

# Registries belong to organizations, which this server does not have; the client asks only when told to use one.
REGISTRY = {
    "CREATE_REGISTRY_MEMBERS_GQL", "DELETE_REGISTRY_GQL", "DELETE_REGISTRY_MEMBERS_GQL",
    "FETCH_ADVANCED_REGISTRY_FEATURES_GQL", "FETCH_REGISTRIES_GQL", "FETCH_REGISTRY_GQL", "REGISTRY_COLLECTIONS_GQL",
    "REGISTRY_TEAM_MEMBERS_GQL", "REGISTRY_USER_MEMBERS_GQL", "REGISTRY_VERSIONS_GQL", "RENAME_REGISTRY_GQL",
    "UPDATE_TEAM_REGISTRY_ROLE_GQL", "UPDATE_USER_REGISTRY_ROLE_GQL", "UPSERT_REGISTRY_GQL",
}  # fmt: skip

# What the client's Go side sends (its documents are compiled in; these have the same fields).
CORE = {
    "ClientIDMapping": "query ($clientID: ID!) { clientIDMapping(clientID: $clientID) { serverID } }",
    "CommitArtifact": "mutation ($id: ID!) { commitArtifact(input: {artifactID: $id}) { artifact { id digest } } }",
    "CreateArtifact": (
        "mutation ($input: CreateArtifactInput!) { createArtifact(input: $input)"
        " { artifact { id state artifactSequence { id latestArtifact { id versionIndex } } } } }"
    ),
    "CreateArtifactFiles": (
        "mutation ($input: CreateArtifactFilesInput!) { createArtifactFiles(input: $input) { files { edges { node { id"
        " name displayName storagePath uploadUrl uploadHeaders artifact { id }"
        " uploadMultipartUrls { uploadID uploadUrlParts { partNumber uploadUrl } } } } } } }"
    ),
    "FetchArtifactDigestAlgorithm": (
        "query ($entity: String!, $project: String!, $type: String!, $name: String!) { project(name: $project,"
        " entityName: $entity) { artifactType(name: $type) { artifactCollection(name: $name)"
        " { __typename ... on ArtifactSequence { digestAlgorithm } } } } }"
    ),
    "XXHashDigestsEnabled": "query ($name: String!) { entity(name: $name) { xxhashDigestsEnabled } }",
    "CompleteMultipartUploadArtifact": (
        "mutation ($action: CompleteMultipartAction!, $parts: [UploadPartsInput!]!, $id: ID!, $path: String!,"
        " $upload: String!) { completeMultipartUploadArtifact(input: {completeMultipartAction: $action,"
        " completedParts: $parts, artifactID: $id, storagePath: $path, uploadID: $upload}) { digest } }"
    ),
    "CreateArtifactManifest": (
        "mutation ($id: ID!, $base: ID, $name: String!, $digest: String!, $entity: String!, $project: String!,"
        " $run: String!, $type: ArtifactManifestType!, $upload: Boolean!) { createArtifactManifest(input:"
        " {artifactID: $id, baseArtifactID: $base, name: $name, digest: $digest, entityName: $entity,"
        " projectName: $project, runName: $run, type: $type}) { artifactManifest { id file { id name displayName"
        " uploadUrl @include(if: $upload) uploadHeaders @include(if: $upload) } } } }"
    ),
    "UpdateArtifactManifest": (
        "mutation ($id: ID!, $digest: String, $base: ID) { updateArtifactManifest(input: {artifactManifestID: $id,"
        " digest: $digest, baseArtifactID: $base}) { artifactManifest { id file { id uploadUrl uploadHeaders } } } }"
    ),
    "UseArtifact": "mutation ($input: UseArtifactInput!) { useArtifact(input: $input) { artifact { id } } }",
    "ArtifactFileURLs": (
        "query ($id: ID!, $cursor: String, $n: Int) { artifact(id: $id) { files(after: $cursor, first: $n)"
        " { pageInfo { hasNextPage endCursor } edges { node { name directUrl } } } } }"
    ),
    "ArtifactFileURLsByManifestEntries": (
        "query ($id: ID!, $entries: [ArtifactManifestEntryInput!], $layout: String!, $version: String!,"
        " $region: String) { artifact(id: $id) { filesByManifestEntries(storageLayout: $layout,"
        " manifestVersion: $version, entries: $entries, storageRegion: $region)"
        " { pageInfo { hasNextPage endCursor } edges { node { name directUrl } } } } }"
    ),
    "CreateArtifactType": (
        "mutation ($entity: String!, $project: String!, $name: String!, $description: String) { createArtifactType("
        "input: {entityName: $entity, projectName: $project, name: $name, description: $description})"
        " { artifactType { id } } }"
    ),
}


@pytest.mark.parametrize("name", sorted(set(operations.__all__) - REGISTRY))
def test_documents_of_the_python_client_are_valid(name: str) -> None:
    assert validate(schema(), parse(getattr(operations, name))) == []


@pytest.mark.parametrize("name", sorted(CORE))
def test_documents_of_the_go_client_are_valid(name: str) -> None:
    assert validate(schema(), parse(CORE[name])) == []
