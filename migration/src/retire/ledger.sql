-- What `retire` has seen of the monolith's tables and routes, in the candidate's database. PostgreSQL's
-- counters carry no times, so each look is compared with the one before.
create table if not exists strangler.retire_table (
    slice      text        not null,
    table_name text        not null,
    first_look timestamptz not null default now(),
    last_look  timestamptz not null default now(),
    reads      bigint      not null,
    writes     bigint      not null,
    -- When a counter had risen since the look before; null when none has since the first.
    read_at    timestamptz,
    written_at timestamptz,
    primary key (slice, table_name)
);

-- Who was seen at a table: by a lock that a session held, or by a statement that was counted.
create table if not exists strangler.retire_user (
    slice       text        not null,
    table_name  text        not null,
    role        text        not null,
    application text        not null,
    address     text        not null,
    calls       bigint      not null default 0,
    seen_at     timestamptz,
    primary key (slice, table_name, role, application, address)
);

create table if not exists strangler.retire_route (
    slice      text        not null,
    route      text        not null,
    first_look timestamptz not null default now(),
    last_look  timestamptz not null default now(),
    requests   bigint      not null,
    seen_at    timestamptz,
    primary key (slice, route)
);
