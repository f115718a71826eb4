"""W&B's GraphQL API, schema first: a noun's types in ``<noun>.graphql``, its resolvers in ``<noun>.py`` beside it."""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path

from ariadne import make_executable_schema
from ariadne.types import SchemaBindable
from graphql import GraphQLSchema

_HERE = Path(__file__).parent


@cache
def schema() -> GraphQLSchema:
    """The executable schema of all nouns. Raises at start-up when a resolver is bound to a field that is not there."""
    definitions = [file.read_text(encoding="utf-8") for file in sorted(_HERE.glob("*.graphql"))]
    bindables: list[SchemaBindable] = []
    for file in sorted(_HERE.glob("*.graphql")):
        if file.stem != "schema":
            bindables += importlib.import_module(f".{file.stem}", __package__).bindables
    return make_executable_schema(definitions, *bindables)
