"""Projects through W&B's API, in its newer words and its older ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

Make = Callable[..., Any]


def test_the_client_makes_and_lists_projects(server: Any, script: Make) -> None:
    seen = script("""
        api = wandb.Api()
        api.create_project("made-by-api", api.default_entity)
        names = [project.name for project in api.projects(api.default_entity, per_page=2)]
        project = api.project("made-by-api", api.default_entity)
        print(json.dumps({"names": names, "url": project.url, "id": project.id, "who": api.viewer.username}))
    """)
    assert "made-by-api" in seen["names"] and len(set(seen["names"])) == len(seen["names"])
    assert seen["url"].startswith(server.url)
    assert seen["who"] == server.entity


def test_the_older_words_mean_the_same(server: Any, ask: Make) -> None:
    make = """mutation ($e: String!) { upsertModel(input: {name: "old", entityName: $e, description: "d"}) {
        inserted model { id name description } project { id } } }"""
    first = ask(make, e=server.entity)["data"]["upsertModel"]
    again = ask(make, e=server.entity)["data"]["upsertModel"]
    assert first["inserted"] and not again["inserted"]
    assert first["model"]["id"] == first["project"]["id"] == again["model"]["id"]
    query = """query ($e: String!) { model(name: "old", entityName: $e) { name description
        buckets { edges { cursor } } }
        models(entityName: $e, first: 500) { edges { node { name } } } entity(name: $e) { id isTeam } }"""
    answer = ask(query, e=server.entity)["data"]
    assert answer["model"] == {"name": "old", "description": "d", "buckets": {"edges": []}}
    assert "old" in [edge["node"]["name"] for edge in answer["models"]["edges"]]
    assert answer["entity"]["isTeam"] is False


def test_pages_of_projects_hold_each_once(server: Any, ask: Make) -> None:
    for n in range(5):
        ask(f'mutation {{ upsertModel(input: {{name: "page{n}", entityName: "pages"}}) {{ inserted }} }}')
    query = """query ($after: String) { models(entityName: "pages", first: 2, after: $after) {
        edges { node { name } } pageInfo { endCursor hasNextPage } } }"""
    names: list[str] = []
    cursor = None
    for _ in range(3):
        page = ask(query, after=cursor)["data"]["models"]
        names += [edge["node"]["name"] for edge in page["edges"]]
        cursor = page["pageInfo"]["endCursor"]
    assert not page["pageInfo"]["hasNextPage"]
    assert names == [f"page{n}" for n in reversed(range(5))]
    ask(query, status=400, after="nonsense")


def test_what_is_not_there_is_null(ask: Make) -> None:
    query = '{ project(name: "none", entityName: "nobody") { id } organization(name: "o") { id } }'
    assert ask(query)["data"] == {"project": None, "organization": None}


@pytest.mark.parametrize("name", ["", "..", "a/b", "a?b", "a#b", "a%2fb", "a:b", "a\\b", "a\nb", "x" * 200, "\u202e"])
def test_names_that_would_break_addresses_are_refused(ask: Make, name: str) -> None:
    query = f"mutation {{ upsertModel(input: {{name: {json.dumps(name)}}}) {{ inserted }} }}"
    assert ask(query, status=400)["errors"]
