-- The build service's own tables (build_service_db). Whatever must never happen is refused here, so that
-- no mistake of the code above can make it happen.

-- Which function a name means, and how many builds of it there were. Its row's lock puts the builds of one
-- function in an order.
CREATE TABLE function_names (
    name        text PRIMARY KEY CHECK (name <> ''),
    function_id uuid NOT NULL,
    versions    bigint NOT NULL DEFAULT 0 CHECK (versions >= 0)
);

CREATE TABLE build_jobs (
    id               uuid PRIMARY KEY,
    function_id      uuid NOT NULL,
    -- Counts the builds of a function: receivers keep the highest, whatever order they hear of them in.
    version          bigint NOT NULL CHECK (version > 0),
    -- 'archive' is built; 'source' is one file of text that is its own artifact.
    kind             text NOT NULL CHECK (kind IN ('archive', 'source')),
    name             text NOT NULL CHECK (name <> ''),
    runtime          text NOT NULL,
    handler          text NOT NULL,
    timeout_seconds  integer NOT NULL CHECK (timeout_seconds > 0),
    memory_mb        bigint NOT NULL CHECK (memory_mb > 0),
    environment      jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(environment) = 'object'),
    webhook_url      text,
    -- Signs what is sent to webhook_url; the configured one does where this is null.
    webhook_secret   text,
    -- A build that ended is never taken up again: trying again is another job. One such job for each.
    retry_of         uuid UNIQUE REFERENCES build_jobs (id),
    state            text NOT NULL CHECK (state IN ('queued', 'building', 'completed', 'failed', 'cancelled')),
    -- The latest row of its history in build_status.
    sequence         integer NOT NULL CHECK (sequence > 0),
    -- How often a worker took it.
    attempt          integer NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    -- Who may change a job that is being built: whoever knows this, until it is over.
    lease_token      uuid UNIQUE,
    lease_expires_at timestamptz,
    lease_holder     text,
    -- When workers were last told of it.
    announced_at     timestamptz NOT NULL DEFAULT now(),
    artifact_digest  text CHECK (artifact_digest ~ '^[0-9a-f]{64}$'),
    error_code       text,
    error_message    text,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    finished_at      timestamptz,
    UNIQUE (function_id, version),
    CHECK ((state = 'building') = (lease_token IS NOT NULL)),
    CHECK ((lease_token IS NULL) = (lease_expires_at IS NULL)),
    CHECK ((state = 'completed') = (artifact_digest IS NOT NULL)),
    CHECK ((state = 'failed') = (error_code IS NOT NULL)),
    CHECK ((error_code IS NULL) = (error_message IS NULL)),
    CHECK ((state IN ('completed', 'failed', 'cancelled')) = (finished_at IS NOT NULL)),
    CHECK (state NOT IN ('building', 'completed') OR attempt > 0)
);

-- What a worker looks for, oldest first.
CREATE INDEX build_jobs_open ON build_jobs (created_at, id) WHERE state IN ('queued', 'building');
CREATE INDEX build_jobs_newest ON build_jobs (created_at DESC, id DESC);
CREATE INDEX build_jobs_of_function ON build_jobs (function_id, created_at DESC, id DESC);

CREATE FUNCTION guard_build_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state IN ('completed', 'failed', 'cancelled') THEN
        RAISE EXCEPTION 'build % has ended (%) and does not change', OLD.id, OLD.state USING ERRCODE = 'check_violation';
    END IF;
    IF OLD.state = 'building' AND NEW.state = 'queued' THEN
        RAISE EXCEPTION 'build % was begun and is never queued again', OLD.id USING ERRCODE = 'check_violation';
    END IF;
    IF OLD.state = 'queued' AND NEW.state = 'completed' THEN
        RAISE EXCEPTION 'build % was completed by nobody', OLD.id USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.attempt < OLD.attempt OR NEW.sequence < OLD.sequence THEN
        RAISE EXCEPTION 'build %: attempts and history only grow', OLD.id USING ERRCODE = 'check_violation';
    END IF;
    -- Another token without another attempt would be a lease that nobody took.
    IF NEW.lease_token IS DISTINCT FROM OLD.lease_token AND NEW.lease_token IS NOT NULL
       AND NEW.attempt = OLD.attempt THEN
        RAISE EXCEPTION 'build %: a lease is taken with a new attempt', OLD.id USING ERRCODE = 'check_violation';
    END IF;
    NEW.updated_at := now();
    RETURN NEW;
