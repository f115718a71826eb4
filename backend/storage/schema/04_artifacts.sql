-- Artifacts: versioned sets of files. A collection is a sequence (where versions are made) or a portfolio (where
-- versions of sequences are linked); a membership is one version's place in one collection.
CREATE TABLE artifact_types (
    id          INTEGER PRIMARY KEY,
    project_id  INTEGER NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    name        TEXT NOT NULL,
    description TEXT,
    created_at  TEXT NOT NULL,
    UNIQUE (project_id, name)
);

CREATE TABLE artifact_collections (
    id           INTEGER PRIMARY KEY,
    project_id   INTEGER NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    type_id      INTEGER NOT NULL REFERENCES artifact_types (id),
    kind         TEXT NOT NULL CHECK (kind IN ('sequence', 'portfolio')),
    name         TEXT NOT NULL,
    description  TEXT,
    state        TEXT NOT NULL DEFAULT 'READY' CHECK (state IN ('READY', 'DELETED')),
    client_id    TEXT,                       -- what the client calls a sequence before the server has seen it
    next_version INTEGER NOT NULL DEFAULT 0, -- a version number is never given twice, deleted or not
    created_at   TEXT NOT NULL,
    updated_at   TEXT NOT NULL
);
-- The name of a deleted collection is free again.
CREATE UNIQUE INDEX artifact_collections_by_name ON artifact_collections (project_id, name) WHERE state = 'READY';
CREATE INDEX artifact_collections_by_type ON artifact_collections (type_id);
CREATE INDEX artifact_collections_by_client ON artifact_collections (client_id) WHERE client_id IS NOT NULL;

CREATE TABLE artifacts (
    id             INTEGER PRIMARY KEY,
    sequence_id    INTEGER NOT NULL REFERENCES artifact_collections (id) ON DELETE CASCADE,
    state          TEXT NOT NULL DEFAULT 'PENDING' CHECK (state IN ('PENDING', 'COMMITTED', 'DELETED')),
    version        INTEGER,                  -- in its sequence, given by the commit
    digest         TEXT NOT NULL,            -- MD5 in hex over names and digests of the manifest's entries
    description    TEXT,
    metadata       TEXT,                     -- JSON
    wanted_aliases TEXT NOT NULL DEFAULT '[]', -- JSON list, applied by the commit
    run_id         INTEGER REFERENCES runs (id) ON DELETE SET NULL,  -- the run that made it
    user           TEXT NOT NULL,
    history_step   INTEGER,
    commit_hash    TEXT,                     -- given by the commit; no hash of a Git commit
    distributed_id TEXT,
    ttl_seconds    INTEGER,                  -- NULL: inherited (that is, none); negative: switched off
    expires_at     TEXT,
    size           INTEGER NOT NULL DEFAULT 0,
    file_count     INTEGER NOT NULL DEFAULT 0,
    manifest_id    INTEGER,                  -- the whole, merged manifest, once committed
    created_at     TEXT NOT NULL,
    updated_at     TEXT NOT NULL
);
CREATE INDEX artifacts_by_digest ON artifacts (sequence_id, digest);
CREATE INDEX artifacts_by_run ON artifacts (run_id) WHERE run_id IS NOT NULL;
CREATE INDEX artifacts_distributed ON artifacts (sequence_id, distributed_id) WHERE distributed_id IS NOT NULL;
CREATE INDEX artifacts_expiring ON artifacts (expires_at) WHERE expires_at IS NOT NULL AND state = 'COMMITTED';

