-- What a sweep's search must know of its runs, so that it need not keep them in memory.

ALTER TABLE sweeps ADD COLUMN run_count INTEGER NOT NULL DEFAULT 0;     -- kept by the triggers below
ALTER TABLE sweeps ADD COLUMN search_key TEXT;                          -- what the tables below were written by; NULL: not yet
ALTER TABLE sweeps ADD COLUMN grid_position INTEGER NOT NULL DEFAULT 0; -- every configuration before it was handed out
UPDATE sweeps SET run_count = (SELECT count(*) FROM runs WHERE runs.sweep_id = sweeps.id);

-- Runs of sweeps that are not over, and those that have changed since the search saw them end.
CREATE TABLE open_runs (
    run_id   INTEGER PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
    sweep_id INTEGER NOT NULL
);
CREATE INDEX open_runs_by_sweep ON open_runs (sweep_id);
INSERT INTO open_runs SELECT id, sweep_id FROM runs
    WHERE sweep_id IS NOT NULL AND state IN ('pending', 'running', 'preempting', 'preempted');

-- How the runs that are over did, by the sweep's metric. Better and worse are by its goal.
CREATE TABLE outcomes (
    run_id   INTEGER PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
    sweep_id INTEGER NOT NULL,
    best     REAL,  -- over history and summary; NULL: it logged none
    worst    REAL,
    worth    REAL   -- what the search takes the run for; NULL: the worst of all runs, or unknown, as the metric's impute says
);
CREATE INDEX outcomes_by_sweep ON outcomes (sweep_id);
CREATE INDEX outcomes_by_best ON outcomes (sweep_id, best);
CREATE INDEX outcomes_by_worst ON outcomes (sweep_id, worst);
CREATE INDEX outcomes_by_worth ON outcomes (sweep_id, worth);

-- Early termination: the metric of each run at the bands that it reached,
CREATE TABLE band_values (
    run_id   INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    band     INTEGER NOT NULL,  -- so many values of the metric were logged
    sweep_id INTEGER NOT NULL,
    value    REAL NOT NULL,
    PRIMARY KEY (run_id, band)
) WITHOUT ROWID;
CREATE INDEX band_values_in_order ON band_values (sweep_id, band, value, run_id);
-- and each band's threshold. A row that is missing is made from the values.
CREATE TABLE bands (
    sweep_id  INTEGER NOT NULL REFERENCES sweeps (id) ON DELETE CASCADE,
    band      INTEGER NOT NULL,
    runs      INTEGER NOT NULL,  -- how many reached it
    threshold REAL NOT NULL,     -- the value of rank runs / eta among theirs,
    run_id    INTEGER NOT NULL,  -- and whose it is: values may be equal
    PRIMARY KEY (sweep_id, band)
) WITHOUT ROWID;
CREATE TRIGGER band_values_deleted AFTER DELETE ON band_values BEGIN
    DELETE FROM bands WHERE sweep_id = old.sweep_id AND band = old.band;
END;
CREATE TRIGGER band_values_changed AFTER UPDATE OF value ON band_values BEGIN
    DELETE FROM bands WHERE sweep_id = old.sweep_id AND band = old.band;
END;

-- Configurations that a sweep has tried without having handed them out as they are: of runs that joined it by
-- themselves, and of trials from before its parameters were edited.
CREATE TABLE joined_runs (
    run_id        INTEGER PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
    sweep_id      INTEGER NOT NULL,
    configuration TEXT NOT NULL  -- canonical JSON, as in trials
);
CREATE INDEX joined_runs_by_configuration ON joined_runs (sweep_id, configuration);

-- Configurations that a grid has passed and whose runs were deleted since: they are handed out again.
CREATE TABLE released (
    run_id        INTEGER PRIMARY KEY,  -- the run is no more
    sweep_id      INTEGER NOT NULL REFERENCES sweeps (id) ON DELETE CASCADE,
    configuration TEXT NOT NULL
);
CREATE INDEX released_by_configuration ON released (sweep_id, configuration);
CREATE TRIGGER trials_made AFTER INSERT ON trials BEGIN
    DELETE FROM released WHERE sweep_id = new.sweep_id AND configuration = new.configuration;
END;

CREATE TRIGGER sweeps_run_made AFTER INSERT ON runs WHEN new.sweep_id IS NOT NULL BEGIN
    UPDATE sweeps SET run_count = run_count + 1 WHERE id = new.sweep_id;
    INSERT INTO open_runs (run_id, sweep_id) VALUES (new.id, new.sweep_id);
END;
CREATE TRIGGER sweeps_run_moved AFTER UPDATE OF sweep_id ON runs WHEN old.sweep_id IS NOT new.sweep_id BEGIN
    UPDATE sweeps SET run_count = run_count - 1 WHERE id = old.sweep_id;
    UPDATE sweeps SET run_count = run_count + 1 WHERE id = new.sweep_id;
    DELETE FROM open_runs WHERE run_id = new.id;
    DELETE FROM outcomes WHERE run_id = new.id;
    DELETE FROM band_values WHERE run_id = new.id;
    DELETE FROM joined_runs WHERE run_id = new.id;
    INSERT INTO open_runs SELECT new.id, new.sweep_id WHERE new.sweep_id IS NOT NULL;
END;
CREATE TRIGGER sweeps_run_changed AFTER UPDATE OF state, summary, history_lines ON runs
WHEN new.sweep_id IS NOT NULL BEGIN
    INSERT OR IGNORE INTO open_runs (run_id, sweep_id) VALUES (new.id, new.sweep_id);
END;
CREATE TRIGGER trials_stopped AFTER UPDATE OF stopped_at ON trials BEGIN
    INSERT OR IGNORE INTO open_runs SELECT id, sweep_id FROM runs WHERE id = new.run_id AND sweep_id IS NOT NULL;
END;
CREATE TRIGGER sweeps_run_deleted BEFORE DELETE ON runs WHEN old.sweep_id IS NOT NULL BEGIN
    UPDATE sweeps SET run_count = run_count - 1 WHERE id = old.sweep_id;
    INSERT OR IGNORE INTO released
        SELECT old.id, tried.sweep_id, tried.configuration FROM (
            SELECT sweep_id, configuration FROM joined_runs WHERE run_id = old.id
            UNION ALL SELECT sweep_id, configuration FROM trials WHERE run_id = old.id
        ) AS tried JOIN sweeps ON sweeps.id = tried.sweep_id WHERE sweeps.method = 'grid' LIMIT 1;
END;
