"""Everyone sees everything; a user changes what is their own or shared. Every mutation and every route is tried."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests
from starlette.routing import Mount, Route
from sweepkit.backend import app, pages
from sweepkit.backend.admin import routes as admin_routes
from sweepkit.backend.graphql import owners, schema

ALICE, BOB, SHARED = "alice-p", "bob-p", "lab-p"
KEYS = {ALICE: "a" * 40, BOB: "b" * 40}
_NUMBER = itertools.count()
SWEEP = "method: random\nmetric: {name: loss}\nparameters: {x: {min: 0.0, max: 1.0}}\n"
CONTENT = b"some content"
FILES = """query ($e: String, $p: String) { project(name: $p, entityName: $e) {
    run(name: "r") { files { edges { node { id } } } } } }"""
MD5 = base64.b64encode(hashlib.md5(CONTENT).digest()).decode()


class Person:
    """One user's requests."""

    def __init__(self, server: Any, name: str, key: str) -> None:
        self.name, self.url, self.auth = name, server.url, ("api", key)

    def ask(self, query: str, **variables: Any) -> requests.Response:
        return self.send("POST", "/graphql", json={"query": query, "variables": variables})

    def change(self, mutation: str, given: dict[str, Any], answer: str = "__typename") -> requests.Response:
        kind = schema().mutation_type.fields[mutation].args["input"].type
        return self.ask(f"mutation ($i: {kind}) {{ {mutation}(input: $i) {{ {answer} }} }}", i=given)

    def made(self, mutation: str, given: dict[str, Any], answer: str) -> Any:
        done = self.change(mutation, given, answer)
        assert done.status_code == 200 and "errors" not in done.json(), done.text
        return done.json()["data"][mutation]

    def send(self, method: str, path: str, **options: Any) -> requests.Response:
        return requests.request(method, self.url + path, auth=self.auth, timeout=30, **options)


@dataclass(frozen=True)
class World:
    """A project with one of each thing in it, by name and id."""

    entity: str
    project: str
    run: str
    file: str
    sweep: str
    sweep_name: str
    agent: str
    artifact: str
    artifact_pk: int
    draft: str
    manifest: str
    manifest_pk: int
    sequence: str
    portfolio: str
    project_id: str
    view: str

    @property
    def where(self) -> dict[str, str]:
        return {"entityName": self.entity, "projectName": self.project}

    @property
    def place(self) -> dict[str, str]:
        return {**self.where, "artifactCollectionName": "linked"}


@pytest.fixture(scope="session")
def people(server: Any) -> dict[str, Person]:
    owner = Person(server, server.entity, server.key)
    for name, key in KEYS.items():
        owner.send("POST", "/admin/users", json={"name": name, "key": key}).raise_for_status()
    return {"owner": owner, **{name: Person(server, name, key) for name, key in KEYS.items()}}


@pytest.fixture
def build(people: dict[str, Person]) -> Callable[[str], World]:
    return lambda entity: _world(people["owner"], entity, f"permissions-{next(_NUMBER)}")


def _world(owner: Person, entity: str, project: str) -> World:
    where = {"entityName": entity, "projectName": project}
    run = owner.made(
        "upsertBucket", {"modelName": project, "entityName": entity, "name": "r"}, "bucket { id project { id } }"
    )
    owner.send("PUT", f"/files/{entity}/{project}/r/f.txt", data=CONTENT).raise_for_status()
    files = owner.ask(FILES, e=entity, p=project).json()["data"]["project"]["run"]["files"]
    sweep = owner.made("upsertSweep", {**where, "config": SWEEP}, "sweep { id name }")["sweep"]
    agent = owner.made("createAgent", {**where, "sweep": sweep["name"], "host": "h"}, "agent { id }")["agent"]["id"]
    whole, _ = _version(owner, where, "whole")
    draft, manifest = _version(owner, where, "draft", commit=False)
    link = {**where, "artifactID": whole["id"], "artifactPortfolioName": "linked"}
    place = owner.made("linkArtifact", link, "artifactMembership { artifactCollection { id } }")
    view = owner.made("upsertView", {**where, "name": "v", "spec": "{}"}, "view { id }")["view"]["id"]
    return World(
        entity, project, run["bucket"]["id"], files["edges"][0]["node"]["id"], sweep["id"], sweep["name"], agent,
        whole["id"], _number(whole["id"]), draft["id"], manifest, _number(manifest), whole["artifactSequence"]["id"],
        place["artifactMembership"]["artifactCollection"]["id"], run["bucket"]["project"]["id"], view,
    )  # fmt: skip


