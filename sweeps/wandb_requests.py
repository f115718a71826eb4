"""Requests to a backend, by W&B's GraphQL API: repeated where that may help, told in plain words where they fail."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

from .. import __version__
from ..errors import SweepkitError, Unreachable, UsageError
from . import wandb_queries as queries
from .backends import Backend
from .wandb_records import at

if TYPE_CHECKING:
    import requests


class NotFound(UsageError):
    """What was asked for does not exist on the backend (any more)."""


class Requests:
    """What all of W&B's API has in common.

    A request that meets no answer, 429 or 5xx is repeated for up to ``patience`` seconds; after that Unreachable is
    raised, with the address and what to do. A refused key is Unreachable too, a thing that is not there is NotFound
    (a UsageError), and an answer with GraphQL errors is a SweepkitError. No message holds a key.
    """

    def __init__(self, backend: Backend, patience: float = 10.0, timeout: float = 60.0) -> None:
        self.backend = backend
        self._patience = patience
        self._timeout = timeout

    @cached_property
    def entity(self) -> str:
        """The entity of the backend, or the default entity of the key's owner."""
        return self.backend.entity or at(self._ask(queries.VIEWER), "viewer", "entity") or self._no_entity()

    # Finding

    def _parts(self, text: str, noun: str) -> tuple[str, str | None, str]:
        path = urlparse(text).path if "://" in text else text
        parts = [unquote(part) for part in path.strip("/").split("/")]
        if "://" in text and len(parts) == 4 and parts[2] == noun:
            del parts[2]
        if not 1 <= len(parts) <= 3 or not all(parts):
            ways = "give its id, project/id, entity/project/id or its address in the browser"
            raise UsageError(f"{text!r} does not name one of the {noun}", ways)
        project = parts[-2] if len(parts) > 1 else None
        return parts[0] if len(parts) == 3 else self.entity, project, parts[-1]

    def _candidates(self, entity: str, project: str | None) -> Iterator[str]:
        if project:
            yield project
            return
        first = os.environ.get("WANDB_PROJECT")
        if first:
            yield first
        for node in self._pages(queries.PROJECTS, ("models",), entity=entity):
            if node["name"] != first:
                yield str(node["name"])

    def _find(self, document: str, **variables: Any) -> dict[str, Any]:
        """Like ``_ask``; what is not there is an empty answer, whether the server says null or 404."""
        try:
            return self._ask(document, **variables)
        except NotFound:
            return {}

    def _pages(self, document: str, path: tuple[str, ...], **variables: Any) -> Iterator[dict[str, Any]]:
        cursor = None
        while True:
            page = at(self._ask(document, cursor=cursor, **variables), *path) or {}
            yield from (edge["node"] for edge in page.get("edges") or [])
            if not at(page, "pageInfo", "hasNextPage"):
                return
            cursor = page["pageInfo"]["endCursor"]

    @property
    def _where(self) -> str:
        return "the embedded backend" if self.backend.kind == "embedded" else self.backend.web()

    def _no_entity(self) -> str:
        raise UsageError(f"the key for {self.backend.url} has no default entity", "set WANDB_ENTITY")

    # Asking

    @cached_property
    def _session(self) -> requests.Session:
        import requests  # a fifth of a second, which `--help` and the like need not pay

        session = requests.Session()
        session.auth = ("api", self.backend.key)
        session.headers["User-Agent"] = f"sweepkit/{__version__}"  # the embedded backend knows its own agents by it
        session.trust_env = self.backend.kind != "embedded"  # no proxy between a machine and itself
        return session

    def _ask(self, document: str, once: bool = False, **variables: Any) -> dict[str, Any]:
        """The ``data`` of the answer. What is asked ``once`` is asked again only if no server can have taken it."""
        import requests

        body = {"query": document, "variables": variables}
        deadline = time.monotonic() + self._patience
        pause = 0.1
        while True:
            try:
                answer = self._session.post(f"{self.backend.url}/graphql", json=body, timeout=self._timeout)
                problem = f"answered {answer.status_code}"
                again = answer.status_code == 429 or (answer.status_code >= 500 and not once)
            except requests.RequestException as error:
                answer, problem = None, _reason(error)
                again = not once or isinstance(error, requests.ConnectTimeout) or "refused" in problem
            if answer is not None and answer.status_code != 429 and answer.status_code < 500:
                return self._data(answer)
            if not again or time.monotonic() + pause > deadline:
                raise self._unreachable(problem)
            time.sleep(pause * random.uniform(0.5, 1.0))  # many agents must not come back in step
            pause = min(2 * pause, 5.0)

    def _data(self, answer: requests.Response) -> dict[str, Any]:
        if answer.status_code in (401, 403):
            raise Unreachable(f"{self.backend.url} refused the API key", self._login())
        try:
            content = answer.json()
        except ValueError as error:
            raise Unreachable(f"{self.backend.url} did not answer as W&B's API does (HTTP {answer.status_code})",
                              "check the address in WANDB_BASE_URL") from error  # fmt: skip
        errors = content.get("errors") if isinstance(content, dict) else None
        if errors or answer.status_code >= 400:
            raise self._refused(answer.status_code, errors or [])
        return dict(content["data"])

    def _refused(self, status: int, errors: list[Any]) -> SweepkitError:
        text = "; ".join(str(error.get("message", error) if isinstance(error, dict) else error) for error in errors)
        statuses = [at(error, "extensions", "status") for error in errors if isinstance(error, dict)]
        if status == 404 or 404 in statuses:
            return NotFound(f"{self.backend.url} does not know it: {text or 'HTTP 404'}")
        return SweepkitError(f"{self.backend.url} refused the request: {text or f'HTTP {status}'}")

    def _login(self) -> str:
        if self.backend.kind == "embedded":
            return "restart it: `sweepkit serve --stop`, then `sweepkit serve`"
        return "log in again with `wandb login --relogin`"

    def _unreachable(self, problem: str) -> Unreachable:
        if self.backend.kind == "embedded":
            hint = "start it with `sweepkit serve`; its log is server.log in the data folder"
        else:
            hint = "check the network and WANDB_BASE_URL, or work without W&B: --backend embedded"
        return Unreachable(f"the backend at {self.backend.url} is out of reach: {problem}", hint)


def places(entity: str, projects: list[str]) -> str:
    shown = ", ".join(f"{entity}/{project}" for project in projects[:5])
    return (shown + f" and {len(projects) - 5} more" * (len(projects) > 5)) or f"{entity} (it has no projects)"


def _reason(error: Exception) -> str:
    """A few words on why there was no answer; what requests says itself holds addresses of objects in memory."""
    text = str(error).lower()
    for found, said in (
        ("refused", "connection refused"), ("resolve", "its name is not known"), ("timed out", "no answer in time"),
        ("certificate", "its certificate is not trusted"), ("reset", "connection reset"),
        ("unreachable", "there is no way to it"),
    ):  # fmt: skip
        if found in text:
            return said
    return f"the connection broke ({type(error).__name__})"
