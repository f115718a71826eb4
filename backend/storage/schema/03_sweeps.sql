-- A sweep, who works on it, and the configurations that it has handed out.
CREATE TABLE sweeps (
    id           INTEGER PRIMARY KEY,
    project_id   INTEGER NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    name         TEXT NOT NULL,              -- the sweep's id, as in the address
    display_name TEXT,                       -- as edited later; the name in the configuration otherwise
    description  TEXT,
    state        TEXT NOT NULL DEFAULT 'PENDING',  -- PENDING, RUNNING, PAUSED, FINISHED, CANCELED
    config       TEXT NOT NULL,              -- YAML as the client sent it
    method       TEXT NOT NULL,
    run_cap      INTEGER,
    exhausted    INTEGER NOT NULL DEFAULT 0, -- the search has no further configuration, or reached its target
    controller   TEXT NOT NULL DEFAULT '{}', -- JSON, written by a local controller only
    scheduler    TEXT NOT NULL DEFAULT '{}', -- JSON, written by this server only
    user         TEXT NOT NULL,
    created_at   TEXT NOT NULL,
    updated_at   TEXT NOT NULL,
    heartbeat_at TEXT NOT NULL,
    UNIQUE (project_id, name)
);

-- Runs from before the sweep that its search learns from.
CREATE TABLE prior_runs (
    sweep_id INTEGER NOT NULL REFERENCES sweeps (id) ON DELETE CASCADE,
    run_id   INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    PRIMARY KEY (sweep_id, run_id)
) WITHOUT ROWID;

CREATE TABLE agents (
    id           INTEGER PRIMARY KEY,
    sweep_id     INTEGER NOT NULL REFERENCES sweeps (id) ON DELETE CASCADE,
    name         TEXT NOT NULL UNIQUE,
    host         TEXT NOT NULL,
    dismissed    INTEGER NOT NULL DEFAULT 0, -- it was told to exit
    created_at   TEXT NOT NULL,
    heartbeat_at TEXT NOT NULL
);
CREATE INDEX agents_by_sweep ON agents (sweep_id);

-- A configuration of a sweep and the run that tries it. It is a lease: holder is the agent that has it now.
CREATE TABLE trials (
    run_id        INTEGER PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
    sweep_id      INTEGER NOT NULL REFERENCES sweeps (id) ON DELETE CASCADE,
    configuration TEXT NOT NULL,             -- canonical JSON: the same text is the same configuration
    copy          INTEGER NOT NULL DEFAULT 0, -- above 0 where another process asked for the same one again
    holder        INTEGER REFERENCES agents (id) ON DELETE SET NULL,
    attempts      INTEGER NOT NULL DEFAULT 0, -- how often it was handed out
    handed_at     TEXT,
    stop_band     INTEGER,                   -- why early termination stopped it
    stop_value    REAL,
    stop_threshold REAL,
    stopped_at    TEXT,
    UNIQUE (sweep_id, configuration, copy)
);
CREATE INDEX trials_by_holder ON trials (holder) WHERE holder IS NOT NULL;
