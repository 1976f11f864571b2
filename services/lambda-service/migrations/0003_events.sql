-- Triggers, webhooks, subscriptions, and what became of events. In the shared data stage the same names are views
-- over the monolith's tables, so nothing the service says to them may need more than a view can do.

CREATE TABLE cron_jobs (
    id              uuid PRIMARY KEY,
    function_id     uuid NOT NULL REFERENCES functions (id) ON DELETE CASCADE,
    name            text NOT NULL CHECK (length(name) <= 255),
    -- Six fields, seconds first.
    cron_expression text NOT NULL CHECK (length(cron_expression) <= 255),
    timezone        text NOT NULL DEFAULT 'UTC' CHECK (length(timezone) <= 255),
    enabled         boolean NOT NULL DEFAULT true,
    last_run_at     timestamptz,
    -- The earliest firing that has not been fired; null when the expression never fires again.
    next_run_at     timestamptz,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX cron_jobs_of_function ON cron_jobs (function_id);
CREATE INDEX cron_jobs_due ON cron_jobs (next_run_at) WHERE enabled;
CREATE TRIGGER cron_jobs_updated_at BEFORE UPDATE ON cron_jobs FOR EACH ROW EXECUTE FUNCTION keep_updated_at();

CREATE TABLE webhooks (
    id               uuid PRIMARY KEY,
    function_id      uuid NOT NULL REFERENCES functions (id) ON DELETE CASCADE,
    name             text NOT NULL CHECK (length(name) <= 255),
    path             text NOT NULL UNIQUE CHECK (length(path) <= 255),
    secret           text NOT NULL DEFAULT '' CHECK (length(secret) <= 255),
    signature_header text NOT NULL DEFAULT '' CHECK (length(signature_header) <= 255),
    enabled          boolean NOT NULL DEFAULT true,
    headers          jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(headers) = 'object'),
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX webhooks_of_function ON webhooks (function_id);
CREATE TRIGGER webhooks_updated_at BEFORE UPDATE ON webhooks FOR EACH ROW EXECUTE FUNCTION keep_updated_at();

CREATE TABLE event_subscriptions (
    id             uuid PRIMARY KEY,
    function_id    uuid NOT NULL REFERENCES functions (id) ON DELETE CASCADE,
    event_type     text NOT NULL CHECK (length(event_type) <= 50),
    queue_name     text NOT NULL DEFAULT '' CHECK (length(queue_name) <= 255),
    routing_key    text NOT NULL DEFAULT '' CHECK (length(routing_key) <= 255),
    filter_pattern jsonb,
    enabled        boolean NOT NULL DEFAULT true,
    created_at     timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX event_subscriptions_of_function ON event_subscriptions (function_id);

CREATE TABLE dead_letter_queue (
    id               uuid PRIMARY KEY,
    event_id         uuid NOT NULL,
    function_id      uuid NOT NULL REFERENCES functions (id) ON DELETE CASCADE,
    event_type       text NOT NULL CHECK (length(event_type) <= 50),
    payload          jsonb NOT NULL,
    error_message    text NOT NULL DEFAULT '',
    retry_count      integer NOT NULL DEFAULT 0,
    max_retries      integer NOT NULL DEFAULT 3,
    first_attempt_at timestamptz NOT NULL,
    last_attempt_at  timestamptz NOT NULL,
    next_retry_at    timestamptz,
    status           text NOT NULL DEFAULT 'pending' CHECK (length(status) <= 50),
    created_at       timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX dead_letter_queue_of_function ON dead_letter_queue (function_id);
CREATE INDEX dead_letter_queue_newest ON dead_letter_queue (created_at DESC, id DESC);

-- Deliberately without a foreign key: the audit outlives the function it speaks of.
CREATE TABLE event_audit (
    id            uuid PRIMARY KEY,
    -- An event is audited once, however often it is delivered.
    event_id      uuid NOT NULL UNIQUE,
    function_id   uuid NOT NULL,
    event_type    text NOT NULL CHECK (length(event_type) <= 50),
    status        text NOT NULL CHECK (length(status) <= 50),
    duration_ms   bigint NOT NULL DEFAULT 0,
    error_message text,
    created_at    timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX event_audit_of_function ON event_audit (function_id, created_at DESC, id DESC);
