-- What the service alone keeps of events and schedules. In the shared data stage these tables stand beside the
-- views, so they are made only where they are not there, and refer to nothing.

-- Events that were accepted and have not ended: the queue, and the outbox of a broker where there is one.
CREATE TABLE IF NOT EXISTS event_queue (
    id             uuid PRIMARY KEY,
    function_id    uuid NOT NULL,
    event_type     text NOT NULL CHECK (event_type IN ('http', 'cron', 'webhook', 'queue', 'stream')),
    -- The event as it stands on the wire. Text, not jsonb: jsonb cannot hold "\u0000", which a webhook's sender
    -- may well send.
    body           text NOT NULL,
    -- The dead letter that it tries again: one try at a time.
    dead_letter_id uuid UNIQUE,
    -- From when a worker may take it. Of one that was taken it is the end of the lease.
    available_at   timestamptz NOT NULL DEFAULT now(),
    -- Who may end it or put it back: whoever knows this.
    lease_token    uuid UNIQUE,
    -- How often it was taken since it was last put back on purpose.
    deliveries     integer NOT NULL DEFAULT 0 CHECK (deliveries >= 0),
    -- When the broker was last told of it, since it last became available.
    announced_at   timestamptz,
    accepted_at    timestamptz NOT NULL DEFAULT now(),
    CHECK (lease_token IS NULL OR deliveries > 0)
);

CREATE INDEX IF NOT EXISTS event_queue_available ON event_queue (available_at, id);

-- Which firings of which trigger became events: each once, whoever finds it due.
CREATE TABLE IF NOT EXISTS cron_firings (
    trigger_id   uuid NOT NULL,
    scheduled_at timestamptz NOT NULL,
    event_id     uuid NOT NULL,
    fired_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (trigger_id, scheduled_at)
);

CREATE INDEX IF NOT EXISTS cron_firings_fired ON cron_firings (fired_at);

-- What becomes of missed runs, of triggers for which it is not as the settings say.
CREATE TABLE IF NOT EXISTS cron_policies (
    trigger_id  uuid PRIMARY KEY,
    missed_runs text NOT NULL CHECK (missed_runs ~ '^(skip|once|all:[1-9][0-9]{0,3})$')
);

-- What is paused: `cron`, `events`.
CREATE TABLE IF NOT EXISTS controls (
    name       text PRIMARY KEY CHECK (name IN ('cron', 'events')),
    paused     boolean NOT NULL,
    reason     text NOT NULL DEFAULT '',
    changed_at timestamptz NOT NULL DEFAULT now()
);

-- Which queues of a broker we have bound by which routing keys, so that they can be unbound when nobody
-- subscribes to them any more.
CREATE TABLE IF NOT EXISTS event_bindings (
    queue_name  text NOT NULL,
    routing_key text NOT NULL,
    PRIMARY KEY (queue_name, routing_key)
);
