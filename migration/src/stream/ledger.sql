-- What a stream of changes remembers, in the database that the changes are written to: the target's
-- going forward, the monolith's going back.
create schema if not exists strangler;

create table if not exists strangler.stream (
    slice          text        not null,
    direction      text        not null check (direction in ('forward', 'reverse')),
    slot           text        not null,
    publication    text        not null,
    stage          text        not null check (stage in ('creating', 'copying', 'catching_up', 'indexing', 'streaming', 'lost')),
    -- The slot's first point: every change that commits after it comes through the stream.
    start_lsn      pg_lsn,
    -- The latest point that a row was copied at. Before it has been applied, the rows are of several points.
    consistent_lsn pg_lsn,
    -- The published tables as they were, or were accepted: names and types of their columns.
    signatures     jsonb       not null default '{}',
    -- Why it stopped, when it did so by itself.
    reason         text,
    created_at     timestamptz not null default now(),
    primary key (slice, direction),
    check (stage in ('creating', 'lost') or start_lsn is not null),
    check (stage not in ('catching_up', 'indexing', 'streaming') or consistent_lsn is not null),
    check (consistent_lsn >= start_lsn),
    check (stage <> 'lost' or reason is not null)
);

-- How far it is. Rows are divided among lanes by their keys; each lane notes here what it has
-- applied, in the transaction that wrote the rows.
create table if not exists strangler.stream_lane (
    slice        text        not null,
    direction    text        not null,
    lane         integer     not null check (lane >= 0),
    applied_lsn  pg_lsn      not null,
    -- When the last transaction committed over there, and here; those of the opposite direction do not count.
    committed_at timestamptz,
    applied_at   timestamptz not null default clock_timestamp(),
    transactions bigint      not null default 0 check (transactions >= 0),
    changes      bigint      not null default 0 check (changes >= 0),
    primary key (slice, direction, lane),
    foreign key (slice, direction) references strangler.stream on delete cascade
);

create or replace function strangler.stream_lane_goes_forward() returns trigger
    language plpgsql set search_path = pg_catalog as
$$
begin
    if new.applied_lsn < old.applied_lsn or new.changes < old.changes then
        raise exception 'lane % of % would go back from % to %', old.lane, old.slice, old.applied_lsn, new.applied_lsn
            using errcode = 'integrity_constraint_violation';
    end if;
    return new;
end
$$;

do
$$
begin
    if not exists (select from pg_trigger where tgrelid = 'strangler.stream_lane'::regclass and tgname = 'goes_forward') then
        create trigger goes_forward before update on strangler.stream_lane
            for each row execute function strangler.stream_lane_goes_forward();
        -- The applier's sessions are replicas, for which ordinary triggers do not run.
        alter table strangler.stream_lane enable always trigger goes_forward;
    end if;
end
$$;

-- Changes that the database refused, and later ones of the same row, which wait behind them.
create table if not exists strangler.quarantine (
    id         bigint generated always as identity primary key,
    slice      text        not null,
    direction  text        not null,
    -- The table that is written, and the key of the row as it comes, as an array of texts.
    table_name text        not null,
    row_key    text[]      not null,
    -- The transaction's commit, and the place of the change in the stream.
    lsn        pg_lsn      not null,
    kind       text        not null check (kind in ('insert', 'update', 'delete', 'truncate')),
    -- The row as it came: values by column, those that were not sent left out. Null when it was larger than what is kept.
    image      jsonb,
    -- The key that an update gave the row.
    other_key    text[],
    -- Null for a change that only waits.
    sqlstate   text,
    reason     text,
    attempts   integer     not null default 0 check (attempts >= 0),
    -- What an operator has asked for.
    asked      text check (asked in ('retry', 'skip')),
    created_at timestamptz not null default now(),
    foreign key (slice, direction) references strangler.stream on delete cascade,
    check ((sqlstate is null) = (reason is null))
);

create index if not exists quarantine_row on strangler.quarantine (slice, direction, table_name, row_key, id);

-- Made last: who finds it there need not look for the others.
create table if not exists strangler.stream_schema (
    version integer primary key
);
insert into strangler.stream_schema values (1) on conflict do nothing;
