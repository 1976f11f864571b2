-- Enums, domains and composite types that the columns of some tables are made of, with the statement
-- that makes each in the first schema of a search_path. What a type is made of comes before it: enums
-- are made of nothing, and others are younger than their parts.
-- $1 schema, $2 names of tables.
with recursive used as (
    select coalesce(nullif(t.typelem, 0), t.oid) as oid
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    join pg_type t on t.oid = a.atttypid
    where n.nspname = $1 and c.relname = any($2) and (t.typcategory = 'A' or t.typelem = 0 or t.typtype <> 'b')
    union
    select coalesce(nullif(p.typelem, 0), p.oid)
    from used
    join pg_type t on t.oid = used.oid
    join lateral (
        select t.typbasetype as oid where t.typtype = 'd'
        union all
        select a.atttypid from pg_attribute a
        where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
    ) as part on true
    join pg_type p on p.oid = part.oid
)
select t.typname::text,
       case t.typtype
           when 'e' then format('CREATE TYPE %I AS ENUM (%s)', t.typname,
               (select string_agg(quote_literal(e.enumlabel), ', ' order by e.enumsortorder)
                from pg_enum e where e.enumtypid = t.oid))
           when 'c' then format('CREATE TYPE %I AS (%s)', t.typname,
               (select string_agg(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', ' order by a.attnum)
                from pg_attribute a where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped))
           else format('CREATE DOMAIN %I AS %s%s%s%s', t.typname, format_type(t.typbasetype, t.typtypmod),
               coalesce(' DEFAULT ' || t.typdefault, ''), case when t.typnotnull then ' NOT NULL' else '' end,
               (select coalesce(string_agg(format(' CONSTRAINT %I %s', k.conname, pg_get_constraintdef(k.oid)), ''), '')
                from pg_constraint k where k.contypid = t.oid and k.contype = 'c'))
       end
from used
join pg_type t on t.oid = used.oid
left join pg_class r on r.oid = t.typrelid
-- A row type comes with its table.
where t.typtype in ('e', 'd') or t.typtype = 'c' and r.relkind = 'c'
order by t.typtype <> 'e', t.oid
