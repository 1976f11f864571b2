-- One row per table of a schema that is somebody's own: not a partition, not an extension's. Its name
-- and what survey.rs calls a SurveyedTable, as JSON. $1 schema.
select c.relname::text,
       jsonb_build_object(
           'rows', (
               select coalesce(sum(greatest(p.reltuples, 0)), 0)::bigint
               from (select relid from pg_partition_tree(c.oid) union select c.oid) as tree
               join pg_class p on p.oid = tree.relid and p.relkind = 'r'),
           'bytes', (
               select coalesce(sum(pg_table_size(tree.relid)), 0)::bigint
               from (select relid from pg_partition_tree(c.oid) union select c.oid) as tree),
           'pages', (
               select coalesce(max(pg_relation_size(tree.relid)), 0) / current_setting('block_size')::bigint
               from (select relid from pg_partition_tree(c.oid) union select c.oid) as tree),
           'replica_identity', c.relreplident,
           'unlogged', c.relpersistence <> 'p',
           'row_security', c.relrowsecurity,
           'inherited', exists (select from pg_inherits h where h.inhparent = c.oid) and c.relkind = 'r',
           'owner', pg_get_userbyid(c.relowner),
           'readable', has_table_privilege(c.oid, 'SELECT'),
           'triggers', (
               select coalesce(jsonb_agg(jsonb_build_object(
                          'name', t.tgname,
                          'enabled', t.tgenabled,
                          'definition', pg_get_triggerdef(t.oid)
                      ) order by t.tgname), '[]')
               from pg_trigger t where t.tgrelid = c.oid and not t.tgisinternal),
           'rules', (
               select coalesce(jsonb_agg(r.rulename order by r.rulename), '[]')
               from pg_rewrite r where r.ev_class = c.oid and r.rulename <> '_RETURN')
       )
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
where n.nspname = $1 and c.relkind in ('r', 'p') and not c.relispartition and c.relpersistence <> 't'
  and not exists (
      select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
order by c.relname
