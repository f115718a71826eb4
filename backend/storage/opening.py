"""Opening the store: made when it is new, brought up when it is old, refused when it is newer, damaged or no store.

``schema/`` holds the tables of version 1. A file ``migrations/NN_what.sql`` brings a store from version NN - 1 to NN;
a new store takes the same way. The version is SQLite's ``user_version``. There is no way back: before a store is
brought up, a copy of it is kept beside (``store.sqlite3.v1``), which the sweepkit that wrote it still opens.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from pathlib import Path

SCHEMA = Path(__file__).with_name("schema")
MIGRATIONS = Path(__file__).with_name("migrations")
_MAGIC = b"SQLite format 3\x00"
_CHECKED_WHOLE = 32 * 2**20  # bytes; a larger file is checked where it is read, so that a start takes no minutes
_log = logging.getLogger(__name__)

FREE_SPACE = "free some disk space, mend its permissions, or choose another folder with SWEEPKIT_HOME"
SALVAGE = (
    "put a backup in its place with `sweepkit restore FILE --force`, or save what can be read:"
    " sqlite3 {path} .recover | sqlite3 saved.sqlite3"
)


class StoreError(Exception):
    """The store cannot be opened, read or written; ``hint`` says what to do."""

    def __init__(self, message: str, hint: str = FREE_SPACE) -> None:
        super().__init__(message)
        self.hint = hint


def newest() -> int:
    """The version that this sweepkit writes."""
    return 1 + len(_migrations())


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Make, check or bring up the store that ``connection`` has open for writing.

    Raises StoreError for a store that is damaged, of a newer sweepkit, or another program's; it is left as it is.
    """
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > newest():
        raise StoreError(
            f"the store {path} has version {version}, this sweepkit knows {newest()}: use a newer sweepkit",
            "upgrade sweepkit, or choose another folder with SWEEPKIT_HOME",
        )
    tables = connection.execute("SELECT count(*) FROM sqlite_schema WHERE type = 'table'").fetchone()[0]
    if version == 0 and tables:
        raise StoreError(f"{path} is another program's database", "choose another folder with SWEEPKIT_HOME")
    if version == 0:
        scripts = "\n".join(file.read_text(encoding="utf-8") for file in sorted(SCHEMA.glob("*.sql")))
        _bring_to(connection, 1, scripts)
        version = 1
    else:
        check(connection, path)
        if version < newest():
            _keep_copy(connection, path, version)
    for number, file in _migrations()[version - 1 :]:
        if tables:  # a new store takes the same steps, and nobody needs to hear of them
            _log.warning("the store is brought to version %d (%s)", number, file.name)
        _bring_to(connection, number, file.read_text(encoding="utf-8"))


def is_new(path: Path) -> bool:
    """Whether there is no store yet. Before SQLite touches a file, it must begin as a database and be whole.

    Raises StoreError for one that does not, or is shorter than it says.
    """
    try:
        with path.open("rb") as file:
            header = file.read(100)
            size = os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        return True
    if header:
        if header[:16] != _MAGIC or len(header) < 100:
            raise _damaged(path, "it does not begin as a database does")
        page = int.from_bytes(header[16:18], "big")
        whole = int.from_bytes(header[28:32], "big") * (65536 if page == 1 else page)
        log = path.with_name(f"{path.name}-wal")
        if size < whole and not (log.exists() and log.stat().st_size):  # a log may hold the pages that are missing
            raise _damaged(path, f"it has {size} bytes of {whole}")
    return not header


def check(connection: sqlite3.Connection, path: Path) -> None:
    """Raise StoreError where damage is found: in all of a small store, at the head of each table of a large one."""
    try:
        if path.stat().st_size <= _CHECKED_WHOLE:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise _damaged(path, " ".join(str(found).split()))
        for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
            connection.execute(f'SELECT 1 FROM "{name}" LIMIT 1').fetchone()
    except sqlite3.DatabaseError as error:
        raise told(error, path) from error


def told(error: sqlite3.Error, path: Path) -> StoreError:
    """SQLite's failure as one that says what to do: a damaged file, or a disk that is full or cannot be written."""
    if is_damage(error):
        return _damaged(path, str(error))
    return StoreError(f"the store {path} cannot be used: {error}")


def is_damage(error: BaseException | None) -> bool:
    """Whether SQLite says that the file is malformed, or no database: it has no finer class for these two."""
    return type(error) is sqlite3.DatabaseError


def _damaged(path: Path, what: str) -> StoreError:
    return StoreError(f"the store {path} is damaged: {what}", SALVAGE.format(path=path))


def _migrations() -> list[tuple[int, Path]]:
    files = sorted(MIGRATIONS.glob("*.sql"))
    return [(number, file) for number, file in enumerate(files, start=2)]


def _bring_to(connection: sqlite3.Connection, version: int, script: str) -> None:
    """One step in one transaction; a reference that leads nowhere afterwards undoes it."""
    connection.execute("PRAGMA foreign_keys = OFF")  # so that a step may make a table anew
    try:
        connection.executescript(f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version = {version};")
        broken = connection.execute("PRAGMA foreign_key_check").fetchone()
        if broken is not None:
            raise StoreError(f"the store cannot be brought to version {version}: {tuple(broken)} lead nowhere")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    finally:
        connection.execute("PRAGMA foreign_keys = ON")


def _keep_copy(connection: sqlite3.Connection, path: Path, version: int) -> None:
    """The store as it was, whole or not at all; one that an earlier attempt left is as good."""
    copy = path.with_name(f"{path.name}.v{version}")
    if copy.exists():
        return
    draft = path.with_name(f"{copy.name}.part")
    draft.unlink(missing_ok=True)
    try:
        with contextlib.closing(sqlite3.connect(draft)) as target:
            connection.backup(target)
        draft.chmod(0o600)
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.replace(copy)
    finally:
        draft.unlink(missing_ok=True)
