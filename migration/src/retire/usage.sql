-- One row per table: its counters, partitions included, as JSON. $1 schema, $2 names of tables.
-- The times are there from PostgreSQL 16 on.
select jsonb_build_object(
           'table', c.relname,
           'rows', sum(greatest(p.reltuples, 0))::bigint,
           'bytes', sum(pg_total_relation_size(p.oid))::bigint,
           'reads', coalesce(sum(s.seq_scan), 0) + coalesce(sum(s.idx_scan), 0),
           'writes', coalesce(sum(s.n_tup_ins + s.n_tup_upd + s.n_tup_del), 0),
           'scanned_at', max(greatest((to_jsonb(s) ->> 'last_seq_scan')::timestamptz, (to_jsonb(s) ->> 'last_idx_scan')::timestamptz)))
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
join lateral (select relid from pg_partition_tree(c.oid) union select c.oid) as tree on true
join pg_class p on p.oid = tree.relid and p.relkind = 'r'
left join pg_stat_all_tables s on s.relid = p.oid
where n.nspname = $1 and c.relname = any($2)
group by c.relname
order by c.relname
