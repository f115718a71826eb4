"""Every query and mutation of the schema, asked with generated variables of right and wrong shapes.

The documents come from the schema itself: what is added to it is fuzzed the same day.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLType,
    get_named_type,
    is_leaf_type,
)
from graphql.type import GraphQLField
from hypothesis import given, settings
from hypothesis import strategies as st
from sweepkit.backend.graphql import schema

from . import values

FUZZ = settings.get_profile("fuzz-2")
DEEPEST = 4  # fields below the root

# What these arguments hold when they are right, by name; "entityName" is filled in by the test.
SCHEDULED = st.fixed_dictionaries({}, optional={"id": values.PLAIN, "data": values.ANYTHING | values.OBJECTS})
KNOWN: dict[str, st.SearchStrategy[Any]] = {
    "entityName": st.just("ENTITY"),
    "entity": st.just("ENTITY"),
    "projectName": st.just("fuzz"),
    "modelName": st.just("fuzz"),
    "runName": st.sampled_from(["r1", "r2"]),
    "name": st.sampled_from(["fuzz", "r1", "r2", "model-1:latest", "model-1:v0", "model-1", "model", "new"]),
    "artifactCollectionName": st.sampled_from(["model-1", "other"]),
    "artifactTypeName": st.just("model"),
    "aliasName": st.sampled_from(["latest", "v0", "best", "v99999999999999999999"]),
    "alias": st.sampled_from(["latest", "best", "v1", "v" + "9" * 30]),
    "filters": values.FILTER_TEXTS,
    "priorRunsFilters": values.FILTER_TEXTS,
    "order": values.ORDERS,
    "after": values.CURSORS,
    "before": values.CURSORS,
    "specs": values.SPECS,
    "state": st.sampled_from(["running", "finished", "pending", "RUNNING", "PAUSED", "CANCELED", "FINISHED"]),
    "digest": st.sampled_from(["d", "1B2M2Y8AsgTpgAmY7PhCfg=="]),
    "md5": st.just("1B2M2Y8AsgTpgAmY7PhCfg=="),
    "runState": st.builds(json.dumps, st.dictionaries(st.sampled_from(["r1", "r2", "x"]), values.PLAIN, max_size=3)),
    "controller": st.builds(
        json.dumps,
        st.fixed_dictionaries(
            {},
            optional={
                "schedule": st.lists(SCHEDULED | values.ANYTHING, max_size=3) | values.ANYTHING,
                "earlystop": st.lists(st.sampled_from(["r1", "x"])) | values.ANYTHING,
            },
        ),
    ),
    "config": st.one_of(
        st.sampled_from(
            [
                "{method: grid, parameters: {a: {values: [1, 2]}, b: {value: 3}}}",
                "{method: bayes, metric: {name: loss, goal: minimize}, parameters: {a: {min: 0.0, max: 1.0}}}",
                "{method: random, parameters: {a: {distribution: q_uniform, min: 0, max: 1.0e+300, q: 1.0e-300}}}",
                "{method: grid, parameters: {a: {min: 0, max: 1000000000000}}}",
                "{method: random, early_terminate: {type: hyperband, min_iter: 3}, metric: {name: x}, parameters: {}}",
                "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]",
                "[" * 2000,
                "{a: {b: " * 400,
                "!!python/object/apply:os.system [id]",
            ]
        ),
        st.builds(lambda space: json.dumps({"method": "random", "parameters": space}), values.OBJECTS),
        st.builds(json.dumps, st.fixed_dictionaries({"_wandb": values.ANYTHING}, optional={"lr": values.ANYTHING})),
    ),
}


def _fields(node: GraphQLObjectType, name: str, depth: int, declared: dict[str, GraphQLType]) -> str:
    """A selection of field ``name`` with all of its arguments as variables, which are added to ``declared``."""
    field = node.fields[name]
    arguments = _arguments(field, declared)
    kind = get_named_type(field.type)
    if is_leaf_type(kind):
        return f"{name}{arguments}"
    return f"{name}{arguments} {{ __typename {' '.join(_below(kind, depth - 1, declared))} }}"


def _arguments(field: GraphQLField, declared: dict[str, GraphQLType]) -> str:
    given = []
    for name, argument in field.args.items():
        variable = f"{name}_{len(declared)}"
        declared[variable] = argument.type
        given.append(f"{name}: ${variable}")
    return f"({', '.join(given)})" if given else ""


def _below(kind: Any, depth: int, declared: dict[str, GraphQLType]) -> Iterator[str]:
    if not isinstance(kind, GraphQLObjectType):
        kinds = schema().get_possible_types(kind)
        yield from (f"... on {each.name} {{ {' '.join(_leaves(each))} }}" for each in kinds)
        return
    yield from _leaves(kind)
    if depth > 0:
        wrappers = [name for name in ("edges", "node") if name in kind.fields]
        yield from (_fields(kind, name, depth, declared) for name in wrappers)


def _leaves(kind: GraphQLObjectType) -> Iterator[str]:
    """Fields without arguments that must be given."""
    for name, field in kind.fields.items():
        needed = any(isinstance(argument.type, GraphQLNonNull) for argument in field.args.values())
        if is_leaf_type(get_named_type(field.type)) and not needed:
            yield name


def _document(operation: str, path: list[str]) -> tuple[str, dict[str, GraphQLType]]:
    """A document that goes down ``path`` and there takes all leaves, through pages to their nodes."""
    declared: dict[str, GraphQLType] = {}
    node = schema().query_type if operation == "query" else schema().mutation_type
    opened = []
    for name in path[:-1]:
        field = node.fields[name]  # type: ignore[union-attr]
        opened.append(f"{name}{_arguments(field, declared)}")
        node = get_named_type(field.type)  # type: ignore[assignment]
    inner = _fields(node, path[-1], DEEPEST, declared)  # type: ignore[arg-type]
    body = " { ".join([*opened, inner]) + " }" * len(opened)
    variables = ", ".join(f"${name}: {kind}" for name, kind in declared.items())
    return f"{operation}{f' ({variables})' if variables else ''} {{ {body} }}", declared


def _paths(node: GraphQLObjectType, depth: int, seen: frozenset[str] = frozenset()) -> Iterator[list[str]]:
    """Every field that a document can reach through objects, without going round in circles."""
    for name, field in node.fields.items():
        yield [name]
        kind = get_named_type(field.type)
        if depth and isinstance(kind, GraphQLObjectType) and kind.name not in seen:
            yield from ([name, *rest] for rest in _paths(kind, depth - 1, seen | {node.name}))


def _documents() -> list[list[tuple[str, dict[str, GraphQLType]]]]:
    """Those of the queries, and of each mutation."""
    kinds = schema()
    assert kinds.query_type is not None and kinds.mutation_type is not None
    queries = [_document("query", path) for path in _paths(kinds.query_type, 3)]
    return [queries, *([_document("mutation", [name])] for name in kinds.mutation_type.fields)]


GROUPS = _documents()
DOCUMENTS = [document for group in GROUPS for document in group]
# A document is drawn among all queries as often as among the mutations: each of these is sent many times.
_FIRST = len(GROUPS[0])
NUMBERS = st.one_of(st.sampled_from(range(_FIRST)), st.sampled_from(range(_FIRST, len(DOCUMENTS))))


# Whose id it is that an input's ``id`` names, and an argument that ends in ID.
OWNERS = {
    "UpsertBucketInput": "Run",
    "DeleteRunInput": "Run",
    "StopRunInput": "Run",
    "UpdateRunStateInput": "Run",
    "UpsertSweepInput": "Sweep",
    "EnqueueSweepRunInput": "Sweep",
    "AgentHeartbeatInput": "Agent",
    "UpsertModelInput": "Project",
    "artifactSequenceID": "ArtifactSequence",
    "artifactPortfolioID": "ArtifactPortfolio",
    "artifactManifestID": "ArtifactManifest",
}


def right(name: str, kind: GraphQLType, owner: str = "") -> st.SearchStrategy[Any]:
    """Values that fit the type, and as far as it is known the meaning, of an argument of ``owner``."""
    if isinstance(kind, GraphQLNonNull):
        return right(name, kind.of_type, owner)
    plain = name.rsplit("_", 1)[0] if name[-1].isdigit() else name
    if isinstance(kind, GraphQLList):
        return st.lists(right(plain, kind.of_type), max_size=3)
    if isinstance(kind, GraphQLInputObjectType):
        every = {key: _mostly(key, field.type, kind.name) for key, field in kind.fields.items()}
        needed = {key for key, field in kind.fields.items() if isinstance(field.type, GraphQLNonNull)}
        return st.fixed_dictionaries(
            {key: every[key] for key in needed}, optional={key: every[key] for key in every.keys() - needed}
        )
    if isinstance(kind, GraphQLEnumType):
        return st.sampled_from(list(kind.values))
    if plain == "id" or plain.endswith("ID"):
        return st.one_of(values.ids_of(OWNERS.get(owner if plain == "id" else plain, "Artifact")), values.IDS)
    fitting = FITTING.get(getattr(kind, "name", ""), values.TEXTS)
    return st.one_of(KNOWN[plain], KNOWN[plain], fitting) if plain in KNOWN else fitting


FITTING: dict[str, st.SearchStrategy[Any]] = {
    "Int": st.integers(-(2**31), 2**31 - 1),
    "Float": values.NUMBERS,
    "Boolean": st.booleans(),
    "Int64": st.one_of(values.NUMBERS, values.NUMBERS.map(str)),
    "JSONString": values.JSON_TEXTS,
}


def _mostly(name: str, kind: GraphQLType, owner: str = "") -> st.SearchStrategy[Any]:
    """One in forty values is of no shape at all: an input has many, and one that is wrong is enough to refuse it."""
    return st.integers(0, 39).flatmap(lambda n: values.ANYTHING if n == 39 else right(name, kind, owner))


def _variables(declared: dict[str, GraphQLType]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({name: _mostly(name, kind) for name, kind in declared.items()})


def _filled(value: Any, entity: str) -> Any:
    if isinstance(value, dict):
        return {key: _filled(item, entity) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, entity) for item in value]
    return entity if value == "ENTITY" else value


STRATEGIES: dict[int, st.SearchStrategy[dict[str, Any]]] = {}


def test_the_documents_reach_the_whole_schema() -> None:
    names = {name for query, _ in DOCUMENTS for name in query.replace("(", " ").split()}
    kinds = schema()
    assert kinds.mutation_type is not None and kinds.query_type is not None
    assert set(kinds.mutation_type.fields) <= names and set(kinds.query_type.fields) <= names
    run = kinds.type_map["Run"]
    assert isinstance(run, GraphQLObjectType)
    assert set(run.fields) <= names


@FUZZ
@given(data=st.data(), number=NUMBERS)
def test_documents_of_the_schema(target: Any, data: st.DataObject, number: int) -> None:
    target.keep_filled()
    query, declared = DOCUMENTS[number]
    if number not in STRATEGIES:
        STRATEGIES[number] = _variables(declared)
    status, answer = target.graphql(query, _filled(data.draw(STRATEGIES[number]), target.entity))
    assert status in {200, 400, 404, 409}
    assert status == 200 or answer["errors"]


@FUZZ
@given(data=st.data(), number=NUMBERS)
def test_mutated_requests(target: Any, data: st.DataObject, number: int) -> None:
    """The request's body itself, a few bytes changed."""
    query, declared = DOCUMENTS[number]
    whole = json.dumps({"query": query, "variables": dict.fromkeys(declared), "operationName": ""})
    status, _ = target.send("POST", "/graphql", data.draw(values.mutated(whole)))
    assert status in {200, 400, 404, 409}
