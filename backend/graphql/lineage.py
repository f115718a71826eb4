"""Lineage: the versions that a run used and logged, and the runs of a version."""

from __future__ import annotations

import sqlite3
from typing import Any

from ariadne import MutationType, ObjectType, UnionType
from ariadne.types import SchemaBindable
from graphql import GraphQLResolveInfo as Info

from ..storage import artifact_lineage as store
from ..storage import artifacts, runs
from .artifact_rows import artifact_pk, current, place, project, run
from .errors import ClientError
from .paging import connection, page

Row = sqlite3.Row
Answer = dict[str, Any]

mutation = MutationType()
run_type = ObjectType("Run")
artifact = ObjectType("Artifact")
creator = UnionType("ArtifactCreator", lambda *_: "Run")


def _of_run(row: Row, info: Info, direction: str, first: int | None, after: str | None) -> Answer:
    conn = current(info)
    limit, offset = page(first, after)
    rows = store.of_run(conn, row["id"], direction, limit, offset)
    return connection(rows, first, after, store.count_of_run(conn, row["id"], direction))


@run_type.field("inputArtifacts")
def inputs(row: Row, info: Info, first: int | None = None, after: str | None = None) -> Answer:
    return _of_run(row, info, "input", first, after)


@run_type.field("outputArtifacts")
def outputs(row: Row, info: Info, first: int | None = None, after: str | None = None) -> Answer:
    return _of_run(row, info, "output", first, after)


@artifact.field("createdBy")
def created_by(row: Row, info: Info) -> Row | None:
    return runs.by_id(info.context.rows, row["run_id"]) if row["run_id"] is not None else None


@artifact.field("usedBy")
def used_by(row: Row, info: Info) -> Answer:
    return {"edges": [{"node": user} for user in store.users_of(info.context.rows, row["id"])]}


@mutation.field("useArtifact")
def use(_: Any, info: Info, input: Answer) -> Answer:
    pk = artifact_pk(input["artifactID"])

    def change(conn: sqlite3.Connection) -> Row:
        row = artifacts.by_id(conn, pk)
        if row["state"] == "DELETED":
            raise ClientError("the artifact has been deleted", 404)
        home = project(conn, *place(info, input))
        user = run(conn, home["id"], input["runName"])
        store.add_input(conn, user["id"], pk, input.get("usedAs"))
        return row

    return {"artifact": info.context.database.write(change)}


features = ("USE_ARTIFACT_WITH_ENTITY_AND_PROJECT_INFORMATION",)
bindables: list[SchemaBindable] = [mutation, run_type, artifact, creator]