def _version(owner: Person, where: dict[str, str], name: str, commit: bool = True) -> tuple[dict[str, Any], str]:
    text = json.dumps({"version": 1, "storagePolicy": "p", "storagePolicyConfig": {}, "contents": {}}).encode()
    md5 = base64.b64encode(hashlib.md5(text).digest()).decode()
    given = {**where, "artifactTypeName": "t", "artifactCollectionName": name, "digest": name, "runName": "r"}
    made = owner.made("createArtifact", given, "artifact { id artifactSequence { id } }")["artifact"]
    given = {**where, "artifactID": made["id"], "name": "wandb_manifest.json", "digest": md5, "runName": "r"}
    manifest = owner.made("createArtifactManifest", given, "artifactManifest { id file { uploadUrl } }")[
        "artifactManifest"
    ]
    if commit:
        requests.put(manifest["file"]["uploadUrl"], data=text, timeout=30).raise_for_status()
        owner.made("commitArtifact", {"artifactID": made["id"]}, "artifact { id }")
    return made, manifest["id"]


def _number(global_id: str) -> int:
    return int(base64.b64decode(global_id).decode().split(":")[2])


# Every mutation, with an input that changes a world. Those that change nobody's things are in FREE.
CASES: dict[str, Callable[[World], dict[str, Any]]] = {
    "upsertModel": lambda w: {"id": w.project_id, "description": "mine now"},
    "upsertModel by name": lambda w: {"entityName": w.entity, "name": "new-project"},
    "upsertBucket": lambda w: {"id": w.run, "notes": "mine now"},
    "upsertBucket by name": lambda w: {"entityName": w.entity, "modelName": w.project, "name": "r", "notes": "mine"},
    "upsertBucket anew": lambda w: {"entityName": w.entity, "modelName": w.project, "name": "another"},
    "deleteRun": lambda w: {"id": w.run},
    "stopRun": lambda w: {"id": w.run},
    "updateRunState": lambda w: {"id": w.run, "state": "failed"},
    "rewindRun": lambda w: {**w.where, "runName": "r", "metricName": "_step", "metricValue": 0},
    "createRunFiles": lambda w: {**w.where, "runName": "r", "files": ["x"]},
    "markRunFilesUploaded": lambda w: {**w.where, "runName": "r", "files": ["f.txt"]},
    "deleteFiles": lambda w: {"files": [w.file]},
    "notifyScriptableRunAlert": lambda w: {**w.where, "runName": "r", "title": "t", "text": "t"},
    "createCustomChart": lambda w: {
        "entity": w.entity, "name": "c", "displayName": "c", "type": "t", "access": "PRIVATE", "spec": "{}",
    },
    "upsertSweep": lambda w: {"id": w.sweep, "state": "CANCELED"},
    "upsertSweep anew": lambda w: {**w.where, "config": SWEEP},
    "enqueueSweepRun": lambda w: {"id": w.sweep, "config": '{"x": 0.5}'},
    "createAgent": lambda w: {**w.where, "sweep": w.sweep_name, "host": "h"},
    "agentHeartbeat": lambda w: {"id": w.agent, "metrics": "{}", "runState": "{}"},
    "upsertView": lambda w: {"id": w.view, "displayName": "mine now"},
    "upsertView anew": lambda w: {**w.where, "name": "another", "spec": "{}"},
    "deleteView": lambda w: {"id": w.view},
    "createArtifactType": lambda w: {**w.where, "name": "another"},
    "createArtifact": lambda w: {
        **w.where, "artifactTypeName": "t", "artifactCollectionName": "whole", "digest": "d",
    },
    "createArtifactManifest": lambda w: {
        **w.where, "artifactID": w.draft, "name": "m", "digest": "d", "runName": "r",
    },
    "updateArtifactManifest": lambda w: {"artifactManifestID": w.manifest, "digest": MD5},
    "createArtifactFiles": lambda w: {"artifactFiles": [{"artifactID": w.draft, "name": "f", "md5": MD5}]},
    "commitArtifact": lambda w: {"artifactID": w.artifact},
    "updateArtifact": lambda w: {"artifactID": w.artifact, "description": "mine now"},
    "deleteArtifact": lambda w: {"artifactID": w.artifact, "deleteAliases": True},
    "addAliases": lambda w: {"artifactID": w.artifact, "aliases": [{**w.place, "alias": "best"}]},
    "deleteAliases": lambda w: {"artifactID": w.artifact, "aliases": [{**w.place, "alias": "latest"}]},
    "linkArtifact": lambda w: {"artifactID": w.artifact, "artifactPortfolioID": w.portfolio},
    "linkArtifact by name": lambda w: {**w.where, "artifactID": w.artifact, "artifactPortfolioName": "another"},
    "linkArtifact beside": lambda w: {"artifactID": w.artifact, "artifactPortfolioName": "another"},
    "unlinkArtifact": lambda w: {"artifactID": w.artifact, "artifactPortfolioID": w.portfolio},
    "useArtifact": lambda w: {**w.where, "artifactID": w.artifact, "runName": "r"},
    "updateArtifactSequence": lambda w: {"artifactSequenceID": w.sequence, "description": "mine now"},
    "updateArtifactPortfolio": lambda w: {"artifactPortfolioID": w.portfolio, "description": "mine now"},
    "moveArtifactSequence": lambda w: {"artifactSequenceID": w.sequence, "destinationArtifactTypeName": "other"},
    "deleteArtifactSequence": lambda w: {"artifactSequenceID": w.sequence},
    "deleteArtifactPortfolio": lambda w: {"artifactPortfolioID": w.portfolio},
    "createArtifactCollectionTagAssignments": lambda w: {**w.place, "tags": [{"tagName": "t"}]},
    "deleteArtifactCollectionTagAssignments": lambda w: {**w.place, "tags": [{"tagName": "t"}]},
    "completeMultipartUploadArtifact": lambda w: {
        "artifactID": w.draft, "completeMultipartAction": "Complete", "completedParts": [], "storagePath": "p",
        "uploadID": "0" * 32,
    },
}  # fmt: skip
FREE = {"generateApiKey", "createTeam"}
# What a world does not have: the owner is told so, and not that it is forbidden.
NOT_THERE = {"completeMultipartUploadArtifact": "parts"}


