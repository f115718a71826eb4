"""Who may change what: the one rule, for GraphQL, the file stream and uploads.

Everyone with a key sees everything. What lies in a user's own entity is changed by that user only; an entity that is
no user's is shared, and everybody's to change. Administrators change everything.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from starlette.requests import Request

from .graphql.errors import ClientError
from .storage import users


@dataclass(frozen=True)
class User:
    """Who asks: found by the key or cookie that came with the request. Nameless where a signed address did."""

    name: str
    email: str
    admin: bool


class Denied(ClientError):
    """403, which W&B's client takes for final. The code is the one that W&B's servers give."""

    def __init__(self, message: str) -> None:
        super().__init__(f"permission denied: {message}", 403)
        self.extensions = {**(self.extensions or {}), "code": "PERMISSION_ERROR"}


def may_change(conn: sqlite3.Connection, user: User, entity: str) -> bool:
    """Whether ``user`` may change what lies in ``entity``."""
    return user.admin or (user.name != "" and not users.owned_by_another(conn, entity, user.name))


def check(conn: sqlite3.Connection, user: User, entity: str) -> None:
    """Raises Denied."""
    if not may_change(conn, user, entity):
        who = f"you are {user.name}" if user.name else "a signed address permits what it was made for only"
        raise Denied(f"{entity}/ is changed by {entity} and by administrators only, {who}")


def check_upload(conn: sqlite3.Connection, request: Request, entity: str) -> None:
    """Raises Denied. An address that was signed for this very upload is the permission, whoever uses it."""
    if not request.state.signed:
        check(conn, request.state.user, entity)
