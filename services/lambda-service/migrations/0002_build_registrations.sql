-- Which build a function is, for the messages of the build service, which come again and in any order. In the
-- shared data stage it stands beside the views, so it is made only where it is not there.
CREATE TABLE IF NOT EXISTS build_registrations (
    -- Kept when the function is deleted: an old message must not bring it back.
    function_id   uuid PRIMARY KEY,
    version       bigint NOT NULL CHECK (version > 0),
    job_id        uuid NOT NULL,
    registered_at timestamptz NOT NULL DEFAULT now()
);
