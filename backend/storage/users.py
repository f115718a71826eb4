"""Who may use the backend. A key is kept as its SHA-256 and its first characters.

A user that was removed leaves a row without a key: the name stays the owner of what lies in the entity.
"""

from __future__ import annotations

import getpass
import hashlib
import re
import secrets
import sqlite3

from .. import clock

LONGEST_NAME = 128
SHORTEST_SECRET = 40  # W&B's client refuses a key whose part after the dash is shorter
# The first parts of this server's own addresses: a user of that name would have no pages.
RESERVED = frozenset({"-", "admin", "artifacts", "artifactsV2", "files", "graphql", "healthz", "login", "sdk"})
RESERVED |= {"artifact-manifests", "artifact-uploads", "wandb_artifacts"}
KEY_START = 8  # characters of a key by which it is known; what is left is a secret of 32 and more
_REMOVED = "removed:"  # in the place of a key's digest; no digest begins so


class UserError(ValueError):
    """What an administrator asked for cannot be; ``status`` is the answer's: 400, 404 or 409."""

    def __init__(self, message: str, hint: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.hint = hint
        self.status = status


def by_key(conn: sqlite3.Connection, key: str) -> sqlite3.Row | None:
    """The user whose key this is."""
    return conn.execute("SELECT * FROM users WHERE key_digest = ?", (_digest(key),)).fetchone()


def by_name(conn: sqlite3.Connection, name: str) -> sqlite3.Row | None:
    """The user, if there is one who was not removed."""
    row = _row(conn, name)
    return None if row is None or is_removed(row) else row


def is_removed(row: sqlite3.Row) -> bool:
    return str(row["key_digest"]).startswith(_REMOVED)


def owned_by_another(conn: sqlite3.Connection, entity: str, name: str) -> bool:
    """Whether an entity is the own one of a user other than ``name``, who may have been removed."""
    return entity != name and is_owned(conn, entity)


def is_owned(conn: sqlite3.Connection, entity: str) -> bool:
    """Whether an entity is a user's own one, removed or not; otherwise it is shared."""
    return _row(conn, entity) is not None


def shared_entities(conn: sqlite3.Connection) -> list[str]:
    """The entities that are no user's and were made as teams or have projects, in order of their names."""
    query = (
        "SELECT entity FROM projects WHERE entity NOT IN (SELECT name FROM users)"
        " UNION SELECT name FROM teams WHERE name NOT IN (SELECT name FROM users) ORDER BY entity"
    )
    return [str(row["entity"]) for row in conn.execute(query)]


def make_team(conn: sqlite3.Connection, name: str) -> None:
    """A shared entity, there before its first project. Raises UserError for a name that is taken or cannot be."""
    check_name(name)
    if is_owned(conn, name) or name in shared_entities(conn):
        raise UserError(f"there is an entity {name!r} already", None, 409)
    conn.execute("INSERT INTO teams (name, created_at) VALUES (?, ?)", (name, clock.now()))


def matching(conn: sqlite3.Connection, query: str | None) -> list[sqlite3.Row]:
    """The user of this name or address; else those with it at the beginning or end, as W&B searches for users."""
    rows = listing(conn)
    exact = [row for row in rows if query in (row["name"], row["email"])]
    near = [row for row in rows if any(_begins_or_ends(row[column], query or "") for column in ("name", "email"))]
    return exact or near


def listing(conn: sqlite3.Connection) -> list[sqlite3.Row]:
    """All users in order of their names, with the number of ``projects`` in their entities."""
    return conn.execute(
        "SELECT users.*, (SELECT count(*) FROM projects WHERE projects.entity = users.name) AS projects FROM users"
        " WHERE key_digest NOT LIKE ? ORDER BY name",
        (f"{_REMOVED}%",),
    ).fetchall()


def ensure(conn: sqlite3.Connection, name: str, key: str) -> None:
    """The owner ``name`` is there, as an administrator, and has this key."""
    conn.execute(
        "INSERT INTO users (name, key_digest, key_start, email, admin, created_at) VALUES (?, ?, ?, ?, 1, ?)"
        " ON CONFLICT (name) DO UPDATE SET key_digest = excluded.key_digest, key_start = excluded.key_start, admin = 1",
        (name, _digest(key), key[:KEY_START], f"{name}@localhost", clock.now()),
    )


def add(conn: sqlite3.Connection, name: str, key: str, admin: bool = False) -> bool:
    """A new user with this key; whether there was none before. A removed one comes back to his entity.

    The same again changes nothing. Raises UserError for a name or key that cannot be, or is another's.
    """
    check_name(name)
    check_key(key)
    holder, row = by_key(conn, key), _row(conn, name)
    if holder is not None and holder["name"] == name and bool(holder["admin"]) == admin:
        return False
    if row is not None and not is_removed(row):
        raise UserError(
            f"there is a user {name!r} already, with another key or other rights",
            f"`sweepkit user key {name}` gives a new key; for other rights, remove and add the user again",
            409,
        )
    _check_free(conn, name, key)
    conn.execute(
        "INSERT INTO users (name, key_digest, key_start, email, admin, created_at) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (name) DO UPDATE SET"
        " key_digest = excluded.key_digest, key_start = excluded.key_start, admin = excluded.admin",
        (name, _digest(key), key[:KEY_START], f"{name}@localhost", int(admin), clock.now()),
    )
    return True


def change_key(conn: sqlite3.Connection, name: str, key: str) -> None:
    """A new key in the place of the old one, which stops working. Raises UserError."""
    check_key(key)
    _found(conn, name)
    _check_free(conn, name, key)
    conn.execute("UPDATE users SET key_digest = ?, key_start = ? WHERE name = ?", (_digest(key), key[:KEY_START], name))


def remove(conn: sqlite3.Connection, name: str) -> int:
    """Let a user in no longer; how many projects stay in that entity. Raises UserError (404)."""
    _found(conn, name)
    conn.execute("UPDATE users SET key_digest = ?, key_start = NULL, admin = 0 WHERE name = ?", (_REMOVED + name, name))
    return int(conn.execute("SELECT count(*) FROM projects WHERE entity = ?", (name,)).fetchone()[0])


def new_key() -> str:
    """A random key that W&B's client takes."""
    return secrets.token_hex(20)


def check_name(name: str) -> None:
    """Raises UserError for a name that W&B would not take as an entity, or that is an address of this server."""
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name) or len(name) > LONGEST_NAME:
        raise UserError(
            f"{name[:80]!r} cannot be the name of a user",
            f"a name has letters, digits, - and _, at most {LONGEST_NAME} of them",
        )
    if name in RESERVED:
        raise UserError(f"{name!r} cannot be the name of a user", f"/{name} is an address of the backend itself")


