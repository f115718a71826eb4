"""Errors that are the client's to read, with the HTTP status that makes W&B's client do the right thing."""

from __future__ import annotations

from graphql import GraphQLError


class ClientError(GraphQLError):
    """A request that cannot be served as it is.

    ``status`` becomes the HTTP status of the whole answer where W&B's client acts on it (404: a deleted sweep,
    409: try again, 400: give up). 200 leaves the error in ``errors`` only.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message, extensions={"status": status})
