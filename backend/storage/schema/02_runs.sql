-- A run, and what it streams: history, system events, console lines, files.
CREATE TABLE runs (
    id             INTEGER PRIMARY KEY,
    project_id     INTEGER NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    name           TEXT NOT NULL,              -- W&B's run id, as in the address
    display_name   TEXT NOT NULL,
    state          TEXT NOT NULL DEFAULT 'pending',  -- pending, running, finished, failed, crashed, killed, preempting, preempted
    config         TEXT NOT NULL DEFAULT '{}', -- JSON as the client sends it: {"lr": {"value": 0.1}, "_wandb": {...}}
    summary        TEXT NOT NULL DEFAULT '{}', -- JSON
    tags           TEXT NOT NULL DEFAULT '[]', -- JSON list
    job_type       TEXT,
    group_name     TEXT,
    description    TEXT,
    notes          TEXT,
    host           TEXT,
    program        TEXT,
    commit_hash    TEXT,
    repo           TEXT,
    user           TEXT NOT NULL,
    sweep_id       INTEGER REFERENCES sweeps (id) ON DELETE SET NULL,
    agent_id       INTEGER,
    created_at     TEXT NOT NULL,
    updated_at     TEXT NOT NULL,
    heartbeat_at   TEXT NOT NULL,
    exit_code      INTEGER,
    stop_requested INTEGER NOT NULL DEFAULT 0,
    history_keys   TEXT NOT NULL DEFAULT '{}', -- JSON: what is logged, for historyKeys
    last_step      INTEGER NOT NULL DEFAULT -1,
    history_lines  INTEGER NOT NULL DEFAULT 0,
    event_lines    INTEGER NOT NULL DEFAULT 0,
    console_lines  INTEGER NOT NULL DEFAULT 0,
    UNIQUE (project_id, name)
);
CREATE INDEX runs_by_sweep ON runs (sweep_id) WHERE sweep_id IS NOT NULL;
CREATE INDEX runs_by_time ON runs (project_id, created_at);
CREATE INDEX runs_alive ON runs (heartbeat_at) WHERE state IN ('running', 'preempting');

-- Lines of wandb-history.jsonl, by their number in the file: a chunk that is sent again replaces itself.
CREATE TABLE history (
    run_id INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    line   INTEGER NOT NULL,
    step   INTEGER NOT NULL,
    row    TEXT NOT NULL,
    PRIMARY KEY (run_id, line)
) WITHOUT ROWID;
CREATE INDEX history_by_step ON history (run_id, step);

CREATE TABLE events (
    run_id INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    line   INTEGER NOT NULL,
    row    TEXT NOT NULL,
    PRIMARY KEY (run_id, line)
) WITHOUT ROWID;

CREATE TABLE console (
    run_id INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    line   INTEGER NOT NULL,
    text   TEXT NOT NULL,
    PRIMARY KEY (run_id, line)
) WITHOUT ROWID;

CREATE TABLE files (
    run_id     INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    name       TEXT NOT NULL,
    digest     TEXT NOT NULL,              -- SHA-256, the name of the blob
    md5        TEXT NOT NULL,              -- base64, as the client compares it
    size       INTEGER NOT NULL,
    updated_at TEXT NOT NULL,
    PRIMARY KEY (run_id, name)
);
CREATE INDEX files_by_digest ON files (digest);
