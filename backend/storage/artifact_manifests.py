"""Manifests: the list of a version's files, as the client uploads it, whole or in parts.

FULL is the whole list. INCREMENTAL adds to the list of a base version. PATCH is one process's part of a version
that many write (``upsert_artifact``): all parts together are the whole.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..clock import now
from ..graphql import ids
from ..graphql.errors import ClientError
from . import artifact_contents, artifacts
from .blobs import Blob, Blobs
from .names import checked_entry
from .plain_json import storable

_LARGEST = 1 << 40  # bytes that a reference may claim: their sum must stay a number of 64 bits
WHOLE = "wandb_manifest.json"
Document = dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """One file of a version, ready to be kept."""

    name: str
    md5: str
    size: int
    ref: str | None
    digest: str | None
    birth_id: int | None


@dataclass(frozen=True)
class Whole:
    """What a commit needs: the merged list, and which uploaded manifests it was made of."""

    parts: tuple[int, ...]
    entries: tuple[Entry, ...]
    digest: str | None  # of the merged list; None when the client's own is right
    blob: Blob | None  # the merged document; None when an uploaded one is the whole

    @property
    def size(self) -> int:
        return sum(entry.size for entry in self.entries)


def create(
    conn: sqlite3.Connection, artifact_id: int, base_id: int | None, kind: str, name: str, md5: str
) -> sqlite3.Row:
    """Announce a manifest; its upload follows."""
    cursor = conn.execute(
        "INSERT INTO artifact_manifests (artifact_id, base_id, type, name, md5, created_at) VALUES (?, ?, ?, ?, ?, ?)",
        (artifact_id, base_id, kind, name, md5, now()),
    )
    return by_id(conn, cursor.lastrowid or 0)


def change(conn: sqlite3.Connection, manifest_id: int, base_id: int | None, md5: str | None) -> sqlite3.Row:
    """Tell the digest of an announced manifest, once it is known."""
    conn.execute(
        "UPDATE artifact_manifests SET base_id = coalesce(?, base_id), md5 = coalesce(?, md5) WHERE id = ?",
        (base_id, md5, manifest_id),
    )
    return by_id(conn, manifest_id)


def by_id(conn: sqlite3.Connection, manifest_id: int) -> sqlite3.Row:
    """A manifest, uploaded or not. Raises ClientError (404) when there is none."""
    row: sqlite3.Row | None = conn.execute("SELECT * FROM artifact_manifests WHERE id = ?", (manifest_id,)).fetchone()
    if row is None:
        raise ClientError("there is no such artifact manifest", 404)
    return row


def store(conn: sqlite3.Connection, manifest_id: int, blob: Blob) -> None:
    """Note that a manifest has been uploaded."""
    conn.execute(
        "UPDATE artifact_manifests SET digest = ?, size = ? WHERE id = ?", (blob.digest, blob.size, manifest_id)
    )


def uploaded(conn: sqlite3.Connection, artifact_id: int) -> list[sqlite3.Row]:
    """The manifests that a version is made of: all parts, or the last one when it is no part."""
    query = "SELECT * FROM artifact_manifests WHERE artifact_id = ? AND digest IS NOT NULL ORDER BY id"
    rows = conn.execute(query, (artifact_id,)).fetchall()
    patches = [row for row in rows if row["type"] == "PATCH"]
    return patches if patches and rows[-1]["type"] == "PATCH" else rows[-1:]


def merge(conn: sqlite3.Connection, blobs: Blobs, artifact: sqlite3.Row) -> Whole:
    """Read the uploaded manifests of a pending version and check that every content is here.

    Raises ClientError when there is no manifest, when one is malformed, or when a content was never uploaded.
    """
    rows = uploaded(conn, artifact["id"])
    if not rows:
        raise ClientError("the manifest of the artifact has not been uploaded")
    documents = [read(blobs, row["digest"]) for row in rows]
    if rows[-1]["type"] == "INCREMENTAL" and (base := _base(conn, blobs, rows[-1]["base_id"])) is not None:
        documents.insert(0, base)
    contents = {name: entry for document in documents for name, entry in document["contents"].items()}
    entries = _entries(conn, artifacts.project_of(conn, artifact), contents)
    parts = tuple(row["id"] for row in rows)
    if rows[-1]["type"] == "FULL":
        return Whole(parts, entries, None, None)
    merged = json.dumps({**documents[-1], "contents": contents}, separators=(",", ":"))
    return Whole(parts, entries, _digest(entries), blobs.add(merged.encode()))


def read(blobs: Blobs, digest: str) -> Document:
    """An uploaded manifest. Raises ClientError when it is none."""
    try:
        document = json.loads(blobs.path(digest).read_bytes())
    except (ValueError, RecursionError) as error:
        raise ClientError(f"the manifest is no JSON: {error}") from None
    contents = document.get("contents") if isinstance(document, dict) else None
    if not isinstance(contents, dict) or not all(isinstance(entry, dict) for entry in contents.values()):
        raise ClientError("the manifest has no 'contents' that map names to entries")
    return dict(document)


def _base(conn: sqlite3.Connection, blobs: Blobs, artifact_id: int | None) -> Document | None:
    manifest_id = None if artifact_id is None else artifacts.by_id(conn, artifact_id)["manifest_id"]
    return None if manifest_id is None else read(blobs, by_id(conn, manifest_id)["digest"])


def _entries(conn: sqlite3.Connection, project_id: int, contents: Mapping[str, Mapping[str, Any]]) -> tuple[Entry, ...]:
    return tuple(_entry(conn, project_id, name, raw) for name, raw in sorted(contents.items()))


def _entry(conn: sqlite3.Connection, project_id: int, name: str, raw: Mapping[str, Any]) -> Entry:
    checked_entry(name)
    md5, ref, birth = raw.get("digest"), raw.get("ref"), raw.get("birthArtifactID")
    if not isinstance(md5, str) or not isinstance(ref, str | None) or not isinstance(birth, str | None):
        raise ClientError(f"the manifest's entry {name[:100]!r} is malformed")
    if not all(storable(text) == text for text in (md5, ref or "")):
        raise ClientError(f"the manifest's entry {name[:100]!r} is no Unicode text")
    birth_id = ids.decode(birth, "Artifact") if birth else None
    if ref is not None:
        size = raw.get("size")
        told = isinstance(size, int) and 0 <= size <= _LARGEST
        return Entry(name, md5, size if told else 0, ref, None, birth_id)  # type: ignore[arg-type]
    content = artifact_contents.find(conn, project_id, md5) or _born(conn, birth_id, md5)
    if content is None:
        raise ClientError(f"the content of {name!r} (MD5 {md5}) has not been uploaded")
    return Entry(name, md5, content["size"], None, content["digest"], birth_id)


def _born(conn: sqlite3.Connection, birth_id: int | None, md5: str) -> sqlite3.Row | None:
    """A content that came with a version of another project, from which this one was drafted."""
    query = "SELECT digest, size FROM artifact_entries WHERE artifact_id = ? AND md5 = ? AND digest IS NOT NULL"
    row: sqlite3.Row | None = conn.execute(query, (birth_id, md5)).fetchone()
    return row


def _digest(entries: tuple[Entry, ...]) -> str:
    """A version's digest as W&B's client computes it (ArtifactManifestV1.digest)."""
    text = "".join(f"{entry.name}:{entry.md5}\n" for entry in entries)
    return hashlib.md5(f"wandb-artifact-manifest-v1\n{text}".encode(), usedforsecurity=False).hexdigest()
