"""What every resolver may use, handed over as ``info.context``."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from ..storage.blobs import Blobs
from ..storage.database import Database
from ..tokens import DOWNLOAD_SECONDS, UPLOAD_SECONDS, Signer


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
    signer: Signer

    @property
    def rows(self) -> sqlite3.Connection:
        """The connection for reading."""
        return self.database.read()

    def upload_url(self, path: str) -> str:
        """An address that takes one PUT of ``path`` (starts with a slash, not quoted) without a key."""
        return self.base_url + self.signer.address("PUT", path, UPLOAD_SECONDS)

    def download_url(self, path: str) -> str:
        """An address that answers GET of ``path`` (starts with a slash, not quoted) without a key."""
        return self.base_url + self.signer.address("GET", path, DOWNLOAD_SECONDS)
