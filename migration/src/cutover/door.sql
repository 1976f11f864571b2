-- What refuses writes to rows that have another owner. Everything of the toolkit is in this schema.
create schema if not exists strangler;

create or replace function strangler.refuse(slice text, table_name text) returns void language plpgsql as $$
begin
    raise exception 'rows of % belong to the other side now: slice % has moved', table_name, slice
        using errcode = 'read_only_sql_transaction',
              hint = 'Write through the gateway, or have the slice rolled back.';
end;
$$;

create or replace function strangler.refuse_moved() returns trigger language plpgsql as $$
begin
    perform strangler.refuse(tg_argv[0], tg_table_name);
    return null;
end;
$$;