-- What clients call a version before the server has seen it; several clients may log the same content.
CREATE TABLE artifact_clients (
    client_id   TEXT PRIMARY KEY,
    artifact_id INTEGER NOT NULL REFERENCES artifacts (id) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX artifact_clients_by_artifact ON artifact_clients (artifact_id);

CREATE TABLE artifact_memberships (
    id            INTEGER PRIMARY KEY,
    collection_id INTEGER NOT NULL REFERENCES artifact_collections (id) ON DELETE CASCADE,
    artifact_id   INTEGER NOT NULL REFERENCES artifacts (id) ON DELETE CASCADE,
    version_index INTEGER NOT NULL,
    created_at    TEXT NOT NULL,
    UNIQUE (collection_id, artifact_id),
    UNIQUE (collection_id, version_index)
);
CREATE INDEX artifact_memberships_by_artifact ON artifact_memberships (artifact_id);

CREATE TABLE artifact_aliases (
    id            INTEGER PRIMARY KEY,
    collection_id INTEGER NOT NULL REFERENCES artifact_collections (id) ON DELETE CASCADE,
    membership_id INTEGER NOT NULL REFERENCES artifact_memberships (id) ON DELETE CASCADE,
    alias         TEXT NOT NULL,
    UNIQUE (collection_id, alias)            -- an alias points to one version of a collection
);
CREATE INDEX artifact_aliases_by_membership ON artifact_aliases (membership_id);

CREATE TABLE artifact_tags (
    id          INTEGER PRIMARY KEY,
    artifact_id INTEGER NOT NULL REFERENCES artifacts (id) ON DELETE CASCADE,
    name        TEXT NOT NULL,
    UNIQUE (artifact_id, name)
);

CREATE TABLE artifact_collection_tags (
    id            INTEGER PRIMARY KEY,
    collection_id INTEGER NOT NULL REFERENCES artifact_collections (id) ON DELETE CASCADE,
    name          TEXT NOT NULL,
    UNIQUE (collection_id, name)
);

-- Manifests as they were sent; one artifact has several when many processes write parts of it (type PATCH).
CREATE TABLE artifact_manifests (
    id          INTEGER PRIMARY KEY,
    artifact_id INTEGER NOT NULL REFERENCES artifacts (id) ON DELETE CASCADE,
    base_id     INTEGER REFERENCES artifacts (id) ON DELETE SET NULL,
    type        TEXT NOT NULL CHECK (type IN ('FULL', 'PATCH', 'INCREMENTAL')),
    name        TEXT NOT NULL,
    md5         TEXT NOT NULL DEFAULT '',     -- base64; what the upload must have
    digest      TEXT,                         -- the blob; NULL until it has been uploaded
    size        INTEGER NOT NULL DEFAULT 0,
    created_at  TEXT NOT NULL
);
CREATE INDEX artifact_manifests_by_artifact ON artifact_manifests (artifact_id);
CREATE INDEX artifact_manifests_by_digest ON artifact_manifests (digest) WHERE digest IS NOT NULL;

-- Contents that were uploaded for artifacts of a project: what is here need not be sent again.
CREATE TABLE artifact_contents (
    project_id INTEGER NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    md5        TEXT NOT NULL,                -- base64, as manifests write it
    digest     TEXT NOT NULL,                -- the blob
    size       INTEGER NOT NULL,
    PRIMARY KEY (project_id, md5)
) WITHOUT ROWID;
CREATE INDEX artifact_contents_by_digest ON artifact_contents (digest);

-- Parts of a large file on their way (W&B's client splits at 2 GiB).
CREATE TABLE artifact_parts (
    artifact_id INTEGER NOT NULL REFERENCES artifacts (id) ON DELETE CASCADE,
    file_md5    TEXT NOT NULL,
    number      INTEGER NOT NULL,
    md5         TEXT NOT NULL,
    digest      TEXT NOT NULL,               -- the blob among the parts
    size        INTEGER NOT NULL,
    PRIMARY KEY (artifact_id, file_md5, number)
) WITHOUT ROWID;
CREATE INDEX artifact_parts_by_digest ON artifact_parts (digest);

-- The files of a committed version.
CREATE TABLE artifact_entries (
    artifact_id INTEGER NOT NULL REFERENCES artifacts (id) ON DELETE CASCADE,
    name        TEXT NOT NULL,
    md5         TEXT NOT NULL,               -- base64; for a reference whatever the client noted
    size        INTEGER NOT NULL,
    ref         TEXT,                        -- where the content lies, when it is not here
    digest      TEXT,                        -- the blob, when it is here
    birth_id    INTEGER,                     -- the version that the file came with
    PRIMARY KEY (artifact_id, name)
) WITHOUT ROWID;
CREATE INDEX artifact_entries_by_digest ON artifact_entries (digest) WHERE digest IS NOT NULL;

-- Lineage: versions a run used, and versions it logged (an existing version with the same content counts).
CREATE TABLE artifact_inputs (
    run_id      INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    artifact_id INTEGER NOT NULL REFERENCES artifacts (id) ON DELETE CASCADE,
    used_as     TEXT,
    created_at  TEXT NOT NULL,
    PRIMARY KEY (run_id, artifact_id)
);
CREATE INDEX artifact_inputs_by_artifact ON artifact_inputs (artifact_id);

CREATE TABLE artifact_outputs (
    run_id      INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    artifact_id INTEGER NOT NULL REFERENCES artifacts (id) ON DELETE CASCADE,
    created_at  TEXT NOT NULL,
    PRIMARY KEY (run_id, artifact_id)
);
CREATE INDEX artifact_outputs_by_artifact ON artifact_outputs (artifact_id);
