-- Who is there, and which writes are held: what gateways tell each other while the rows of a slice change
-- their owner. Times are compared by this database's clock only.

-- One row for each gateway process.
CREATE TABLE gateway_instances (
    instance   uuid PRIMARY KEY,
    name       text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    heard_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Not heard of for this long it counts as gone.
    lease_ms   bigint NOT NULL CHECK (lease_ms > 0),
    -- The revision of the rollout document in force there.
    revision   bigint NOT NULL CHECK (revision >= 0)
);

-- The latest fence of each slice; it stands until `until_at`.
CREATE TABLE slice_fences (
    slice     text PRIMARY KEY,
    token     text NOT NULL,
    placed_at timestamptz NOT NULL,
    bound_at  timestamptz NOT NULL,
    until_at  timestamptz NOT NULL,
    CHECK (until_at <= bound_at)
);

-- Which gateway stands behind which fence.
CREATE TABLE slice_fence_acks (
    slice      text NOT NULL,
    token      text NOT NULL,
    instance   uuid NOT NULL REFERENCES gateway_instances ON DELETE CASCADE,
    -- Writes in flight when it closed.
    found      bigint NOT NULL,
    -- How long after that the last of them had ended; NULL until then.
    drained_ms double precision,
    PRIMARY KEY (slice, token, instance)
);

CREATE FUNCTION announce_fence() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify(TG_TABLE_SCHEMA || '_fences', NEW.slice);
    RETURN NULL;
END;
$$;

CREATE TRIGGER gateways_are_woken AFTER INSERT OR UPDATE ON slice_fences
    FOR EACH ROW EXECUTE FUNCTION announce_fence();
