"""Who may use the backend. A key is kept as its SHA-256 only."""

from __future__ import annotations

import getpass
import hashlib
import re
import sqlite3

from .. import clock


def by_key(conn: sqlite3.Connection, key: str) -> sqlite3.Row | None:
    """The user whose key this is."""
    return conn.execute("SELECT * FROM users WHERE key_digest = ?", (_digest(key),)).fetchone()


def owner(conn: sqlite3.Connection) -> sqlite3.Row | None:
    """The person whose backend this is."""
    return conn.execute("SELECT * FROM users WHERE admin = 1 ORDER BY created_at LIMIT 1").fetchone()


def ensure(conn: sqlite3.Connection, name: str, key: str) -> None:
    """The user ``name`` is there and has this key."""
    conn.execute(
        "INSERT INTO users (name, key_digest, email, admin, created_at) VALUES (?, ?, ?, 1, ?)"
        " ON CONFLICT (name) DO UPDATE SET key_digest = excluded.key_digest",
        (name, _digest(key), f"{name}@localhost", clock.now()),
    )


def default_name() -> str:
    """The name of the person at this machine, in the letters that W&B allows in an entity."""
    try:
        person = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container whose user id has no name
        person = ""
    return re.sub(r"[^a-z0-9_-]+", "-", person.lower()).strip("-")[:60] or "local"


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
