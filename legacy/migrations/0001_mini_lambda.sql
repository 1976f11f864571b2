-- The shared database of the monolith. Ids are UUIDs kept as text, times carry no zone and are
-- UTC: both are what the data that is migrated away from here looks like, so they stay.

create table functions (
    id              varchar(255) primary key,
    name            varchar(255) not null unique,
    runtime         varchar(255) not null,
    handler         varchar(255) not null default 'handler',
    -- BLAKE3 of the source, in hex: functions with the same source share one object.
    code_key        varchar(255) not null,
    timeout_seconds integer      not null default 30,
    memory_mb       bigint       not null default 128,
    environment     jsonb        not null default '{}',
    created_at      timestamp    not null default (now() at time zone 'utc'),
    updated_at      timestamp    not null default (now() at time zone 'utc')
);
create index functions_newest on functions (created_at desc, id desc);

create table executions (
    id                varchar(255) primary key,
    function_id       varchar(255) not null references functions (id) on delete cascade,
    status            varchar(50)  not null,
    is_warm_start     boolean      not null default false,
    duration_ms       bigint       not null default 0,
    memory_used_bytes bigint       not null default 0,
    error_message     text,
    created_at        timestamp    not null default (now() at time zone 'utc')
);
create index executions_of_function on executions (function_id, created_at desc, id desc);

create table cron_triggers (
    id              varchar(255) primary key,
    function_id     varchar(255) not null references functions (id) on delete cascade,
    name            varchar(255) not null,
    -- Six fields, seconds first.
    cron_expression varchar(255) not null,
    timezone        varchar(255) not null default 'UTC',
    enabled         boolean      not null default true,
    last_run_at     timestamp,
    -- Null when the expression never fires again.
    next_run_at     timestamp,
    created_at      timestamp    not null default (now() at time zone 'utc'),
    updated_at      timestamp    not null default (now() at time zone 'utc')
);
create index cron_triggers_of_function on cron_triggers (function_id);
create index cron_triggers_due on cron_triggers (next_run_at) where enabled;

create table webhooks (
    id               varchar(255) primary key,
    function_id      varchar(255) not null references functions (id) on delete cascade,
    name             varchar(255) not null,
    path             varchar(255) not null unique,
    secret           varchar(255) not null default '',
    signature_header varchar(255) not null default '',
    enabled          boolean      not null default true,
    headers          jsonb        not null default '{}',
    created_at       timestamp    not null default (now() at time zone 'utc'),
    updated_at       timestamp    not null default (now() at time zone 'utc')
);
create index webhooks_of_function on webhooks (function_id);

create table event_subscriptions (
    id             varchar(255) primary key,
    function_id    varchar(255) not null references functions (id) on delete cascade,
    event_type     varchar(50)  not null,
    queue_name     varchar(255) not null default '',
    routing_key    varchar(255) not null default '',
    filter_pattern jsonb,
    enabled        boolean      not null default true,
    created_at     timestamp    not null default (now() at time zone 'utc')
);
create index event_subscriptions_of_function on event_subscriptions (function_id);

create table dead_letter_queue (
    id               varchar(255) primary key,
    event_id         varchar(255) not null,
    function_id      varchar(255) not null references functions (id) on delete cascade,
    event_type       varchar(50)  not null,
    payload          jsonb        not null,
    error_message    text         not null default '',
    retry_count      integer      not null default 0,
    max_retries      integer      not null default 3,
    first_attempt_at timestamp    not null,
    last_attempt_at  timestamp    not null,
    next_retry_at    timestamp,
    status           varchar(50)  not null default 'pending',
    created_at       timestamp    not null default (now() at time zone 'utc')
);
create index dead_letter_queue_of_function on dead_letter_queue (function_id);
create index dead_letter_queue_newest on dead_letter_queue (created_at desc, id desc);

-- Deliberately without a foreign key: the audit outlives the function it speaks of.
create table event_audit_logs (
    id            varchar(255) primary key,
    event_id      varchar(255) not null,
    function_id   varchar(255) not null,
    event_type    varchar(50)  not null,
    status        varchar(50)  not null,
    duration_ms   bigint       not null default 0,
    error_message text,
    created_at    timestamp    not null default (now() at time zone 'utc')
);
create index event_audit_logs_of_function on event_audit_logs (function_id, created_at desc, id desc);
create index event_audit_logs_of_event on event_audit_logs (event_id);

create function touch_updated_at() returns trigger
    language plpgsql as
$$
begin
    new.updated_at := now() at time zone 'utc';
    return new;
end
$$;

create trigger functions_touch_updated_at
    before update on functions for each row execute function touch_updated_at();
create trigger cron_triggers_touch_updated_at
    before update on cron_triggers for each row execute function touch_updated_at();
create trigger webhooks_touch_updated_at
    before update on webhooks for each row execute function touch_updated_at();
