"""File contents, kept once by their SHA-256: a user's file name never becomes a path."""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile
from collections.abc import AsyncIterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Blob:
    """A stored content: its SHA-256 in hex, its MD5 in base64 as W&B's client writes it, its size in bytes."""

    digest: str
    md5: str
    size: int


class TooLarge(Exception):
    """An upload that is longer than allowed; nothing of it was kept."""


class Blobs:
    """The folder of contents. A content is there completely, or not at all, whatever is killed when."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._incoming = folder / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True, mode=0o700)
        for leftover in self._incoming.iterdir():  # uploads that a crash cut off
            leftover.unlink(missing_ok=True)

    def path(self, digest: str) -> Path:
        """Where the content lies; ``digest`` comes from the store, never from a request."""
        return self._folder / digest[:2] / digest

    async def receive(self, chunks: AsyncIterable[bytes], limit: int | None = None) -> Blob:
        """Stream an upload to disk, sync it, and name it by its content.

        Raises TooLarge after ``limit`` bytes, OSError when the disk is full; either leaves nothing behind.
        """
        from starlette.concurrency import run_in_threadpool

        sha, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
        descriptor, name = tempfile.mkstemp(dir=self._incoming)
        draft = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                async for chunk in chunks:
                    size += len(chunk)
                    if limit is not None and size > limit:
                        raise TooLarge(f"more than {limit} bytes")
                    sha.update(chunk)
                    md5.update(chunk)
                    file.write(chunk)
                file.flush()
                await run_in_threadpool(os.fsync, file.fileno())
            await run_in_threadpool(self._keep, draft, sha.hexdigest())
        finally:
            draft.unlink(missing_ok=True)
        return Blob(sha.hexdigest(), base64.b64encode(md5.digest()).decode(), size)

    def add(self, content: bytes) -> Blob:
        """Keep ``content`` that is at hand; for small things that the backend makes itself."""
        sha, md5 = hashlib.sha256(content), hashlib.md5(content, usedforsecurity=False)
        descriptor, name = tempfile.mkstemp(dir=self._incoming)
        draft = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            self._keep(draft, sha.hexdigest())
        finally:
            draft.unlink(missing_ok=True)
        return Blob(sha.hexdigest(), base64.b64encode(md5.digest()).decode(), len(content))

    def _keep(self, draft: Path, digest: str) -> None:
        target = self.path(digest)
        if target.exists():
            return
        target.parent.mkdir(exist_ok=True, mode=0o700)
        draft.replace(target)
        # The name must survive a power cut as well as the content.
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
