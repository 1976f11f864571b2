-- Whether a function is to be started as soon as it is there.
ALTER TABLE build_jobs ADD COLUMN warm boolean NOT NULL DEFAULT false;