def test_every_mutation_has_a_case() -> None:
    names = set(schema().mutation_type.fields)
    assert names == {name.split()[0] for name in CASES} | FREE
    assert names == set(owners.OWNERS)


@pytest.mark.parametrize("case", CASES)
def test_a_stranger_changes_nothing_and_the_owner_does(
    server: Any, people: dict[str, Person], build: Callable[[str], World], case: str
) -> None:
    world = build(ALICE)
    before = _dump(server)
    given, mutation = CASES[case](world), case.split()[0]
    refused = people[BOB].change(mutation, given)
    error = refused.json()["errors"][0]
    assert refused.status_code == 403, refused.text
    assert error["message"].startswith("permission denied") and ALICE in error["message"]
    assert error["extensions"]["code"] == "PERMISSION_ERROR"
    assert _dump(server) == before
    _allowed(people[ALICE].change(mutation, given), mutation)


@pytest.mark.parametrize("case", CASES)
def test_what_is_shared_is_everybodys(people: dict[str, Person], build: Callable[[str], World], case: str) -> None:
    world = build(SHARED)
    _allowed(people[BOB].change(case.split()[0], CASES[case](world)), case.split()[0])


@pytest.mark.parametrize("case", ["upsertBucket", "deleteArtifact", "upsertSweep", "deleteFiles"])
def test_an_administrator_changes_everything(
    people: dict[str, Person], build: Callable[[str], World], case: str
) -> None:
    _allowed(people["owner"].change(case, CASES[case](build(ALICE))), case)


def _allowed(answer: requests.Response, mutation: str) -> None:
    expected = NOT_THERE.get(mutation)
    if expected is None:
        assert answer.status_code == 200 and "errors" not in answer.json(), answer.text
    else:
        assert answer.status_code == 400 and expected in answer.text


