-- What a comparison remembers, in the target database: how far a round is, and what it has found.
create table if not exists strangler.verify_round (
    slice      text primary key,
    -- Of the SQL that compares: another mapping is another round.
    plan       text        not null,
    seed       bigint      not null,
    begun_at   timestamptz not null default now()
);

create table if not exists strangler.verify_part (
    slice        text    not null references strangler.verify_round on delete cascade,
    table_name   text    not null,
    part         integer not null check (part >= 0),
    -- Keys as text; null where the range is open.
    source_after text[],
    source_upto  text[],
    target_after text[],
    target_upto  text[],
    share        bigint,
    shares       bigint,
    buckets      bigint  not null check (buckets > 0),
    by_pages     boolean not null,
    -- Set together, in the transaction that writes what was found in the part.
    done_at      timestamptz,
    row_count    bigint check (row_count >= 0),
    primary key (slice, table_name, part),
    check ((done_at is null) = (row_count is null))
);

create table if not exists strangler.verify_difference (
    slice      text        not null references strangler.verify_round on delete cascade,
    table_name text        not null,
    row_key    text        not null,
    kind       text        not null check (kind in ('missing', 'extra', 'columns', 'unsettled')),
    columns    text[]      not null default '{}',
    found_at   timestamptz not null default now(),
    primary key (slice, table_name, row_key)
);

-- What the latest round over a slice that came to its end has found.
create table if not exists strangler.verify_outcome (
    slice       text        primary key,
    ended_at    timestamptz not null default now(),
    row_count   bigint      not null check (row_count >= 0),
    differences bigint      not null check (differences >= 0),
    -- Changed each time they were looked at.
    unsettled   bigint      not null check (unsettled >= 0)
);
