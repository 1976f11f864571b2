-- Indexes and constraints of a table that rows are copied into faster without.
-- $1 the table as SQL text, $2 names of the columns that tell its rows apart, in order.
-- Whatever a foreign key points to, and whatever changes of the table are told apart by, stays.
select kind, name, statement, removal, columns
from (
    select 'key' as kind, k.conname::text as name,
           format('ALTER TABLE %s ADD CONSTRAINT %I %s', $1, k.conname, pg_get_constraintdef(k.oid)) as statement,
           format('ALTER TABLE %s DROP CONSTRAINT %I', $1, k.conname) as removal, 4 as place,
           (select array_agg(a.attname::text order by o.place)
            from unnest(k.conkey) with ordinality as o (attnum, place)
            join pg_attribute a on a.attrelid = k.conrelid and a.attnum = o.attnum) as columns
    from pg_constraint k
    join pg_index i on i.indexrelid = k.conindid
    where k.conrelid = $1::regclass and k.contype = 'p' and k.conparentid = 0 and not k.condeferrable
      and not i.indisreplident and not i.indisclustered
      and not exists (select from pg_constraint f where f.contype = 'f' and f.conindid = k.conindid)
      -- One of a table that is published now would take its updates away from who writes it.
      and not exists (select from pg_publication_tables p where format('%I.%I', p.schemaname, p.tablename)::regclass = k.conrelid)
    union all
    select 'foreign_key', k.conname::text,
           format('ALTER TABLE %s ADD CONSTRAINT %I %s', $1, k.conname, pg_get_constraintdef(k.oid)),
           format('ALTER TABLE %s DROP CONSTRAINT %I', $1, k.conname), 1, '{}'
    from pg_constraint k
    where k.conrelid = $1::regclass and k.contype = 'f' and k.conparentid = 0
    union all
    select 'constraint', k.conname::text,
           format('ALTER TABLE %s ADD CONSTRAINT %I %s', $1, k.conname, pg_get_constraintdef(k.oid)),
           format('ALTER TABLE %s DROP CONSTRAINT %I', $1, k.conname), 2, '{}'
    from pg_constraint k
    join pg_index i on i.indexrelid = k.conindid
    where k.conrelid = $1::regclass and k.contype in ('u', 'x') and k.conparentid = 0
      and not i.indisreplident
      and (select coalesce(array_agg(a.attname::text order by a.attname), '{}')
           from pg_attribute a where a.attrelid = k.conrelid and a.attnum = any(k.conkey))
          <> (select coalesce(array_agg(n order by n collate "C"), '{}') from unnest($2::text[]) as n)
      and not exists (select from pg_constraint f where f.contype = 'f' and f.conindid = k.conindid)
    union all
    select 'index', c.relname::text, pg_get_indexdef(c.oid),
           format('DROP INDEX %I.%I', n.nspname, c.relname), 3, '{}'
    from pg_index i
    join pg_class c on c.oid = i.indexrelid
    join pg_namespace n on n.oid = c.relnamespace
    where i.indrelid = $1::regclass and i.indisvalid and not i.indisprimary and not i.indisreplident
      and not exists (select from pg_constraint k where k.conindid = i.indexrelid)
      and not (i.indisunique and
          (select coalesce(array_agg(a.attname::text order by a.attname), '{}')
           from pg_attribute a where a.attrelid = i.indrelid and a.attnum = any(i.indkey))
          = (select coalesce(array_agg(n order by n collate "C"), '{}') from unnest($2::text[]) as n))
) as definition
order by place, name
