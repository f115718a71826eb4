"""Manifests and files of artifacts: where they are put and got."""

from __future__ import annotations

import asyncio
import mimetypes
import sqlite3
from collections.abc import AsyncIterator
from typing import Any

from ariadne import MutationType, ObjectType
from ariadne.types import SchemaBindable
from graphql import GraphQLResolveInfo as Info

from .. import artifact_files
from ..storage import artifact_contents, artifact_listings, artifacts, garbage, projects
from ..storage import artifact_manifests as store
from ..storage.blobs import Blob, Blobs
from .artifact_rows import artifact_pk
from .collections import listed
from .errors import ClientError
from .ids import decode, encode
from .paging import page

Row = sqlite3.Row
Answer = dict[str, Any]

mutation = MutationType()
artifact = ObjectType("Artifact")
membership = ObjectType("ArtifactCollectionMembership")
manifest = ObjectType("ArtifactManifest")

# --- manifests

manifest.set_field("id", lambda row, info: encode("ArtifactManifest", row["id"]))
manifest.set_field("type", lambda row, info: row["type"])
manifest.set_field("digest", lambda row, info: row["md5"])


@manifest.field("file")
def manifest_file(row: Row, info: Info) -> Answer:
    direct = info.context.download_url(artifact_files.manifest_path(row["id"]))
    return {
        **_file(f"{encode('ArtifactManifest', row['id'])}", row["name"], row["md5"], row["size"], direct),
        "updatedAt": row["created_at"],
        "uploadUrl": lambda _: _upload(info, row["artifact_id"], artifact_files.manifest_upload_path(row["id"])),
        "uploadHeaders": [],
    }


@artifact.field("currentManifest")
def current_manifest(row: Row, info: Info) -> Row | None:
    return store.by_id(info.context.rows, row["manifest_id"]) if row["manifest_id"] is not None else None


@mutation.field("createArtifactManifest")
def create_manifest(_: Any, info: Info, input: Answer) -> Answer:
    pk = artifact_pk(input["artifactID"])
    base = artifact_pk(input["baseArtifactID"]) if input.get("baseArtifactID") else None

    def change(conn: sqlite3.Connection) -> Row:
        artifacts.by_id(conn, pk)
        return store.create(conn, pk, base, input.get("type") or "FULL", input["name"], input["digest"])

    return {"artifactManifest": info.context.database.write(change)}


@mutation.field("updateArtifactManifest")
def update_manifest(_: Any, info: Info, input: Answer) -> Answer:
    pk = decode(input["artifactManifestID"], "ArtifactManifest")
    base = artifact_pk(input["baseArtifactID"]) if input.get("baseArtifactID") else None
    change = info.context.database.write(lambda conn: store.change(conn, pk, base, input.get("digest")))
    return {"artifactManifest": change}


# --- files of a version


def _file(key: str, name: str, md5: str, size: int, direct: str) -> Answer:
    return {
        "id": key,
        "name": name,
        "displayName": name,
        "sizeBytes": size,
        "md5": md5,
        "digest": md5,
        "mimetype": mimetypes.guess_type(name)[0],
        "url": direct,
        "directUrl": direct,
    }


def _entry(row: Row, info: Info) -> Answer:
    """A file of a committed version; a reference has the address that it refers to."""
    if row["digest"] is None:
        direct, path = row["ref"] or "", None
    else:
        direct = info.context.download_url(artifact_files.download_path(row["artifact_id"], row["md5"], row["name"]))
        path = _storage_path(row["artifact_id"], row["md5"])
    key = encode("ArtifactFile", row["artifact_id"]) + ":" + row["name"]
    made = {"updatedAt": artifacts.by_id(info.context.rows, row["artifact_id"])["created_at"], "storagePath": path}
    return {**_file(key, row["name"], row["md5"], row["size"], direct), **made}


def _storage_path(artifact_id: int, md5: str) -> str:
    return f"wandb_artifacts/{artifact_id}/{artifact_files.to_hex(md5)}"


def _files(info: Info, found: artifact_listings.Page, first: int | None, after: str | None) -> Answer:
    answer = listed(found, first, after)
    return {**answer, "edges": [{**edge, "node": _entry(edge["node"], info)} for edge in answer["edges"]]}


@artifact.field("files")
def files(
    row: Row, info: Info, names: list[str] | None = None, first: int | None = None, after: str | None = None
) -> Answer:
    limit, offset = page(first, after)
    return _files(info, artifact_listings.files(info.context.rows, row["id"], names, limit, offset), first, after)


@membership.field("files")
def membership_files(row: Row, info: Info, **asked: Any) -> Answer:
    return files(artifacts.by_id(info.context.rows, row["artifact_id"]), info, **asked)


