-- The lambda service's own tables. In the shared data stage the same names are views over the
-- monolith's tables, so nothing the service says to them may need more than a view can do.

CREATE TABLE functions (
    id              uuid PRIMARY KEY,
    name            text NOT NULL UNIQUE CHECK (name <> ''),
    runtime         text NOT NULL,
    handler         text NOT NULL,
    -- BLAKE3 of the source, in hex: the name of the immutable object that holds it.
    code_key        text NOT NULL,
    timeout_seconds integer NOT NULL CHECK (timeout_seconds > 0),
    memory_mb       bigint NOT NULL CHECK (memory_mb > 0),
    environment     jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(environment) = 'object'),
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX functions_newest ON functions (created_at DESC, id DESC);

CREATE FUNCTION keep_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END;
$$;

CREATE TRIGGER functions_updated_at BEFORE UPDATE ON functions
    FOR EACH ROW EXECUTE FUNCTION keep_updated_at();

CREATE TABLE invocations (
    id                uuid PRIMARY KEY,
    function_id       uuid NOT NULL REFERENCES functions (id) ON DELETE CASCADE,
    status            text NOT NULL CHECK (status IN ('success', 'failed', 'timeout')),
    is_warm_start     boolean NOT NULL,
    duration_ms       bigint NOT NULL,
    memory_used_bytes bigint NOT NULL,
    error_message     text,
    -- When the call started.
    created_at        timestamptz NOT NULL
);

CREATE INDEX invocations_of_function ON invocations (function_id, created_at DESC, id DESC);
