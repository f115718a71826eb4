-- The first characters of a user's key, by which W&B names a key. NULL until the key is set anew.
ALTER TABLE users ADD COLUMN key_start TEXT;

-- Entities that were made as teams. Any other entity that is no user's is one once it has a project.
CREATE TABLE teams (
    name       TEXT PRIMARY KEY,
    created_at TEXT NOT NULL
);

-- A deleted run's id is never another run's, and deleting it again is no error.
CREATE TABLE deleted_runs (
    id INTEGER PRIMARY KEY
);
CREATE TRIGGER runs_deleted AFTER DELETE ON runs BEGIN
    INSERT OR IGNORE INTO deleted_runs (id) VALUES (old.id);
END;

-- 1 from when a client uses the id of an ended run without resuming it, until its first line of history tells
-- whether it goes on (a sync of the run's next part) or overwrites.
ALTER TABLE runs ADD COLUMN began_anew INTEGER NOT NULL DEFAULT 0;
