"""The contents of artifacts over HTTP: PUT to signed addresses, GET at signed ones or with a key.

What is uploaded must have the MD5 that was announced; names never become paths, not even to look a content up:
downloads are found by version and MD5.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import sqlite3
from collections.abc import Callable

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from . import limits, permissions
from .graphql import ids
from .graphql.errors import ClientError
from .storage import artifact_collections, artifact_contents, artifact_manifests, artifacts, projects
from .storage.blobs import Blob, Blobs, TooLarge
from .storage.database import Database
from .transfer import blob_response, not_kept

Keep = Callable[[sqlite3.Connection, Blob], None]


def to_hex(md5: str) -> str:
    """An MD5 in hex out of the base64 of manifests. Raises ClientError when it is none."""
    try:
        raw = base64.b64decode(md5, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != 16:
        raise ClientError(f"{md5!r} is no MD5 in base64")
    return raw.hex()


def from_hex(md5: str) -> str | None:
    """An MD5 in base64 out of hex, or None when it is none."""
    try:
        raw = bytes.fromhex(md5)
    except ValueError:
        return None
    return base64.b64encode(raw).decode() if len(raw) == 16 else None


def upload_path(artifact_id: int, md5: str, part: int | None = None) -> str:
    """Where a file of a pending version (or one part of it) is put; ``md5`` is the whole file's, in base64."""
    whole = f"/artifact-uploads/{artifact_id}/{to_hex(md5)}"
    return whole if part is None else f"{whole}/{part}"


def manifest_upload_path(manifest_id: int) -> str:
    """Where a manifest is put."""
    return f"/artifact-manifests/{manifest_id}"


def download_path(artifact_id: int, md5: str, name: str) -> str:
    """Where a file of a version is got; the last part is for people, it is not looked at.

    W&B's addresses of files have ``wandb_artifacts/`` in them too, and those of manifests have not.
    """
    last = name.rsplit("/", 1)[-1]
    return f"/wandb_artifacts/{artifact_id}/{to_hex(md5)}/{'file' if last in ('', '.', '..') else last}"


def manifest_path(manifest_id: int) -> str:
    """Where a manifest is got."""
    return f"/artifact-manifests/{manifest_id}/{artifact_manifests.WHOLE}"


async def put_file(request: Request) -> Response:
    """Keep an upload as a content of the version's project."""
    artifact_id, md5 = request.path_params["artifact"], from_hex(request.path_params["md5"])

    def keep(conn: sqlite3.Connection, blob: Blob) -> None:
        artifact_contents.put(conn, _receiving_project(conn, artifact_id), blob)

    await _check(request, "Artifact", artifact_id)
    return await _put(request, request.app.state.blobs, md5, keep)


async def put_part(request: Request) -> Response:
    """Keep one part of a file; the ETag is what the client sends back when it completes the upload."""
    parameters = request.path_params
    file_md5 = from_hex(parameters["md5"]) or ""

    def keep(conn: sqlite3.Connection, blob: Blob) -> None:
        _receiving_project(conn, parameters["artifact"])
        artifact_contents.put_part(conn, parameters["artifact"], file_md5, parameters["part"], blob)

    await _check(request, "Artifact", parameters["artifact"])
    parts = artifact_contents.parts_store(request.app.state.blobs)
    return await _put(request, parts, request.headers.get("content-md5"), keep)


async def put_manifest(request: Request) -> Response:
    """Keep a manifest."""
    manifest_id = request.path_params["manifest"]
    database: Database = request.app.state.database

    def announced() -> str | None:
        return str(artifact_manifests.by_id(database.read(), manifest_id)["md5"]) or None

    await _check(request, "ArtifactManifest", manifest_id)
    try:
        md5 = await run_in_threadpool(announced)
    except ClientError as error:
        return _refused(error)

    def keep(conn: sqlite3.Connection, blob: Blob) -> None:
        _keep_manifest(conn, manifest_id, blob)

    return await _put(request, request.app.state.blobs, md5, keep, limits.MANIFEST_BYTES)


def _keep_manifest(conn: sqlite3.Connection, manifest_id: int, blob: Blob) -> None:
    _receiving_project(conn, artifact_manifests.by_id(conn, manifest_id)["artifact_id"])
    artifact_manifests.store(conn, manifest_id, blob)


async def _check(request: Request, kind: str, pk: int) -> None:
    """Raises Denied for an upload to what is another user's. What is not there is told later."""
    if request.state.signed:
        return

    def check() -> None:
        conn = request.app.state.database.read()
        if (entity := projects.entity_of(conn, kind, pk)) is not None:
            permissions.check_upload(conn, request, entity)

    await run_in_threadpool(check)


async def _put(
    request: Request, blobs: Blobs, md5: str | None, keep: Keep, most: int = limits.UPLOAD_BYTES
) -> Response:
    """Receive, compare with the announced MD5 (base64), and keep. 200 means that it is on disk."""
    try:
        blob = await blobs.receive(request.stream(), most)
    except TooLarge as error:
        return JSONResponse({"error": str(error)}, status_code=413)
    except OSError as error:
        return not_kept(error)
    with blobs.until_noted(blob):
        return await _noted(request.app.state.database, blob, md5, keep)


