"""Which backend serves a command: W&B's servers, or the embedded one."""

from __future__ import annotations

import netrc
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlparse

from ..errors import UsageError
from ..home import Server

WANDB_URL = "https://api.wandb.ai"


@dataclass(frozen=True)
class Backend:
    """A place that speaks W&B's API. ``entity`` is None where the key's own default entity is meant."""

    kind: str
    url: str
    key: str
    entity: str | None = None

    def environment(self) -> dict[str, str]:
        """The variables that point a wandb client at this backend, and keep everything on the machine if it is ours."""
        variables = {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": self.key}
        if self.entity:
            variables["WANDB_ENTITY"] = self.entity
        if self.kind == "embedded":
            variables["WANDB_ERROR_REPORTING"] = "false"
        return variables

    @property
    def heartbeat(self) -> float:
        """Seconds between two heartbeats of an agent: W&B's servers expect 5 (`wandb/wandb_agent.py`); the embedded
        backend answers hundreds a second, and a trial that is to stop early should hear of it soon."""
        return 1.0 if self.kind == "embedded" else 5.0

    @property
    def moves_trials(self) -> bool:
        """Whether a trial whose agent is not heard of goes to another one; W&B's servers promise no such thing."""
        return self.kind == "embedded"

    def web(self) -> str:
        """The address that people open: W&B serves its pages beside its API."""
        if self.url == WANDB_URL:
            return "https://wandb.ai"
        return self.url

    def describe(self) -> str:
        """One line for the terminal."""
        if self.kind == "embedded":
            return f"embedded backend at {self.url} (no account, nothing leaves this machine)"
        return f"W&B at {self.web()}"


def choose(name: str, start: Callable[[], Server]) -> Backend:
    """The backend that ``--backend auto|embedded|wandb`` means here.

    ``auto`` is W&B when the user has set ``WANDB_BASE_URL`` or has a key for W&B (environment or netrc), else the
    embedded one. ``start`` finds or starts the embedded backend. Raises UsageError when W&B is asked for without a key.
    """
    url = os.environ.get("WANDB_BASE_URL", "").rstrip("/") or WANDB_URL
    key = _wandb_key(url)
    if name == "auto":
        name = "wandb" if key or url != WANDB_URL else "embedded"
    if name == "wandb":
        if not key:
            raise UsageError(f"no API key for {url} was found", "log in with `wandb login`, or use --backend embedded")
        return Backend("wandb", url, key, os.environ.get("WANDB_ENTITY") or None)
    server = start()
    return Backend("embedded", server.url, server.key, server.entity)


def _wandb_key(url: str) -> str | None:
    if key := os.environ.get("WANDB_API_KEY"):
        return key
    file = Path(os.environ.get("NETRC") or "~/.netrc").expanduser()
    try:
        entry = netrc.netrc(str(file)).authenticators(urlparse(url).hostname or "")
    except (OSError, netrc.NetrcParseError):
        return None
    return entry[2] if entry else None
