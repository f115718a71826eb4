"""Runs, as they are read from a backend: their records, histories, output and files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

from . import wandb_queries as queries
from .wandb_files import Download
from .wandb_records import Artifact, File, Run, SweepRef, artifact_of, at, file_of, floats, only, run_of
from .wandb_requests import NotFound, Requests, places

if TYPE_CHECKING:
    from pathlib import Path


class RunReading(Requests):
    """Reads runs, and changes none."""

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
            f"looked in {places(entity, looked)}; name it as entity/project/id",
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


def _step(row: Mapping[str, Any]) -> Any:
    return row.get("_step", 0)


def _place(run: Run) -> dict[str, Any]:
    return {"entity": run.entity, "project": run.project, "name": run.id}