def check_key(key: str) -> None:
    """Raises UserError for a key that W&B's client would refuse."""
    if not re.fullmatch(r"[A-Za-z0-9_-]+", key):
        raise UserError("this cannot be a key", "a key has letters, digits, - and _")
    secret = key.rpartition("-")[2]
    if len(secret) < SHORTEST_SECRET:
        part = " after its last dash" if "-" in key else ""
        raise UserError(
            f"the key is too short: {len(secret)} characters{part}",
            f"W&B's client needs at least {SHORTEST_SECRET}; leave --key out for a random one",
        )


def default_name() -> str:
    """The name of the person at this machine, in the letters that W&B allows in an entity."""
    try:
        person = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container whose user id has no name
        person = ""
    name = re.sub(r"[^a-z0-9_-]+", "-", person.lower()).strip("-")[:60]
    return "local" if not name or name in RESERVED else name


def _check_free(conn: sqlite3.Connection, name: str, key: str) -> None:
    holder = by_key(conn, key)
    if holder is not None and holder["name"] != name:
        raise UserError("this key is another user's", "leave --key out for a random one", 409)


def _begins_or_ends(text: str, part: str) -> bool:
    return text.startswith(part) or text.endswith(part)


def _found(conn: sqlite3.Connection, name: str) -> sqlite3.Row:
    row = by_name(conn, name)
    if row is None:
        raise UserError(f"there is no user {name[:80]!r}", "`sweepkit user list` shows who there is", 404)
    return row


def _row(conn: sqlite3.Connection, name: str) -> sqlite3.Row | None:
    return conn.execute("SELECT * FROM users WHERE name = ?", (name,)).fetchone()


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
