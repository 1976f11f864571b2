-- Every revision of the rollout document, the latest in force in every gateway. The table is a
-- chain: each row names the hash of the one before it, and rows are only ever added. What one
-- gateway must not do to the others is refused here, whatever its code does.
CREATE TABLE rollout_revisions (
    revision          bigint PRIMARY KEY CHECK (revision >= 1),
    at                timestamptz NOT NULL,
    recorded_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor             text NOT NULL,
    authenticated_as  text NOT NULL,
    reason            text NOT NULL,
    kind              text NOT NULL CHECK (kind ~ '^[a-z_]{1,32}$'),
    -- [{"key", "before", "after"}], only what changed.
    changes           jsonb NOT NULL CHECK (jsonb_typeof(changes) = 'array'),
    -- {"route": epoch}
    epochs            jsonb NOT NULL CHECK (jsonb_typeof(epochs) = 'object'),
    document          text NOT NULL,
    document_sha256   text NOT NULL CHECK (document_sha256 = encode(sha256(convert_to(document, 'UTF8')), 'hex')),
    -- NULL for the first, which has none before it.
    previous_revision bigint GENERATED ALWAYS AS (nullif(revision, 1) - 1) STORED,
    previous_hash     text NOT NULL CHECK (revision > 1 OR previous_hash = repeat('0', 64)),
    hash              text NOT NULL UNIQUE CHECK (hash ~ '^[0-9a-f]{64}$'),
    UNIQUE (revision, hash),
    -- No gap, and no second history: two successors of one revision would have the same number.
    FOREIGN KEY (previous_revision, previous_hash) REFERENCES rollout_revisions (revision, hash)
);

-- Epochs void what was decided before a rollback, so none of them may come back.
CREATE FUNCTION refuse_lower_epoch() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    lower text;
BEGIN
    -- The trigger's own schema, whatever the caller's search path is.
    EXECUTE format(
        'SELECT before.key FROM %I.%I AS last, jsonb_each_text(last.epochs) AS before
         WHERE last.revision = $1 - 1 AND coalesce(($2 ->> before.key)::bigint, 0) < before.value::bigint',
        TG_TABLE_SCHEMA, TG_TABLE_NAME)
    INTO lower USING NEW.revision, NEW.epochs;
    IF lower IS NOT NULL THEN
        RAISE EXCEPTION 'the epoch of route % would go down', lower USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END;
$$;

CREATE TRIGGER epochs_never_go_down BEFORE INSERT ON rollout_revisions
    FOR EACH ROW EXECUTE FUNCTION refuse_lower_epoch();

CREATE FUNCTION refuse_change_of_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rollout_revisions is only ever added to' USING ERRCODE = 'restrict_violation';
END;
$$;

CREATE TRIGGER history_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON rollout_revisions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_history();

-- Wakes the gateways; they also look by themselves, because a notice can be lost.
CREATE FUNCTION announce_revision() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify(TG_TABLE_SCHEMA || '_rollout', NEW.revision::text);
    RETURN NULL;
END;
$$;

CREATE TRIGGER gateways_are_woken AFTER INSERT ON rollout_revisions
    FOR EACH ROW EXECUTE FUNCTION announce_revision();
