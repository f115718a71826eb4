"""Every GraphQL document that a client can send fits the schema, or is listed here with the reason why not.

A client that brings a new document fails these tests until it is answered, or listed: by the operation's name, as the
client calls it. The installed client is read here; ``test_clients.py`` does the same with the oldest one.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest
import wandb
from graphql import GraphQLError, parse, validate
from sweepkit.backend.graphql import schema

from .client_documents import Document, Fillings, documents

# Operations that are not answered, by the reason; a client gets 400 and a GraphQL error that names the field.
OUT_OF_SCOPE = {
    "launch: run queues and agents that start jobs elsewhere": """
        CreateDefaultResourceConfig CreateRunQueue DeleteFromRunQueue DeleteRunQueue GetDefaultResourceConfig
        GetRunQueueItem GetRunQueueItems GetRunQueueMetadata LaunchAgent ProjectRunQueues UpsertRunQueue
        ackRunQueueItem createDefaultResourceConfig createLaunchAgent createRunQueue failRunQueueItem
        fetchRunQueuesFromProject popFromRunQueue pushToRunQueue pushToRunQueueByName updateLaunchAgent
        updateRunQueueItemWarning upsertRunQueue""",
    "automations, and the webhooks and Slack channels that they notify": """
        CreateAutomation CreateGenericWebhookIntegration DeleteAutomation GetAutomations GetAutomationsByEntity
        GetAutomationsLegacy GetEntityAutomations GetEntityAutomationsLegacy GetOrgAutomations IntegrationsByEntity
        UpdateAutomation""",
    "registries: they belong to organizations, which this server has none of": """
        CreateRegistryMembers DeleteRegistry DeleteRegistryMembers FetchAdvancedRegistryFeatures FetchRegistries
        FetchRegistry RegistryCollections RegistryTeamMembers RegistryUserMembers RegistryVersions RenameRegistry
        UpdateTeamRegistryRole UpdateUserRegistryRole UpsertRegistry""",
    "accounts: `sweepkit user` adds, removes and gives keys": """
        CreateInvite CreateServiceAccount CreateUserFromAdmin DeleteApiKey DeleteInvite""",
}

_RUN = "fragment RunFragment on Run { id }"
_USED = "$entityName: String!, $projectName: String!, $runName: String!, $artifactID: ID!"
_USES = "entityName: $entityName, projectName: $projectName, runName: $runName, artifactID: $artifactID"
_FROM = "artifactEntityName: $artifactEntityName, artifactProjectName: $artifactProjectName"
# What the client puts into the holes of its documents; two lists are two variants.
FILLINGS: Fillings = {
    "CreateArtifactManifest": [["", ""], [", $type: ArtifactManifestType = FULL", ", type: $type"]],
    "DeleteRun": [["", ""], ["$deleteArtifacts: Boolean", "deleteArtifacts: $deleteArtifacts"]],
    "Run": [["RunFragment", _RUN]],
    "RunFullHistory": [["history"], ["events"]],
    "Runs": [["RunFragment", _RUN]],
    "UpsertBucket": [[_RUN]],
    "UseArtifact": [
        [_USED + ", $usedAs: String", _USES + ", usedAs: $usedAs"],
        [_USED + ", $artifactEntityName: String, $artifactProjectName: String", f"{_USES}, {_FROM}"],
    ],
    "createDefaultResourceConfig": [["$entity: String!", "entity: $entity"]],
    "createLaunchAgent": [["$entity: String!", "entity: $entity"]],
    "pushToRunQueue": [["$queue: ID!", "queue: $queue"]],
    "pushToRunQueueByName": [["$entity: String!", "entity: $entity"]],
}
# Words that the client replaces by something else before it sends the document.
MARKERS = {
    "_PROJECT_QUERY_": "project { id name entity { id name } }",
    "ID_TYPE": "$artifactID: ID",
    "ID_VALUE": "artifactID: $artifactID",
    "_CREATE_ARTIFACT_ADDITIONAL_TYPE_": "$historyStep: Int64!, $distributedID: String",
    "_CREATE_ARTIFACT_ADDITIONAL_VALUE_": "historyStep: $historyStep, distributedID: $distributedID",
}


@cache
def read(package: Path) -> list[Document]:
    return documents(package, FILLINGS, MARKERS)


@cache
def misfits(package: Path) -> dict[str, list[str]]:
    """The documents that do not fit the schema: by the operation's name, where they are and what is wrong."""
    found = defaultdict(list)
    for document in read(package):
        if error := _misfit(document):
            found[document.name].append(f"{document.where}: {error}")
    return found


def _misfit(document: Document) -> str | None:
    try:
        errors = validate(schema(), parse(document.text))
    except GraphQLError as error:
        return error.message
    return errors[0].message if errors else None


def unanswered(package: Path) -> dict[str, list[str]]:
    """The misfits that nobody has listed as out of scope."""
    listed = {name for names in OUT_OF_SCOPE.values() for name in names.split()}
    return {name: where for name, where in misfits(package).items() if name not in listed}


@pytest.fixture(scope="module")
def installed() -> Path:
    return Path(wandb.__file__).parent


def test_all_that_the_installed_client_can_send_is_answered_or_listed(installed: Path) -> None:
    assert unanswered(installed) == {}, "answer these, or list them in OUT_OF_SCOPE and docs/compatibility.md"


def test_the_documents_are_found_in_every_part_of_the_client(installed: Path) -> None:
    """Were the client to keep its documents in another way, the test above would see nothing and pass."""
    found = read(installed)
    by_part = {name: {d.name for d in found if d.where.startswith(name)} for name in ("wandb-core", "apis", "sdk")}
    assert {"UpsertBucket", "RunResumeStatus", "CreateArtifact", "HistoryPage"} <= by_part["wandb-core"]
    assert {"Runs", "Run", "GetSweep", "CreateAgent", "Heartbeat", "UpsertSweep"} <= by_part["apis"]
    assert {"ArtifactByID", "UseArtifact", "ProjectArtifacts"} <= by_part["sdk"]
    assert len({document.name for document in found}) > 130


def test_a_document_of_the_future_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "wandb-core").write_bytes(b"junk\nquery Dreams ($a: ID!) {\n\tdreams(of: $a) { id }\n}\nmore {")
    (tmp_path / "new.py").write_text('NEXT = """\nmutation Wish { wish(input: {}) { granted } }\n"""\n')
    assert set(unanswered(tmp_path)) == {"Dreams", "Wish"}


def test_what_is_listed_is_not_answered_by_now(installed: Path) -> None:
    """The list is true: nothing on it that fits the schema. Names of older clients are not looked at."""
    listed = {name for names in OUT_OF_SCOPE.values() for name in names.split()}
    sent = {document.name for document in read(installed)}
    assert listed & sent == set(misfits(installed)) & listed


def test_docs_name_what_is_out_of_scope() -> None:
    page = (Path(__file__).parents[2] / "docs" / "compatibility.md").read_text(encoding="utf-8")
    for names in OUT_OF_SCOPE.values():
        assert [name for name in names.split() if f"`{name}`" not in page] == []
