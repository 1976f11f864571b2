-- Whatever depends on some tables and would stand in the way of a DROP TABLE: kind, what it is as text,
-- the statement that removes it, and the table. $1 schema, $2 names of tables.
with moved as (
    select c.oid, format('%I.%I', n.nspname, c.relname) as name
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = $1 and c.relname = any($2)
),
-- Partitions go with their table.
family as (
    select m.oid, m.name from moved m
    union
    select t.relid::oid, m.name from moved m, pg_partition_tree(m.oid) t
)
select kind, shown, removal, string_agg(distinct name, ', ' order by name) as name
from (
    -- Views and rules of other relations, by what their definition names.
    select 'view' as kind, case v.relkind when 'm' then 'materialized view ' else 'view ' end || v.oid::regclass as shown,
           case v.relkind when 'm' then 'DROP MATERIALIZED VIEW ' else 'DROP VIEW ' end || v.oid::regclass as removal, f.name
    from family f
    join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = f.oid and d.classid = 'pg_rewrite'::regclass
    join pg_rewrite r on r.oid = d.objid
    join pg_class v on v.oid = r.ev_class and v.relkind in ('v', 'm')
    union all
    select 'foreign key', format('foreign key %I of %s', k.conname, k.conrelid::regclass),
           format('ALTER TABLE %s DROP CONSTRAINT %I', k.conrelid::regclass, k.conname), f.name
    from family f
    join pg_constraint k on k.confrelid = f.oid and k.contype = 'f' and k.conparentid = 0
    where k.conrelid not in (select oid from family)
    union all
    select 'inheritance', format('table %s, which inherits', i.inhrelid::regclass),
           format('ALTER TABLE %s NO INHERIT %s', i.inhrelid::regclass, f.name), f.name
    from family f
    join pg_inherits i on i.inhparent = f.oid
    where i.inhrelid not in (select oid from family)
    union all
    select 'function', format('function %s', d.objid::regprocedure), format('DROP FUNCTION %s', d.objid::regprocedure), f.name
    from family f
    join pg_type t on t.typrelid = f.oid
    join pg_depend d on d.refclassid = 'pg_type'::regclass and d.refobjid in (t.oid, t.typarray)
        and d.classid = 'pg_proc'::regclass
    union all
    select 'publication', format('publication %I', p.pubname),
           format('ALTER PUBLICATION %I DROP TABLE %s', p.pubname, f.name), f.name
    from family f
    join pg_publication_rel r on r.prrelid = f.oid
    join pg_publication p on p.oid = r.prpubid

) as found
group by kind, shown, removal
order by kind, shown
