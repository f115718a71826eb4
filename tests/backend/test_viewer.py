"""Who is logged in, and who an entity's members are, as the public API shows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Make = Ask = Callable[..., Any]


def test_an_entity_has_members_and_a_size(script: Make, server: Any) -> None:
    seen = script(
        """
        with wandb.init(entity="shared-crew", project="sizes") as run:
            with open("data.bin", "wb") as file:
                file.write(b"x" * 1000)
            run.save("data.bin")
        own, shared = wandb.Api().team(sys.argv[1]), wandb.Api().team("shared-crew")
        print(json.dumps({
            "own": [own.entity_type, [(member.username, member.account_type) for member in own.members]],
            "shared": [shared.entity_type, sys.argv[1] in [member.username for member in shared.members]],
            "bytes": shared.storage_bytes,
        }))
    """,
        server.entity,
    )
    assert seen["own"] == ["user", [[server.entity, "USER"]]]
    assert seen["shared"] == ["team", True]
    assert 1000 <= seen["bytes"] < 100_000


def test_the_viewer_is_who_has_the_key(script: Make, server: Any) -> None:
    seen = script("""
        viewer = wandb.Api().viewer
        print(json.dumps([viewer.username, viewer.email, viewer.admin, viewer.teams[0], viewer.api_keys]))
    """)
    assert seen == [server.entity, f"{server.entity}@localhost", True, server.entity, [server.key[:8]]]


def test_a_team_is_made_once_and_is_everybodys(script: Make, ask: Ask, server: Any) -> None:
    assert script(
        """
        api = wandb.Api()
        team = api.create_team("night-shift")
        print(json.dumps([team.name, team.is_team, sys.argv[1] in [member.username for member in team.members],
                          "night-shift" in api.viewer.teams]))
    """,
        server.entity,
    ) == ["night-shift", True, True, True]
    make = "mutation ($name: String!) { createTeam(input: {teamName: $name}) { entity { name } } }"
    assert "already" in ask(make, status=409, name="night-shift")["errors"][0]["message"]
    assert ask(make, status=409, name=server.entity)["errors"]
    assert ask(make, status=400, name="no/team")["errors"]
