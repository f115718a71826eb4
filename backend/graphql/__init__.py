"""W&B's GraphQL API, schema first: a noun's types in ``<noun>.graphql``, its resolvers in ``<noun>.py`` beside it."""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path
from types import ModuleType

from ariadne import make_executable_schema
from ariadne.types import SchemaBindable
from graphql import GraphQLSchema

_HERE = Path(__file__).parent


def nouns() -> list[ModuleType]:
    """The resolver modules: each exports ``bindables``, and may export ``features`` of W&B's servers that it brings."""
    return [
        importlib.import_module(f".{file.stem}", __package__)
        for file in sorted(_HERE.glob("*.graphql"))
        if file.stem != "schema"
    ]


def noun_features() -> tuple[str, ...]:
    """Names of server features that nouns bring; the client asks for them by ``serverInfo.features``."""
    return tuple(name for noun in nouns() for name in getattr(noun, "features", ()) if isinstance(name, str))


@cache
def schema() -> GraphQLSchema:
    """The executable schema of all nouns, its mutations guarded by ``owners.py``.

    Raises at start-up when a resolver is bound to a field that is not there, or a mutation has no guard.
    """
    definitions = [file.read_text(encoding="utf-8") for file in sorted(_HERE.glob("*.graphql"))]
    bindables: list[SchemaBindable] = [bindable for noun in nouns() for bindable in noun.bindables]
    made = make_executable_schema(definitions, *bindables)
    importlib.import_module(".owners", __package__).guard(made)
    return made