@artifact.field("filesByManifestEntries")
def files_by_entries(row: Row, info: Info, entries: list[Answer] | None = None, **_: Any) -> Answer:
    """Addresses for the entries that the client names, all on one page as it expects; other names are left out."""
    wanted = {entry["name"] for entry in entries or []}
    rows = [entry for entry in artifacts.entries(info.context.rows, row["id"]) if entry["name"] in wanted]
    edges = [{"node": _entry(entry, info), "cursor": ""} for entry in rows]
    return {"edges": edges, "pageInfo": {"hasNextPage": False, "endCursor": None}, "totalCount": len(edges)}


# --- uploads


@mutation.field("createArtifactFiles")
def create_files(_: Any, info: Info, input: Answer) -> Answer:
    """An address for each file; none for a content that is here already."""
    edges = [{"node": _wanted(info, spec), "cursor": ""} for spec in input["artifactFiles"]]
    info_page = {"hasNextPage": False, "endCursor": None}
    return {"files": {"edges": edges, "pageInfo": info_page, "totalCount": len(edges)}}


def _wanted(info: Info, spec: Answer) -> Answer:
    pk, md5, name = artifact_pk(spec["artifactID"]), spec["md5"], spec["name"]
    conn = info.context.rows
    row = artifacts.by_id(conn, pk)
    known = artifact_contents.find(conn, artifacts.project_of(conn, row), md5) is not None
    parts = spec.get("uploadPartsInput") or []
    return {
        **_file(encode("ArtifactFile", pk) + ":" + name, name, md5, 0, ""),
        "storagePath": _storage_path(pk, md5),
        "uploadUrl": None if known else _upload(info, pk, artifact_files.upload_path(pk, md5)),
        "uploadHeaders": [],
        "uploadMultipartUrls": _part_urls(info, pk, md5, parts) if parts and not known else None,
        "artifact": row,
    }


def _upload(info: Info, pk: int, path: str) -> str:
    address: str = info.context.upload_url(path, projects.entity_of(info.context.rows, "Artifact", pk) or "")
    return address


def _part_urls(info: Info, pk: int, md5: str, parts: list[Answer]) -> Answer:
    numbers = [int(part["partNumber"]) for part in parts]
    urls = [_upload(info, pk, artifact_files.upload_path(pk, md5, number)) for number in numbers]
    found = [{"partNumber": number, "uploadUrl": url} for number, url in zip(numbers, urls, strict=True)]
    return {"uploadID": artifact_files.to_hex(md5), "uploadUrlParts": found}


@mutation.field("completeMultipartUploadArtifact")
def complete(_: Any, info: Info, input: Answer) -> Answer:
    """Make one content out of parts. Raises ClientError when a part is missing or the whole is damaged."""
    pk, md5 = artifact_pk(input["artifactID"]), artifact_files.from_hex(input["uploadID"]) or ""
    conn = info.context.rows
    project_id = artifacts.project_of(conn, artifacts.by_id(conn, pk))
    if artifact_contents.find(conn, project_id, md5) is not None:
        return {"digest": md5}  # it was complete before: an answer got lost
    digests = _parts(conn, pk, md5, input["completedParts"])
    blob = asyncio.run(_join(info.context.blobs, digests))

    def change(conn: sqlite3.Connection) -> None:
        artifact_contents.put(conn, project_id, blob)
        artifact_contents.drop_parts(conn, pk, md5)

    with info.context.blobs.until_noted(blob):
        if blob.md5 != md5:
            raise ClientError(f"the parts do not make up the file: their MD5 is {blob.md5}, {md5} was announced")
        info.context.database.write(change)
    garbage.drop(info.context.database, artifact_contents.parts_store(info.context.blobs), digests, garbage.PARTS)
    return {"digest": md5}


def _parts(conn: sqlite3.Connection, pk: int, md5: str, completed: list[Answer]) -> list[str]:
    """The digests of the parts that the client says it has sent, in order."""
    here = {row["number"]: row for row in artifact_contents.parts(conn, pk, md5)}
    numbers = sorted(int(part["partNumber"]) for part in completed)
    missing = [number for number in numbers if number not in here]
    if missing or not numbers:
        raise ClientError(f"parts {missing} of the upload are missing")
    return [here[number]["digest"] for number in numbers]


async def _join(blobs: Blobs, digests: list[str]) -> Blob:
    return await blobs.receive(_chunks(artifact_contents.parts_store(blobs), digests))


async def _chunks(parts: Blobs, digests: list[str]) -> AsyncIterator[bytes]:
    for digest in digests:
        with parts.path(digest).open("rb") as file:
            while chunk := file.read(1 << 20):
                yield chunk


features = (
    "ARTIFACT_COLLECTION_MEMBERSHIP_FILES",
    "ARTIFACT_V2_DOWNLOAD_HANDLER_SUPPORTS_ARTIFACT_ID",
    "LARGE_FILENAMES",
    "TOTAL_COUNT_IN_FILE_CONNECTION",
)
bindables: list[SchemaBindable] = [mutation, artifact, membership, manifest]
