"""Which tables a page shows: those in a version of an artifact, and those that a run logged."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from ..storage import artifacts as stored_artifacts
from ..storage.blobs import Blobs
from . import artifact_data, media
from .artifact_data import Version
from .data import Rows
from .links import link

MOST = 12  # on one page
_LOGGED = "run_table"  # the type of the artifacts that the client makes of tables given to ``run.log``


def of_version(rows: Rows, blobs: Blobs, version: Version) -> list[media.Preview]:
    """The tables among the files of a version."""
    stored = stored_artifacts.entries(rows, version.pk)
    tables = [entry for entry in stored if entry["name"].endswith(media.SUFFIX)][:MOST]
    return [_of_entry(rows, blobs, version, entry) for entry in tables]


def of_run(
    rows: Rows, blobs: Blobs, logged: Sequence[Version], files: Sequence[sqlite3.Row], base: str
) -> list[media.Preview]:
    """The newest table of each key that a run logged.

    The client logs a table twice: as an artifact, and as a run file in which a picture is only the word "Image".
    So the file counts only where there is no artifact.
    """
    newest = {version.collection: version for version in logged if version.type == _LOGGED}  # in order of versions
    found = {table.name: table for version in newest.values() for table in of_version(rows, blobs, version)}
    address = media.below(f"{base}/files", {file["name"] for file in files})
    for key, file in _files_by_key(files).items():
        if key not in found:
            found[key] = media.preview(blobs, file, key, address)
    return list(found.values())[:MOST]


def _of_entry(rows: Rows, blobs: Blobs, version: Version, entry: sqlite3.Row) -> media.Preview:
    """A table whose content came with another version refers to it, and so do its pictures."""
    owner, stored = version, entry
    if entry["ref"] and not entry["digest"]:
        there = artifact_data.referred(rows, entry["ref"])
        home = artifact_data.by_id(rows, there["artifact_id"]) if there else None
        if there and home:
            owner, stored = home, there
    names = {row["name"] for row in stored_artifacts.entries(rows, owner.pk)}
    return media.preview(
        blobs, stored, entry["name"].removesuffix(media.SUFFIX), media.below(link(*owner.address) + "/files", names)
    )


def _files_by_key(files: Sequence[sqlite3.Row]) -> dict[str, sqlite3.Row]:
    """W&B's client keeps one file a step, ``media/table/{key}_{step}_{digest}.table.json``: the newest of each key."""
    tables = [file for file in files if file["name"].endswith(media.SUFFIX)]
    return {media.table_name(file["name"]): file for file in sorted(tables, key=lambda file: file["updated_at"])}
