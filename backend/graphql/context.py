"""What every resolver may use, handed over as ``info.context``."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from ..storage.blobs import Blobs
from ..storage.database import Database


@dataclass(frozen=True)
class User:
    """Who asks: found by the key that came with the request."""

    name: str
    email: str
    admin: bool


@dataclass(frozen=True)
class Context:
    """One request's surroundings. ``base_url`` is the address that the client used, for the URLs that it is given."""

    database: Database
    blobs: Blobs
    user: User
    base_url: str

    @property
    def rows(self) -> sqlite3.Connection:
        """The connection for reading."""
        return self.database.read()
