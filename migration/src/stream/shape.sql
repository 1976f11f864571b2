-- The shape of a table as logical replication sees it: its columns without generated ones, and how
-- rows of it, or of each of its partitions, are told apart.
-- $1 schema, $2 name
select jsonb_build_object(
    'columns', (
        select coalesce(jsonb_agg(jsonb_build_object(
                   'name', a.attname,
                   'type_id', a.atttypid::bigint,
                   'modifier', a.atttypmod,
                   'data_type', format_type(a.atttypid, a.atttypmod)
               ) order by a.attnum), '[]')
        from pg_attribute a
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''),
    'parts', (
        select coalesce(jsonb_agg(jsonb_build_object(
                   'name', format('%I.%I', pn.nspname, p.relname),
                   'identity', p.relreplident,
                   'logged', p.relpersistence = 'p',
                   'identity_columns', (
                       select coalesce(jsonb_agg(a.attname), '[]')
                       from pg_index i
                       join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any(i.indkey)
                       where i.indrelid = p.oid and i.indisvalid
                         and case p.relreplident when 'd' then i.indisprimary when 'i' then i.indisreplident else false end)
               ) order by p.oid), '[]')
        from pg_class p
        join pg_namespace pn on pn.oid = p.relnamespace
        where p.relkind = 'r'
          and (p.oid = c.oid or p.oid in (select relid from pg_partition_tree(c.oid))))
)
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
where n.nspname = $1 and c.relname = $2 and c.relkind in ('r', 'p')
