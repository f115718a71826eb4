"""A sweep as plain files that need no backend: configuration, runs and histories as Parquet, files as they are."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..errors import UsageError
from .parquet import Spool, flat
from .wandb_api import SweepRef, WandbApi
from .wandb_records import Artifact, File, Run

_RUN_COLUMNS = ("id", "name", "state", "created_at", "heartbeat_at", "sweep", "tags")
_FILE_COLUMNS = ("run_id", "artifact", "name", "path", "size", "md5")
_ARTIFACT_COLUMNS = ("run_id", "name", "type", "version", "aliases", "digest", "size")
_LONGEST = 200  # bytes of a file's name on disk; longer ones are cut and end in a hash
_DOWNLOADS = 8
_UNSAFE = '%\\/:*?"<>|'  # somewhere no name may hold it; % because it is the sign that stands for them


@dataclass(frozen=True)
class Export:
    """What was written."""

    path: str
    runs: int
    rows: int
    files: int
    artifacts: int
    bytes: int


def export(api: WandbApi, ref: SweepRef, folder: Path, artifacts: bool = False) -> Export:
    """Write the sweep to ``folder``, which appears when all of it is there; with ``artifacts`` their files as well.

    Raises:
        UsageError: the folder is there and not empty, or cannot be written.
        NotFound: there is no such sweep.
        Unreachable, SweepkitError: a file cannot be got, or is damaged.
    """
    folder = folder.absolute()
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UsageError(f"{folder} is there and not empty", "choose another folder; nothing is overwritten")
    text = api.sweep_text(ref)
    draft = folder.with_name(f"{folder.name}.part-{os.getpid()}")
    try:
        draft.mkdir(parents=True)
        try:
            made = _write(api, ref, text, draft, artifacts)
            draft.replace(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        raise UsageError(f"cannot write {folder}: {error.strerror or error}", "choose another folder") from error
    return Export(str(folder), *made)


def _write(
    api: WandbApi, ref: SweepRef, text: str, draft: Path, with_artifacts: bool
) -> tuple[int, int, int, int, int]:
    (draft / "sweep.yaml").write_text(text, encoding="utf-8")
    spools = draft / ".spools"
    spools.mkdir()
    table, history = Spool(spools / "runs", _RUN_COLUMNS), Spool(spools / "history", ("run_id", "_step"))
    kept, logged = Spool(spools / "files", _FILE_COLUMNS), Spool(spools / "artifacts", _ARTIFACT_COLUMNS)
    runs = api.runs(ref)
    table.add(_run_row(run) for run in runs)
    for run in _shown(runs):
        history.add(_history_rows(api, run))
        kept.add(_got(api, run, "", api.files(run), draft, ("files", run.id)))
        versions = api.artifacts(run)
        logged.add(_artifact_row(run, version) for version in versions)
        for version in versions if with_artifacts else ():
            name = f"{version.name}:{version.version}"
            place = ("artifacts", version.name, version.version)
            if not inside(draft, *place).exists():  # several runs may have logged it
                kept.add(_got(api, run, name, api.artifact_files(run, version), draft, place))
    for spool, name in ((table, "runs"), (history, "history"), (kept, "files"), (logged, "artifacts")):
        spool.write(draft / f"{name}.parquet")
    shutil.rmtree(spools)
    size = sum(file.stat().st_size for file in draft.rglob("*") if file.is_file())
    return len(runs), history.rows, kept.rows, logged.rows, size


def _run_row(run: Run) -> dict[str, Any]:
    own = {name: getattr(run, name) for name in _RUN_COLUMNS}
    return {**own, "tags": list(run.tags), **flat(run.config, "config."), **flat(run.summary, "summary.")}


def _history_rows(api: WandbApi, run: Run) -> Iterator[dict[str, Any]]:
    """A metric that is called ``run_id`` becomes ``run_id_``."""
    for page in api.history_pages(run):
        for row in page:
            values = flat(row)
            if "run_id" in values:
                values["run_id_"] = values.pop("run_id")
            yield {"run_id": run.id, **values}


def _artifact_row(run: Run, version: Artifact) -> dict[str, Any]:
    return {"run_id": run.id, **vars(version), "aliases": list(version.aliases)}


def _got(
    api: WandbApi, run: Run, artifact: str, listed: Sequence[File], draft: Path, place: tuple[str, ...]
) -> Iterator[dict[str, Any]]:
    """Download files to their places below the draft; a row of each."""

    def get(file: File, target: Path) -> dict[str, Any]:
        api.download(file, target)
        path = target.relative_to(draft).as_posix()
        own = {"run_id": run.id, "artifact": artifact, "name": file.name, "path": path}
        return {**own, "size": target.stat().st_size, "md5": file.md5}

    targets = [_placed(inside(draft, *place), file.name) for file in listed]
    with ThreadPoolExecutor(_DOWNLOADS) as threads:
        yield from threads.map(get, listed, targets)


def inside(folder: Path, *names: str) -> Path:
    """A place below ``folder`` for names that anyone may have chosen: what no path may hold is written as %XX."""
    return folder.joinpath(*(_segment(name) for name in names))


def _segment(name: str) -> str:
    if name in ("", ".", ".."):
        return "%2E" * len(name) or "%"
    harmless = (c if c.isprintable() and c not in _UNSAFE else quote(c, safe="", errors="replace") for c in name)
    encoded = "".join(harmless).encode("utf-8", "replace")
    if len(encoded) <= _LONGEST:
        return encoded.decode()
    return encoded[:_LONGEST].decode("utf-8", "ignore") + "-" + sha256(name.encode("utf-8", "replace")).hexdigest()[:12]


def _placed(folder: Path, name: str) -> Path:
    """An empty file for ``name`` below ``folder``; beside its place where a file and a folder would have one name."""
    wanted = inside(folder, *name.split("/"))
    try:
        wanted.parent.mkdir(parents=True, exist_ok=True)
        wanted.open("xb").close()
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        wanted = folder / f"{_segment(name)}%"
        wanted.touch()
    return wanted


def _shown(runs: Iterable[Run]) -> Iterator[Run]:
    """The runs one after the other, with a bar on a terminal."""
    from tqdm import tqdm

    yield from tqdm(list(runs), desc="runs", file=sys.stderr, disable=None, leave=False)
