"""What every resolver may use, handed over as ``info.context``."""

from __future__ import annotations

import sqlite3
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from .. import permissions
from ..permissions import User
from ..storage.blobs import Blobs
from ..storage.database import Database
from ..tokens import DOWNLOAD_SECONDS, UPLOAD_SECONDS, Signer


@dataclass(frozen=True)
class Context:
    """One request's surroundings.

    ``base_url`` is the address that the client used, for the URLs that it is given. ``shared`` is whether the client
    is one of several that write to its run at once; ``lease`` is the lease of a trial that it says it works under.
    ``tells_ends`` is whether the asker, if an agent, says which of its trials ended, as sweepkit's do. ``operation``
    is the name that the client gave the operation beside its document: wandb-core does so for its own requests, and
    not for those of the Python API.
    """

    database: Database
    blobs: Blobs
    user: User
    base_url: str
    signer: Signer
    memo: dict[Hashable, Any] = field(default_factory=dict)  # what several resolvers of this request need
    shared: bool = False
    lease: int | None = None
    tells_ends: bool = False
    operation: str | None = None

    @property
    def rows(self) -> sqlite3.Connection:
        """The connection for reading."""
        return self.database.read()

    def may_change(self, entity: str) -> bool:
        """Whether the asker may change what lies in ``entity``."""
        return permissions.may_change(self.rows, self.user, entity)

    def upload_url(self, path: str, entity: str) -> str:
        """An address that takes a PUT of ``path`` (starts with a slash, not quoted) without a key.

        It is for who may change what lies in ``entity``. Raises Denied.
        """
        permissions.check(self.rows, self.user, entity)
        return self.base_url + self.signer.address("PUT", path, UPLOAD_SECONDS)

    def download_url(self, path: str) -> str:
        """An address that answers GET of ``path`` (starts with a slash, not quoted) without a key."""
        return self.base_url + self.signer.address("GET", path, DOWNLOAD_SECONDS)