async def _noted(database: Database, blob: Blob, md5: str | None, keep: Keep) -> Response:
    if md5 is not None and blob.md5 != md5:
        text = f"the upload is damaged: its MD5 is {blob.md5}, {md5} was announced; send it again"
        return JSONResponse({"error": text}, status_code=400)
    try:
        await asyncio.wrap_future(database.submit(lambda conn: keep(conn, blob)))
    except ClientError as error:
        return _refused(error)
    return Response(status_code=200, headers={"etag": to_hex(blob.md5)})


def _refused(error: ClientError) -> Response:
    return JSONResponse({"error": error.message}, status_code=int((error.extensions or {}).get("status", 400)))


def _receiving_project(conn: sqlite3.Connection, artifact_id: int) -> int:
    """The project of a version that takes uploads. Raises ClientError when it has been deleted.

    A committed one takes them too, and does not change by them: two runs may send the same content at the same time.
    """
    row = artifacts.by_id(conn, artifact_id)
    if row["state"] == "DELETED":
        raise ClientError("the artifact has been deleted", 404)
    return artifacts.project_of(conn, row)


async def get_file(request: Request) -> Response:
    """The content of a version's file by its MD5."""
    parameters = request.path_params

    def find(conn: sqlite3.Connection) -> str | None:
        return _entry(conn, parameters["artifact"], from_hex(parameters["md5"]))

    return await _get(request, find, parameters["name"])


async def get_manifest(request: Request) -> Response:
    """A manifest as it was uploaded or merged."""

    def find(conn: sqlite3.Connection) -> str | None:
        digest: str | None = artifact_manifests.by_id(conn, request.path_params["manifest"])["digest"]
        return digest

    return await _get(request, find, artifact_manifests.WHOLE)


async def get_v2(request: Request) -> Response:
    """W&B's own download address: by version where it is told, else by the version that the file came with."""
    parameters = request.path_params
    md5 = from_hex(parameters["md5"])

    def find(conn: sqlite3.Connection) -> str | None:
        project = projects.find(conn, parameters["entity"], parameters["project"])
        named = project and artifact_collections.find(conn, project["id"], parameters["collection"])
        if not named or md5 is None:
            return None
        told = parameters.get("artifact")
        return _of_collection(conn, named["id"], ids.decode(told, "Artifact") if told else None, md5)

    return await _get(request, find, parameters["name"])


async def get_v1(request: Request) -> Response:
    """W&B's first download address: by entity and MD5."""
    parameters = request.path_params

    def find(conn: sqlite3.Connection) -> str | None:
        row = conn.execute(
            "SELECT c.digest FROM artifact_contents c JOIN projects p ON p.id = c.project_id"
            " WHERE p.entity = ? AND c.md5 = ?",
            (parameters["entity"], from_hex(parameters["md5"])),
        ).fetchone()
        return row["digest"] if row else None

    return await _get(request, find, parameters["md5"])


def _entry(conn: sqlite3.Connection, artifact_id: int, md5: str | None) -> str | None:
    query = "SELECT digest FROM artifact_entries WHERE artifact_id = ? AND md5 = ? AND digest IS NOT NULL"
    row = conn.execute(query, (artifact_id, md5)).fetchone()
    return row["digest"] if row else None


def _of_collection(conn: sqlite3.Connection, collection_id: int, artifact_id: int | None, md5: str) -> str | None:
    row = conn.execute(
        "SELECT e.digest FROM artifact_entries e JOIN artifact_memberships m ON m.artifact_id = e.artifact_id"
        " WHERE m.collection_id = ? AND e.md5 = ? AND e.digest IS NOT NULL AND (? IS NULL OR e.artifact_id = ?)",
        (collection_id, md5, artifact_id, artifact_id),
    ).fetchone()
    return row["digest"] if row else None


async def _get(request: Request, find: Callable[[sqlite3.Connection], str | None], name: str) -> Response:
    database: Database = request.app.state.database
    try:
        digest = await run_in_threadpool(lambda: find(database.read()))
    except ClientError:
        digest = None
    if digest is None:
        return JSONResponse({"error": "there is no such file"}, status_code=404)
    return blob_response(request.app.state.blobs, digest, name)


_V2 = "/artifactsV2/{region}/{entity}/{project}/{collection}"
routes: list[Route] = [
    Route("/artifact-uploads/{artifact:int}/{md5}", put_file, methods=["PUT"]),
    Route("/artifact-uploads/{artifact:int}/{md5}/{part:int}", put_part, methods=["PUT"]),
    Route("/artifact-manifests/{manifest:int}", put_manifest, methods=["PUT"]),
    Route("/artifact-manifests/{manifest:int}/{name}", get_manifest, methods=["GET"]),
    Route("/wandb_artifacts/{artifact:int}/{md5}/{name}", get_file, methods=["GET"]),
    Route(_V2 + "/{artifact}/{birth}/{md5}/{name}", get_v2, methods=["GET"]),
    Route(_V2 + "/{birth}/{md5}/{name}", get_v2, methods=["GET"]),
    Route("/artifacts/{entity}/{md5}", get_v1, methods=["GET"]),
]
