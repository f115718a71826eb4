"""Which contents something points to, and which can go: the one place that knows every column with a blob's digest.

Versions are gone when they were deleted, have expired, or were begun more than a day ago and never finished, with no
run alive that could finish them. What only they need goes with them. Contents of a project in which a version is
being written stay until the next time: that version may have been told that they need not be sent.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from .. import clock
from . import artifacts
from .blobs import Blobs
from .database import Database

CONTENTS = ("files", "artifact_manifests", "artifact_contents", "artifact_entries")  # tables; the column is digest
PARTS = ("artifact_parts",)  # of large files on their way, in a folder of their own
PREFIXES = tuple(f"{number:02x}" for number in range(256))  # of digests, to look at some of them at a time
ABANDONED_SECONDS = 86400.0
_STEP = 500  # rows or contents that one change looks at, so that other requests need not wait

_ALIVE = """EXISTS (SELECT 1 FROM artifact_outputs o JOIN runs r ON r.id = o.run_id
    WHERE o.artifact_id = artifacts.id AND r.state IN ('pending', 'running', 'preempting'))"""
_ABANDONED = f"(artifacts.state = 'PENDING' AND artifacts.created_at < :before AND NOT {_ALIVE})"
_GONE = f"""(SELECT id FROM artifacts WHERE state = 'DELETED' OR {_ABANDONED}
    OR (state = 'COMMITTED' AND expires_at <= :now))"""
_WRITTEN = f"(SELECT id FROM artifacts WHERE state = 'PENDING' AND NOT {_ABANDONED})"
_BUSY_PROJECTS = f"""(SELECT c.project_id FROM artifacts a JOIN artifact_collections c ON c.id = a.sequence_id
    WHERE a.id IN {_WRITTEN})"""
_BASES = f"(SELECT base_id FROM artifact_manifests WHERE base_id IS NOT NULL AND artifact_id IN {_WRITTEN})"
_NEEDED = f"""
    SELECT digest FROM files WHERE digest >= :low AND digest < :high
    UNION SELECT digest FROM artifact_entries WHERE digest >= :low AND digest < :high AND artifact_id NOT IN {_GONE}
    UNION SELECT digest FROM artifact_manifests WHERE digest >= :low AND digest < :high
        AND (artifact_id NOT IN {_GONE} OR artifact_id IN {_BASES})
    UNION SELECT digest FROM artifact_contents WHERE digest >= :low AND digest < :high
        AND project_id IN {_BUSY_PROJECTS}"""
_FREED_PARTS = f"""artifact_id IN {_GONE}
    OR artifact_id IN (SELECT id FROM artifacts WHERE state = 'COMMITTED' AND updated_at < :before)"""


@dataclass(frozen=True)
class Found:
    """What was collected, or could be: contents and their bytes on disk."""

    blobs: int = 0
    bytes: int = 0

    def __add__(self, other: Found) -> Found:
        return Found(self.blobs + other.blobs, self.bytes + other.bytes)


def needed(conn: sqlite3.Connection, prefix: str) -> set[str]:
    """The contents whose digest begins with ``prefix`` (two digits) that would stay if all garbage were collected."""
    return {row[0] for row in conn.execute(_NEEDED, {**_range(prefix), **_times()})}


def pointed_to(conn: sqlite3.Connection, prefix: str, tables: Sequence[str] = CONTENTS) -> set[str]:
    """The contents whose digest begins with ``prefix`` that any row of ``tables`` points to."""
    query = " UNION ".join(f"SELECT digest FROM {table} WHERE digest >= :low AND digest < :high" for table in tables)
    return {row[0] for row in conn.execute(query, _range(prefix))}


def needed_parts(conn: sqlite3.Connection, prefix: str) -> set[str]:
    """The same for parts: those of uploads that somebody may complete."""
    query = f"SELECT digest FROM artifact_parts WHERE digest >= :low AND digest < :high AND NOT ({_FREED_PARTS})"
    return {row[0] for row in conn.execute(query, {**_range(prefix), **_times()})}


def forget(database: Database) -> int:
    """Delete what is gone, and the rows of contents that only it needed; how many versions were deleted now.

    In steps: other requests have their turn between two of them.
    """
    database.write(artifacts.expire)
    deleted = database.write(_abandon)
    _in_steps(database, f"artifact_entries WHERE artifact_id IN {_GONE}", "artifact_id, name")
    _in_steps(database, f"artifact_manifests WHERE artifact_id IN {_GONE} AND artifact_id NOT IN {_BASES}", "id")
    _in_steps(database, f"artifact_parts WHERE {_FREED_PARTS}", "artifact_id, file_md5, number")
    _forget_contents(database)
    return deleted


def drop(database: Database, blobs: Blobs, digests: Iterable[str], tables: Sequence[str] = CONTENTS) -> Found:
    """Delete those of ``digests`` that no row of ``tables`` points to and that nobody holds.

    Looked at in the writer, so that no row can come in between; and both as committed and as it will be, so that
    nothing is deleted for a change that may still fail.
    """
    exists = " OR ".join(f"EXISTS (SELECT 1 FROM {table} WHERE digest = :digest)" for table in tables)

    def change(conn: sqlite3.Connection) -> Found:
        found = Found()
        for digest in digests:
            given = {"digest": digest}
            if any(each.execute(f"SELECT {exists}", given).fetchone()[0] for each in (conn, database.read())):
                continue
            size = blobs.drop(digest)
            found += Found() if size is None else Found(1, size)
        return found

    found = database.write(change)
    blobs.clear_dropped()
    return found


def _abandon(conn: sqlite3.Connection) -> int:
    rows = conn.execute(f"SELECT id FROM artifacts WHERE {_ABANDONED}", _times()).fetchall()
    for row in rows:
        artifacts.delete(conn, row["id"], with_aliases=True)
    return len(rows)


def _in_steps(database: Database, rows: str, key: str) -> None:
    """``DELETE FROM rows``, some at a time."""
    table = rows.split(" ", 1)[0]
    query = f"DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {rows} LIMIT {_STEP})"
    while database.write(lambda conn: conn.execute(query, _times()).rowcount) == _STEP:
        pass


def _forget_contents(database: Database) -> None:
    """Contents that no version has and that none which is being written may rely on, from the first to the last."""
    after: tuple[int, str] | None = (-1, "")
    while after is not None:
        after = database.write(partial(_forget_contents_after, project_id=after[0], md5=after[1]))


def _forget_contents_after(conn: sqlite3.Connection, project_id: int, md5: str) -> tuple[int, str] | None:
    last = conn.execute(
        "SELECT project_id, md5 FROM artifact_contents WHERE (project_id, md5) > (?, ?)"
        f" ORDER BY project_id, md5 LIMIT 1 OFFSET {_STEP}",
        (project_id, md5),
    ).fetchone()
    end = (last["project_id"], last["md5"]) if last else (2**62, "")
    conn.execute(
        "DELETE FROM artifact_contents WHERE (project_id, md5) > (:project, :md5)"
        " AND (project_id, md5) <= (:last_project, :last_md5)"
        " AND NOT EXISTS (SELECT 1 FROM artifact_entries e WHERE e.digest = artifact_contents.digest)"
        f" AND project_id NOT IN {_BUSY_PROJECTS}",
        {"project": project_id, "md5": md5, "last_project": end[0], "last_md5": end[1], **_times()},
    )
    return end if last else None


def _range(prefix: str) -> dict[str, str]:
    return {"low": prefix, "high": prefix + "g"}  # beyond every digit in hex


def _times() -> dict[str, str]:
    return {"now": clock.now(), "before": clock.ago(ABANDONED_SECONDS)}
