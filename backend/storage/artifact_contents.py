"""Contents that were uploaded for artifacts, by the MD5 that the manifests write; and parts of large ones.

A content is known per project: that it is here is told only to someone who may write there.
"""

from __future__ import annotations

import sqlite3
from functools import cache
from pathlib import Path

from .blobs import Blob, Blobs


def find(conn: sqlite3.Connection, project_id: int, md5: str) -> sqlite3.Row | None:
    """The stored content with this MD5 (base64): ``digest`` of the blob and ``size``."""
    query = "SELECT * FROM artifact_contents WHERE project_id = ? AND md5 = ?"
    row: sqlite3.Row | None = conn.execute(query, (project_id, md5)).fetchone()
    return row


def put(conn: sqlite3.Connection, project_id: int, blob: Blob) -> None:
    """Note that a content has been stored."""
    conn.execute(
        "INSERT INTO artifact_contents (project_id, md5, digest, size) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (project_id, blob.md5, blob.digest, blob.size),
    )


def put_part(conn: sqlite3.Connection, artifact_id: int, file_md5: str, number: int, blob: Blob) -> None:
    """Note that one part of a file has been stored; a part that is sent again replaces itself."""
    conn.execute(
        "INSERT OR REPLACE INTO artifact_parts (artifact_id, file_md5, number, md5, digest, size)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (artifact_id, file_md5, number, blob.md5, blob.digest, blob.size),
    )


def parts(conn: sqlite3.Connection, artifact_id: int, file_md5: str) -> list[sqlite3.Row]:
    """The parts of a file that are here, in order."""
    query = "SELECT * FROM artifact_parts WHERE artifact_id = ? AND file_md5 = ? ORDER BY number"
    return conn.execute(query, (artifact_id, file_md5)).fetchall()


def drop_parts(conn: sqlite3.Connection, artifact_id: int, file_md5: str) -> None:
    """Forget the parts of a file that is whole now."""
    conn.execute("DELETE FROM artifact_parts WHERE artifact_id = ? AND file_md5 = ?", (artifact_id, file_md5))


def parts_store(blobs: Blobs) -> Blobs:
    """Where parts lie until their file is whole: apart from the contents, so that they can be thrown away."""
    return _parts_at(blobs.path("parts"))  # no digest in hex begins like this


@cache
def _parts_at(folder: Path) -> Blobs:
    return Blobs(folder)
