-- Runs that several processes write to at once (mode="shared"): which lines of the run are those of which writer.
CREATE TABLE shared_lines (
    run_id INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    writer TEXT NOT NULL,     -- the id that a client gives itself
    file   TEXT NOT NULL,     -- history, events or console
    first  INTEGER NOT NULL,  -- the first of the lines, as the writer numbers them
    count  INTEGER NOT NULL,
    line   INTEGER NOT NULL,  -- the first of them in the run
    PRIMARY KEY (run_id, writer, file, first)
) WITHOUT ROWID;

-- Workspaces and reports of W&B's web app, kept for wandb-workspaces: the server gives back what it was given.
CREATE TABLE views (
    id           INTEGER PRIMARY KEY,
    project_id   INTEGER NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    name         TEXT NOT NULL,
    type         TEXT NOT NULL,  -- project-view: a workspace; runs: a report; runs/draft: one that is not published
    display_name TEXT NOT NULL,
    description  TEXT NOT NULL,
    spec         TEXT NOT NULL,  -- JSON
    user         TEXT NOT NULL,
    created_at   TEXT NOT NULL,
    updated_at   TEXT NOT NULL
);
CREATE INDEX views_of_project ON views (project_id, type);