def _dump(server: Any) -> list[Any]:
    """Every row of the store."""
    with sqlite3.connect(f"file:{server.home}/store.sqlite3?mode=ro", uri=True) as conn:
        tables = [name for (name,) in conn.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        return [(table, conn.execute(f"SELECT * FROM {table}").fetchall()) for table in tables]


# --- what a mutation without an entity means


def test_links_and_inputs_belong_to_where_they_are_made(
    people: dict[str, Person], build: Callable[[str], World]
) -> None:
    """Bob may link Alice's artifact in a project of Bob's, and use it in a run of Bob's."""
    alices, bobs = build(ALICE), build(BOB)
    bob = people[BOB]
    bob.made(
        "linkArtifact", {**bobs.where, "artifactID": alices.artifact, "artifactPortfolioName": "p"}, "versionIndex"
    )
    bob.made("useArtifact", {**bobs.where, "artifactID": alices.artifact, "runName": "r"}, "artifact { id }")
    refused = bob.change("linkArtifact", {"artifactID": bobs.artifact, "artifactPortfolioID": alices.portfolio})
    assert refused.status_code == 403


def test_an_agent_works_for_the_owner_of_the_sweep(people: dict[str, Person], build: Callable[[str], World]) -> None:
    """A run that an agent starts on a shared sweep is the run of who started the agent."""
    world, bob = build(SHARED), people[BOB]
    given = {**world.where, "sweep": world.sweep_name, "host": "h"}
    agent = bob.made("createAgent", given, "agent { id }")["agent"]["id"]
    commands = bob.made("agentHeartbeat", {"id": agent, "metrics": "{}", "runState": "{}"}, "commands")["commands"]
    name = json.loads(commands)[0]["run_id"]
    run = {"entityName": world.entity, "modelName": world.project, "name": name, "sweep": world.sweep_name}
    assert bob.made("upsertBucket", run, "bucket { user { username } }")["bucket"]["user"]["username"] == BOB


def test_a_removed_users_things_are_the_administrators(
    people: dict[str, Person], build: Callable[[str], World]
) -> None:
    owner = people["owner"]
    owner.send("POST", "/admin/users", json={"name": "carol-p", "key": "c" * 40}).raise_for_status()
    world = build("carol-p")
    owner.send("DELETE", "/admin/users/carol-p").raise_for_status()
    assert people[BOB].change("deleteRun", {"id": world.run}).status_code == 403
    assert owner.change("deleteRun", {"id": world.run}).status_code == 200


# --- routes

# Every route that is not for reading; {n} is a number of the world's.
ROUTES: dict[tuple[str, str], Callable[[World], str]] = {
    ("POST", "/files/{entity}/{project}/{run}/file_stream"): lambda w: f"/files/{w.entity}/{w.project}/r/file_stream",
    ("PUT", "/files/{entity}/{project}/{run}/{name:path}"): lambda w: f"/files/{w.entity}/{w.project}/r/f.txt",
    ("PUT", "/artifact-uploads/{artifact:int}/{md5}"): lambda w: f"/artifact-uploads/{w.artifact_pk}/{_hex()}",
    ("PUT", "/artifact-uploads/{artifact:int}/{md5}/{part:int}"): lambda w: (
        f"/artifact-uploads/{w.artifact_pk}/{_hex()}/1"
    ),
    ("PUT", "/artifact-manifests/{manifest:int}"): lambda w: f"/artifact-manifests/{w.manifest_pk}",
}
OTHERWISE = {("POST", "/graphql"), ("POST", "/login")}  # the mutations above; a log-in of one's own


def _hex() -> str:
    return hashlib.md5(CONTENT).hexdigest()


def _unsafe() -> Iterator[tuple[str, str]]:
    for route in [*app._routes(), *pages.routes]:
        if isinstance(route, Route):
            yield from ((method, route.path) for method in (route.methods or ()) - {"GET", "HEAD"})


def test_every_unsafe_route_has_a_case() -> None:
    assert set(_unsafe()) == ROUTES.keys() | OTHERWISE
    mounts = [route.path for route in app._routes() if isinstance(route, Mount)]
    assert mounts == ["/admin", ""]  # the administrators', below; the pages, above


@pytest.mark.parametrize("route", ROUTES)
def test_a_stranger_sends_nothing(
    server: Any, people: dict[str, Person], build: Callable[[str], World], route: tuple[str, str]
) -> None:
    world = build(ALICE)
    path, before = ROUTES[route](world), _dump(server)
    body = b"{}" if route[0] == "POST" else CONTENT
    refused = people[BOB].send(route[0], path, data=body)
    assert refused.status_code == 403 and "permission denied" in refused.json()["error"], refused.text
    assert _dump(server) == before
    allowed = people[ALICE].send(route[0], path, data=body)
    assert allowed.status_code not in {401, 403}, allowed.text


def test_every_route_below_admin_is_closed_to_others(people: dict[str, Person]) -> None:
    routes = [route for mount in admin_routes.routes for route in mount.routes]
    assert len(routes) >= 4
    for route in routes:
        for method in route.methods - {"HEAD"}:
            answer = people[ALICE].send(method, "/admin" + route.path.replace("{name}", BOB))
            assert answer.status_code == 403, (method, route.path)


def test_addresses_to_upload_to_are_for_who_may_change(
    people: dict[str, Person], build: Callable[[str], World]
) -> None:
    """They are permissions: whoever may only look must not be given one, in a query either."""
    world = build(ALICE)
    file = FILES, {"e": world.entity, "p": world.project}
    manifest = "query ($a: ID!) { artifact(id: $a) { currentManifest { file { id } } } }", {"a": world.artifact}
    for query, variables in (file, manifest):
        look, put = query.replace("{ id }", "{ directUrl }"), query.replace("{ id }", "{ uploadUrl }")
        looked = people[BOB].ask(look, **variables)
        assert looked.status_code == 200 and "signature=" in looked.text and "errors" not in looked.json()
        assert people[BOB].ask(put, **variables).status_code == 403
        allowed = people[ALICE].ask(put, **variables)
        assert allowed.status_code == 200 and "signature=" in allowed.text
    older = FILES.replace("{ id }", "{ url(upload: true) }")
    assert people[BOB].ask(older, **file[1]).status_code == 403


def test_a_signed_address_is_the_permission(people: dict[str, Person], build: Callable[[str], World]) -> None:
    world = build(ALICE)
    given = {**world.where, "runName": "r", "files": ["x.txt"]}
    url = people[ALICE].made("createRunFiles", given, "files { uploadUrl }")["files"][0]["uploadUrl"]
    assert requests.put(url, data=b"x", timeout=30).status_code == 204
    assert requests.put(url, data=b"x", auth=people[BOB].auth, timeout=30).status_code == 204


# --- reading

READ = """query ($e: String!, $p: String!, $a: ID!) {
  project(name: $p, entityName: $e) {
    name readOnly runCount totalSweeps
    runs { edges { node { name config summaryMetrics readOnly
      files { edges { node { name directUrl } } } history } } }
    sweeps { edges { node { name state runs { edges { node { name } } } } } }
    artifactTypes { edges { node { name artifactCollections { edges { node { name } } } } } }
  }
  artifact(id: $a) { digest currentManifest { file { directUrl } } }
  users { edges { node { username admin } } }
  entity(name: $e) { readOnly isTeam user { username } }
  viewer { username admin teams { edges { node { name } } } }
}"""


def test_a_stranger_sees_everything(people: dict[str, Person], build: Callable[[str], World]) -> None:
    world, bob = build(ALICE), people[BOB]
    build(SHARED)
    variables = {"e": world.entity, "p": world.project, "a": world.artifact}
    seen = bob.ask(READ, **variables).json()["data"]
    own = people[ALICE].ask(READ, **variables).json()["data"]
    assert seen["project"]["readOnly"] and seen["project"]["runs"]["edges"][0]["node"]["readOnly"]
    assert not own["project"]["readOnly"] and not own["project"]["runs"]["edges"][0]["node"]["readOnly"]
    assert seen["entity"] == {"readOnly": True, "isTeam": False, "user": {"username": ALICE}}
    assert seen["viewer"]["username"] == BOB and seen["viewer"]["admin"] is False
    teams = [edge["node"]["name"] for edge in seen["viewer"]["teams"]["edges"]]
    assert teams[0] == BOB and SHARED in teams and ALICE not in teams
    names = {edge["node"]["username"]: edge["node"]["admin"] for edge in seen["users"]["edges"]}
    assert names[ALICE] is False and names[people["owner"].name] is True
    file = seen["project"]["runs"]["edges"][0]["node"]["files"]["edges"][0]["node"]["directUrl"]
    assert requests.get(file, timeout=30).content == CONTENT
    for path in ("", f"/{world.project}", f"/{world.project}/runs/r", f"/{world.project}/sweeps/{world.sweep_name}"):
        assert bob.send("GET", f"/{world.entity}{path}").status_code == 200


# --- the real client


def test_the_client_of_a_stranger_is_told_at_once(server: Any, people: dict[str, Person], script: Any) -> None:
    """wandb-core takes 403 for final: no retries, and the run says why."""
    seen = script(
        f"""
        import os, time
        os.environ.update(WANDB_API_KEY="{KEYS[BOB]}")
        began = time.monotonic()
        try:
            wandb.init(entity="{ALICE}", project="closed", settings=wandb.Settings(init_timeout=60))
            said = ""
        except Exception as error:
            said = str(error)
        with wandb.init(entity="{SHARED}", project="open") as run:
            run.log({{"x": 1}})
        api = wandb.Api()
        found = api.run(run.path)
        print(json.dumps(dict(said=said, took=time.monotonic() - began, user=found.user.username, state=found.state,
                              who=api.viewer.username, other=api.user("{ALICE}").username)))
        """
    )
    assert "permission denied" in seen["said"] and seen["took"] < 40
    assert (seen["user"], seen["state"], seen["who"], seen["other"]) == (BOB, "finished", BOB, ALICE)
