-- What the in-process event bus has accepted and not yet settled. It stands in a schema of its own,
-- so that `public` holds exactly the tables that are migrated away from here; with RabbitMQ as the
-- bus it stays empty.
create schema in_process_bus;

create table in_process_bus.events (
    id           uuid primary key,
    -- The event as it stands on the wire. Text, not jsonb: jsonb cannot hold "\u0000", which a
    -- webhook's sender may well send.
    body         text        not null,
    available_at timestamptz not null default now(),
    leased_by    uuid,
    leased_until timestamptz,
    check ((leased_by is null) = (leased_until is null))
);
create index events_available on in_process_bus.events (available_at, id);

-- An event is audited once, however often it is delivered.
create unique index event_audit_logs_once on public.event_audit_logs (event_id);
drop index public.event_audit_logs_of_event;
