"""The one place that talks to a backend: W&B's GraphQL API, which W&B's servers and the embedded backend both speak.

The documents are in ``wandb_queries.py``; what they bring becomes the records of ``wandb_records.py``.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

from .. import __version__
from ..errors import SweepkitError, Unreachable, UsageError
from . import wandb_queries as queries
from .backends import Backend
from .wandb_files import Download
from .wandb_records import Artifact, File, Run, Sweep, SweepRef, artifact_of, at, file_of, floats, only, run_of, to_yaml

__all__ = ["Artifact", "NotFound", "Run", "Sweep", "SweepRef", "WandbApi"]

if TYPE_CHECKING:
    from pathlib import Path

    import requests

STATES = ("RUNNING", "PAUSED", "FINISHED", "CANCELED")


class NotFound(UsageError):
    """What was asked for does not exist on the backend (any more)."""


class WandbApi:
    """W&B's API on ``backend``.

    A request that meets no answer, 429 or 5xx is repeated for up to ``patience`` seconds; after that Unreachable is
    raised, with the address and what to do. A refused key is Unreachable too, a thing that is not there is NotFound
    (a UsageError), and an answer with GraphQL errors is a SweepkitError. No message holds a key.
    """

    def __init__(self, backend: Backend, patience: float = 10.0, timeout: float = 60.0) -> None:
        self.backend = backend
        self._patience = patience
        self._timeout = timeout

    # Sweeps

    @cached_property
    def entity(self) -> str:
        """The entity of the backend, or the default entity of the key's owner."""
        return self.backend.entity or at(self._ask(queries.VIEWER), "viewer", "entity") or self._no_entity()

    def create_sweep(
        self, config: Mapping[str, Any], project: str, entity: str | None = None, priors: Sequence[str] = ()
    ) -> SweepRef:
        """A new sweep from ``config``, which is sent as YAML text as W&B's own client does; it learns from ``priors``.

        These are ids of runs of its project; the embedded backend takes ``entity/project/id`` too.
        """
        place: dict[str, Any] = {"entity": entity or self.entity, "project": project}
        given = {"config": to_yaml(config), "description": config.get("description")}
        filters = json.dumps({"$or": [{"name": name} for name in priors]}) if priors else None
        answer = self._ask(queries.UPSERT_SWEEP, once=True, priors=filters, **given, **place)
        sweep = answer["upsertSweep"]["sweep"]
        home = sweep.get("project") or {}
        return SweepRef(at(home, "entity", "name") or place["entity"], home.get("name") or project, sweep["name"])

    def find_sweep(self, text: str) -> SweepRef:
        """The sweep that ``text`` names: an id, project/id, entity/project/id, or its address in the browser.

        A bare id is looked for in WANDB_PROJECT first and then in every project of the entity. Raises NotFound.
        """
        entity, project, name = self._parts(text, "sweeps")
        looked = []
        for candidate in self._candidates(entity, project):
            looked.append(candidate)
            if self._sweep_node(SweepRef(entity, candidate, name)):
                return SweepRef(entity, candidate, name)
        raise NotFound(
            f"there is no sweep {text!r} on {self._where}",
            f"looked in {_places(entity, looked)}; name it as entity/project/id, or choose another --backend",
        )

    def sweep(self, ref: SweepRef) -> Sweep:
        """The sweep's state, configuration and counts. Raises NotFound."""
        import yaml

        node = self._sweep_node(ref)
        if node is None:
            raise NotFound(f"there is no sweep {ref.path} on {self._where}")
        config = yaml.safe_load(node.get("config") or "") or {}
        name = node.get("displayName") or config.get("name") or ref.id
        expected = node.get("runCountExpected")
        return Sweep(
            ref, name, str(node["state"]).upper(), str(config.get("method", "")), config,
            run_count=int(node.get("runCount") or 0), expected=None if expected is None else int(expected),
            created_at=str(node.get("createdAt") or ""),
        )  # fmt: skip

    def prior_runs(self, ref: SweepRef) -> set[str]:
        """The ids of the runs from before the sweep that it learns from."""
        answer = self._ask(queries.PRIOR_RUNS, entity=ref.entity, project=ref.project, name=ref.id)
        return {str(edge["node"]["name"]) for edge in at(answer, "project", "sweep", "priorRuns", "edges") or []}

    def sweep_text(self, ref: SweepRef) -> str:
        """The sweep's configuration, as the YAML text that it was created with. Raises NotFound."""
        node = self._sweep_node(ref)
        if node is None:
            raise NotFound(f"there is no sweep {ref.path} on {self._where}")
        return str(node.get("config") or "")

    def edit_sweep(
        self,
        ref: SweepRef,
        config: Mapping[str, Any],
        name: str | None = None,
        description: str | None = None,
        state: str | None = None,
    ) -> list[str]:
        """Give a sweep another configuration, and a name, a description and a state where these are given.

        Returns the backend's warnings. Raises NotFound.
        """
        node = self._sweep_node(ref)
        if node is None:
            raise NotFound(f"there is no sweep {ref.path} on {self._where}")
        given: dict[str, Any] = {
            "config": to_yaml(config),
            "displayName": name,
            "description": description,
            "state": state,
        }
        place = {"id": node["id"], "entity": ref.entity, "project": ref.project}
        answer = self._ask(queries.UPSERT_SWEEP, **place, **given)
        return [str(warning) for warning in at(answer, "upsertSweep", "configValidationWarnings") or []]

    def set_state(self, ref: SweepRef, state: str) -> None:
        """RUNNING, PAUSED, FINISHED (no more trials) or CANCELED (running trials are stopped too)."""
        if state not in STATES:
            raise UsageError(f"{state!r} is no state of a sweep", f"choose one of {', '.join(STATES)}")
        node = self._sweep_node(ref)
        if node is None:
            raise NotFound(f"there is no sweep {ref.path} on {self._where}")
        self._ask(queries.UPSERT_SWEEP, id=node["id"], state=state, entity=ref.entity, project=ref.project)

    def last_search(self, ref: SweepRef) -> str | None:
        """When a scheduler outside the server was heard of last: by its controller run, to which it logs."""
        place = {"entity": ref.entity, "project": ref.project}
        name = at(self._find(queries.CONTROLLER, **place, name=ref.id), "project", "sweep", "controllerRunName")
        answer = self._find(queries.LAST_BEAT, **place, name=name) if name else {}
        beat = at(answer, "project", "run", "heartbeatAt")
        return str(beat) if beat else None

    def agents(self, ref: SweepRef) -> list[dict[str, Any]]:
        """The sweep's agents: id, name, host, state, totalRuns, createdAt, heartbeatAt, and in runs the latest few."""
        answer = self._ask(queries.AGENTS, entity=ref.entity, project=ref.project, name=ref.id)
        return [edge["node"] for edge in at(answer, "project", "sweep", "agents", "edges") or []]

    def create_agent(self, ref: SweepRef, host: str) -> str:
        """Register an agent; its id is what heartbeats are sent with."""
        answer = self._ask(queries.CREATE_AGENT, host=host, entity=ref.entity, project=ref.project, sweep=ref.id)
        return str(answer["createAgent"]["agent"]["id"])

    def heartbeat(self, agent_id: str, run_states: Mapping[str, bool]) -> list[dict[str, Any]]:
        """Say which runs live; the answer is W&B's commands: ``run``, ``resume``, ``stop`` and ``exit``.

        Raises NotFound when the sweep was deleted.
        """
        answer = self._ask(queries.HEARTBEAT, id=agent_id, metrics="{}", runState=json.dumps(dict(run_states)))
        return list(json.loads(at(answer, "agentHeartbeat", "commands") or "[]"))

    # Runs

    def runs(self, ref: SweepRef) -> list[Run]:
        """All runs of a sweep, in order of creation."""
        filters = json.dumps({"$and": [{"sweep": ref.id}]})
        place: dict[str, Any] = {"entity": ref.entity, "project": ref.project}
        nodes = self._pages(queries.SWEEP_RUNS, ("project", "runs"), filters=filters, **place)
        return [run_of(node, **place) for node in nodes]

    def run(self, text: str) -> Run:
        """The run that ``text`` names, in the same ways as a sweep. Raises NotFound."""
        entity, project, name = self._parts(text, "runs")
        looked = []
        for candidate in self._candidates(entity, project):
            looked.append(candidate)
            answer = self._find(queries.FIND_RUN, entity=entity, project=candidate, name=name)
            if node := at(answer, "project", "run"):
                return run_of(node, entity, candidate)
        raise NotFound(
            f"there is no run {text!r} on {self._where}",
            f"looked in {_places(entity, looked)}; name it as entity/project/id",
        )

    def some_runs(self, text: str, named: bool = False) -> list[Run]:
        """Where ``run(text)`` looks: the newest hundred runs of each project; ``named``: those of that display name.

        Without their configuration and values.
        """
        entity, project, name = self._parts(text, "runs")
        filters = json.dumps({"display_name": name} if named else {})
        found: list[Run] = []
        for candidate in self._candidates(entity, project):
            answer = self._find(queries.SOME_RUNS, entity=entity, project=candidate, filters=filters)
            edges = at(answer, "project", "runs", "edges") or []
            found += [run_of(edge["node"], entity, candidate) for edge in edges]
        return found

    def last_lines(self, run: Run, number: int) -> list[tuple[int, str]]:
        """The last ``number`` lines (a server gives 1000 at most) of what ``run`` wrote, with their places from 0."""
        answer = at(self._find(queries.LOG_TAIL, last=number, **_place(run)), "project", "run", "logLines") or {}
        return [(int(edge["node"]["number"]), str(edge["node"]["line"])) for edge in answer.get("edges") or []]

    def all_lines(self, run: Run) -> Iterator[tuple[int, str]]:
        """``last_lines``, all of them."""
        after = None
        while True:
            page = at(self._find(queries.LOG_PAGE, after=after, **_place(run)), "project", "run", "logLines") or {}
            for edge in page.get("edges") or []:
                yield int(edge["node"]["number"]), str(edge["node"]["line"])
            after = at(page, "pageInfo", "endCursor")
            if not at(page, "pageInfo", "hasNextPage") or not after:
                return

    def history(self, run: Run, keys: list[str] | None = None) -> list[dict[str, Any]]:
        """Every row that ``run`` logged, in step order, never sampled.

        With ``keys``, only the rows that hold all of them, reduced to them and ``_step``; a key of a nested value is
        dotted. NaN and infinities, which JSON spells as texts, are floats.
        """
        rows = [row for page in self.history_pages(run) for row in page]
        rows.sort(key=_step)
        return rows if not keys else [kept for row in rows if (kept := only(row, keys)) is not None]

    def history_pages(self, run: Run) -> Iterator[list[dict[str, Any]]]:
        """All rows as ``history`` has them, some thousand steps at a time, for a run that does not fit in memory."""
        place = _place(run)
        last = at(self._ask(queries.LAST_STEP, **place), "project", "run", "historyKeys", "lastStep")
        starts = list(range(0, int(-1 if last is None else last) + 1, queries.HISTORY_PAGE))
        for first in range(0, len(starts), queries.PAGES_A_REQUEST):
            document = queries.history_document(starts[first : first + queries.PAGES_A_REQUEST])
            pages = at(self._ask(document, **place), "project", "run") or {}
            rows = [floats(json.loads(line)) for page in pages.values() for line in page or []]
            yield sorted(rows, key=_step)

    def values(self, runs: Sequence[Run], key: str) -> list[list[dict[str, Any]]]:
        """``history(run, [key])`` of each of ``runs`` of one project, in a request for every few of them."""
        found: list[list[dict[str, Any]]] = []
        for first in range(0, len(runs), queries.RUNS_A_REQUEST):
            some = runs[first : first + queries.RUNS_A_REQUEST]
            names = {f"r{n}": run.id for n, run in enumerate(some)}
            specs = [json.dumps({"keys": ["_step", key], "samples": queries.VALUES})]
            place: dict[str, Any] = {"entity": some[0].entity, "project": some[0].project}
            answer = at(self._find(queries.values_document(len(some)), specs=specs, **place, **names), "project") or {}
            for name, run in zip(names, some, strict=True):
                rows = [row for part in at(answer, name, "sampledHistory") or [] for row in floats(part or [])]
                never = not rows and key not in run.summary and at(run.summary, *key.split(".")) is None
                whole = never or 0 < len(rows) < queries.VALUES  # of as many as were asked for, some may be left out
                found.append(sorted(rows, key=_step) if whole else self.history(run, [key]))
        return found

    def was_stopped(self, ref: SweepRef, run_id: str) -> bool:
        """Whether the backend has asked this run of the sweep to stop (by early termination, or by a person)."""
        answer = self._find(queries.STOPPED, entity=ref.entity, project=ref.project, name=run_id)
        return bool(at(answer, "project", "run", "stopped"))

    def stop_run(self, ref: SweepRef, run_id: str) -> None:
        """Ask a run of the sweep to stop. Raises NotFound; one that has ended stays as it is."""
        found = at(self._ask(queries.RUN_ID, entity=ref.entity, project=ref.project, name=run_id), "project", "run")
        if not found:
            raise NotFound(f"there is no run {ref.entity}/{ref.project}/{run_id} on {self._where}")
        self._ask(queries.STOP_RUN, id=found["id"])

    def artifacts(self, run: Run) -> list[Artifact]:
        """What ``run`` logged."""
        nodes = self._pages(queries.ARTIFACTS, ("project", "run", "outputArtifacts"), **_place(run))
        return [artifact_of(node) for node in nodes]

    # Files

    def files(self, run: Run) -> list[File]:
        """The files of a run."""
        return [file_of(node) for node in self._pages(queries.RUN_FILES, ("project", "run", "files"), **_place(run))]

    def artifact_files(self, run: Run, artifact: Artifact) -> list[File]:
        """The files of a version that ``run`` logged; those that lie elsewhere (references) are left out."""
        path = ("project", "artifactCollection", "artifactMembership", "files")
        named = {"collection": artifact.name, "version": artifact.version}
        nodes = self._pages(queries.ARTIFACT_FILES, path, entity=run.entity, project=run.project, **named)
        return [file_of(node) for node in nodes if urlparse(node.get("directUrl") or "").scheme in ("http", "https")]

    def download(self, file: File, target: Path) -> None:
        """Write a file's content to ``target``, and compare its MD5 where one is known.

        Raises Unreachable when the content does not come, also after repetitions; SweepkitError where it is damaged.
        """
        Download(self._session, self.backend.url, self._patience, self._timeout).to(file, target)

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

    def _sweep_node(self, ref: SweepRef) -> dict[str, Any] | None:
        answer = self._find(queries.FIND_SWEEP, entity=ref.entity, project=ref.project, name=ref.id)
        return at(answer, "project", "sweep")

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


def _step(row: Mapping[str, Any]) -> Any:
    return row.get("_step", 0)


def _place(run: Run) -> dict[str, Any]:
    return {"entity": run.entity, "project": run.project, "name": run.id}


def _places(entity: str, projects: list[str]) -> str:
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
