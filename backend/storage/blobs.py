"""File contents, kept once by their SHA-256: a user's file name never becomes a path."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import re
import tempfile
import threading
from collections import Counter
from collections.abc import AsyncIterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .disk import sync_folder

_DIGEST = re.compile(r"[0-9a-f]{64}")
_GARBAGE = "garbage-"


@dataclass(frozen=True)
class Blob:
    """A stored content: its SHA-256 in hex, its MD5 in base64 as W&B's client writes it, its size in bytes."""

    digest: str
    md5: str
    size: int


class TooLarge(Exception):
    """An upload that is longer than allowed; nothing of it was kept."""


class Blobs:
    """The folder of contents. A content is there completely, or not at all, whatever is killed when.

    A content that was just received is held, so that the collection of garbage leaves it alone although no row points
    to it yet; whoever notes it in the store does so ``with blobs.until_noted(blob)``.
    """

    def __init__(self, folder: Path) -> None:
        self._held: Counter[str] = Counter()
        self._holding = threading.Lock()
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

    def draft(self) -> Path:
        """A new, empty file among the incoming ones; after a crash the next start deletes it."""
        descriptor, name = tempfile.mkstemp(dir=self._incoming)
        os.close(descriptor)
        return Path(name)

    @contextlib.contextmanager
    def until_noted(self, blob: Blob) -> Iterator[None]:
        """Let go of a received content at the end, when a row points to it, or nothing ever will."""
        try:
            yield
        finally:
            self._release(blob.digest)

    def digests(self, prefix: str) -> list[str]:
        """The contents whose digests begin with ``prefix``, two digits in hex; each part of 256 at a time."""
        try:
            return [name for name in os.listdir(self._folder / prefix) if _DIGEST.fullmatch(name)]
        except FileNotFoundError:
            return []

    def drop(self, digest: str) -> int | None:
        """Take a content that nothing points to out of the folder; its size, or None where it is held or gone.

        It is only moved, which is quick; ``clear_dropped`` frees the space.
        """
        file = self.path(digest)
        with self._holding:
            if self._held[digest]:
                return None
            try:
                size = file.stat().st_size
                file.replace(self._incoming / (_GARBAGE + digest))
            except FileNotFoundError:
                return None
        return size

    def clear_dropped(self) -> None:
        """Delete what ``drop`` took out; after a crash in between, the next start does."""
        for file in self._incoming.glob(_GARBAGE + "*"):
            file.unlink(missing_ok=True)

    def _keep(self, draft: Path, digest: str) -> None:
        with self._holding:
            self._held[digest] += 1
        try:
            self._place(draft, self.path(digest))
        except BaseException:
            self._release(digest)
            raise

    def _release(self, digest: str) -> None:
        with self._holding:
            self._held[digest] -= 1
            if self._held[digest] <= 0:
                del self._held[digest]

    @staticmethod
    def _place(draft: Path, target: Path) -> None:
        """The name must survive a power cut as well as the content; also one that another upload has just made."""
        if not target.exists():
            target.parent.mkdir(exist_ok=True, mode=0o700)
            draft.replace(target)
        for folder in (target.parent, target.parent.parent):
            sync_folder(folder)
