-- What a copy remembers, in the target database. Everything of the toolkit is in this schema.
create schema if not exists strangler;

create table if not exists strangler.copy_chunk (
    slice        text not null,
    table_name   text not null,
    chunk        integer not null check (chunk >= 0),
    -- Keys of the monolith's table as text; null where the range is open.
    after_key    text[],
    upto_key     text[],
    -- Set together, in the transaction that writes the rows.
    done_at      timestamptz,
    -- The point that the rows were read at, or a little later.
    snapshot_lsn pg_lsn,
    row_count    bigint check (row_count >= 0),
    byte_count   bigint check (byte_count >= 0),
    primary key (slice, table_name, chunk),
    check ((done_at is null) = (snapshot_lsn is null)),
    check ((done_at is null) = (row_count is null)),
    check ((done_at is null) = (byte_count is null))
);

-- Keys, indexes and constraints that are made when the rows are there.
create table if not exists strangler.copy_definition (
    slice      text not null,
    table_name text not null,
    name       text not null,
    kind       text not null check (kind in ('key', 'index', 'constraint', 'foreign_key')),
    statement  text not null,
    -- Of a key, in their order: whoever plans meanwhile knows that it will be there.
    columns    text[] not null default '{}',
    primary key (slice, table_name, name)
);
