-- Who may use this backend. A key is kept as its SHA-256 only.
CREATE TABLE users (
    name       TEXT PRIMARY KEY,          -- also the name of the user's own entity
    key_digest TEXT NOT NULL UNIQUE,
    email      TEXT NOT NULL DEFAULT '',
    admin      INTEGER NOT NULL DEFAULT 0,
    created_at TEXT NOT NULL
);

CREATE TABLE projects (
    id          INTEGER PRIMARY KEY,
    entity      TEXT NOT NULL,
    name        TEXT NOT NULL,
    description TEXT NOT NULL DEFAULT '',
    created_at  TEXT NOT NULL,            -- every time is ISO 8601 in UTC, as text: it sorts as it reads
    UNIQUE (entity, name)
);
