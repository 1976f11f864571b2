-- One row per table asked for: its name, and what base.rs calls a BaseTable, as JSON.
-- $1 schema, $2 names of tables. What pg_get_expr and format_type print depends on the search_path;
-- the stage reads and applies under one and the same, so it means the same in both.
select c.relname::text,
       jsonb_build_object(
           'partitioned', c.relkind = 'p',
           'owned', pg_has_role(c.relowner, 'USAGE'),
           'columns', (
               select coalesce(jsonb_agg(jsonb_build_object(
                          'name', a.attname,
                          'declared_type', format_type(a.atttypid, a.atttypmod),
                          -- With a typmod of -1 rather than null, a bpchar stays one: "character"
                          -- alone would mean character(1).
                          'bare_type', format_type(a.atttypid, -1),
                          'not_null', a.attnotnull,
                          'default', case when a.attgenerated = '' then pg_get_expr(d.adbin, d.adrelid) end,
                          'expression', case when a.attgenerated <> '' then pg_get_expr(d.adbin, d.adrelid) end,
                          'wire', (
                              with recursive kind as (
                                  select t.oid, t.typtype, t.typbasetype, t.typname from pg_type t where t.oid = a.atttypid
                                  union all
                                  select b.oid, b.typtype, b.typbasetype, b.typname
                                  from kind join pg_type b on b.oid = kind.typbasetype where kind.typtype = 'd'
                              )
                              select case
                                  when typtype = 'e' then 'text'
                                  -- The ids of PostgreSQL's own types, alike in every database.
                                  when oid < 16384 and typtype in ('b', 'r', 'm') and typname !~ '^_?reg'
                                      then format_type(oid, -1)
                              end
                              from kind where typtype <> 'd'
                          ),
                          'generation', case
                              when a.attgenerated <> '' then 'computed'
                              when a.attidentity = 'a' then 'identity_always'
                              when a.attidentity = 'd' then 'identity_by_default'
                              else 'none' end,
                          'sequence', case when a.attidentity <> '' then
                              pg_get_serial_sequence(format('%I.%I', n.nspname, c.relname), a.attname) end
                      ) order by a.attnum), '[]')
               from pg_attribute a
               left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
               where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
           ),
           'indexes', (
               -- indkey counts from 0; 0 in it stands for an expression, which is left out here.
               select coalesce(jsonb_agg(jsonb_build_object(
                          'name', ic.relname,
                          'unique', i.indisunique,
                          'primary', i.indisprimary,
                          'predicate', pg_get_expr(i.indpred, i.indrelid),
                          'columns', (
                              select jsonb_agg(jsonb_build_object(
                                         'name', a.attname,
                                         'descending', (i.indoption[k.place] & 1) = 1,
                                         'nulls_first', (i.indoption[k.place] & 2) = 2
                                     ) order by k.place)
                              from generate_series(0, i.indnkeyatts - 1) as k (place)
                              join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[k.place])
                      ) order by ic.relname), '[]')
               from pg_index i
               join pg_class ic on ic.oid = i.indexrelid
               join pg_am am on am.oid = ic.relam
               where i.indrelid = c.oid and i.indisvalid and am.amname = 'btree' and i.indexprs is null
           ),
           'foreign_keys', (
               select coalesce(jsonb_agg(distinct a.attname), '[]')
               from pg_constraint k
               join pg_attribute a on a.attrelid = k.conrelid and a.attnum = k.conkey[1]
               where k.conrelid = c.oid and k.contype = 'f' and cardinality(k.conkey) = 1
           ),
           'references', (
               select coalesce(jsonb_agg(jsonb_build_object(
                          'name', k.conname,
                          'schema', rn.nspname,
                          'table', r.relname,
                          'columns', (
                              select jsonb_agg(a.attname order by o.place)
                              from unnest(k.conkey) with ordinality as o (attnum, place)
                              join pg_attribute a on a.attrelid = k.conrelid and a.attnum = o.attnum),
                          'referred', (
                              select jsonb_agg(a.attname order by o.place)
                              from unnest(k.confkey) with ordinality as o (attnum, place)
                              join pg_attribute a on a.attrelid = k.confrelid and a.attnum = o.attnum),
                          'clauses', concat(
                              case k.confmatchtype when 'f' then ' MATCH FULL' end,
                              case k.confupdtype when 'r' then ' ON UPDATE RESTRICT' when 'c' then ' ON UPDATE CASCADE'
                                  when 'n' then ' ON UPDATE SET NULL' when 'd' then ' ON UPDATE SET DEFAULT' end,
                              case k.confdeltype when 'r' then ' ON DELETE RESTRICT' when 'c' then ' ON DELETE CASCADE'
                                  when 'n' then ' ON DELETE SET NULL' when 'd' then ' ON DELETE SET DEFAULT' end,
                              case when k.condeferrable then ' DEFERRABLE' end,
                              case when k.condeferred then ' INITIALLY DEFERRED' end)
                      ) order by k.conname), '[]')
               from pg_constraint k
               join pg_class r on r.oid = k.confrelid
               join pg_namespace rn on rn.oid = r.relnamespace
               where k.conrelid = c.oid and k.contype = 'f' and k.conparentid = 0
           ),
           'column_triggers', (
               select coalesce(jsonb_agg(t.tgname order by t.tgname), '[]')
               from pg_trigger t
               where t.tgrelid = c.oid and not t.tgisinternal and array_length(t.tgattr::int2[], 1) > 0
           )
       )
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
where n.nspname = $1 and c.relname = any($2) and c.relkind in ('r', 'p')
order by c.relname
