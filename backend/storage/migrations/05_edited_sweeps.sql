-- How many of a sweep's runs a grid that was edited does not have: it expects these besides its own.
ALTER TABLE sweeps ADD COLUMN outside INTEGER NOT NULL DEFAULT 0;