END;
$$;

CREATE TRIGGER build_jobs_guard BEFORE UPDATE ON build_jobs FOR EACH ROW EXECUTE FUNCTION guard_build_job();

-- One row for each transition.
CREATE TABLE build_status (
    job_id   uuid NOT NULL REFERENCES build_jobs (id) ON DELETE CASCADE,
    sequence integer NOT NULL CHECK (sequence > 0),
    state    text NOT NULL CHECK (state IN ('queued', 'building', 'completed', 'failed', 'cancelled')),
    attempt  integer NOT NULL CHECK (attempt >= 0),
    message  text,
    at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (job_id, sequence)
);

CREATE UNIQUE INDEX build_status_begins_once ON build_status (job_id) WHERE state = 'queued';
CREATE UNIQUE INDEX build_status_ends_once ON build_status (job_id) WHERE state IN ('completed', 'failed', 'cancelled');

CREATE TABLE package_metadata (
    job_id         uuid PRIMARY KEY REFERENCES build_jobs (id) ON DELETE CASCADE,
    -- BLAKE3 of the package as it was sent, in hex.
    digest         text NOT NULL CHECK (digest ~ '^[0-9a-f]{64}$'),
    -- The object that holds it.
    object_key     text NOT NULL,
    package_bytes  bigint NOT NULL CHECK (package_bytes > 0),
    files          bigint NOT NULL CHECK (files > 0),
    unpacked_bytes bigint NOT NULL CHECK (unpacked_bytes >= 0),
    -- Known once it was built.
    artifact_bytes bigint CHECK (artifact_bytes > 0)
);

-- What a client's Idempotency-Key was answered with.
CREATE TABLE idempotency_keys (
    key            text PRIMARY KEY CHECK (length(key) BETWEEN 1 AND 255),
    -- BLAKE3 of everything that was asked for.
    request_digest text NOT NULL,
    job_id         uuid NOT NULL REFERENCES build_jobs (id) ON DELETE CASCADE,
    created_at     timestamptz NOT NULL DEFAULT now()
);

-- Jobs that a broker shall hear of: written with the job, deleted once the broker has confirmed.
CREATE TABLE build_outbox (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id     uuid NOT NULL UNIQUE REFERENCES build_jobs (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- One row for each receiver of each transition.
CREATE TABLE webhook_deliveries (
    id              uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    job_id          uuid NOT NULL,
    sequence        integer NOT NULL,
    -- 'client', or the name of a configured receiver.
    receiver        text NOT NULL CHECK (receiver <> ''),
    state           text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'given_up')),
    -- How often it was sent. Whoever sends it has raised this first, and may write the outcome only of its own.
    attempts        integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    -- The attempts that belonged to earlier rounds, before it was replayed.
    earlier_attempts integer NOT NULL DEFAULT 0 CHECK (earlier_attempts BETWEEN 0 AND attempts),
    due_at          timestamptz NOT NULL DEFAULT now(),
    -- When it was first to be sent in this round.
    begun_at        timestamptz NOT NULL DEFAULT now(),
    ended_at        timestamptz,
    FOREIGN KEY (job_id, sequence) REFERENCES build_status (job_id, sequence) ON DELETE CASCADE,
    UNIQUE (job_id, sequence, receiver),
    CHECK ((state = 'pending') = (ended_at IS NULL))
);

CREATE INDEX webhook_deliveries_due ON webhook_deliveries (due_at) WHERE state = 'pending';

CREATE TABLE webhook_attempts (
    delivery_id uuid NOT NULL REFERENCES webhook_deliveries (id) ON DELETE CASCADE,
    number      integer NOT NULL CHECK (number > 0),
    at          timestamptz NOT NULL DEFAULT now(),
    duration_ms bigint NOT NULL CHECK (duration_ms >= 0),
    -- What the receiver answered with, or why it did not.
    status      integer,
    error       text,
    response    text,
    PRIMARY KEY (delivery_id, number),
    CHECK ((status IS NULL) = (error IS NOT NULL))
);
