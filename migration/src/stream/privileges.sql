-- What the tool's role needs, on PostgreSQL 15 and later. Say it for each table, or once for the schema.
-- On both servers: CREATE ROLE tool_role LOGIN REPLICATION PASSWORD '…';

-- In the monolith's database:
GRANT USAGE ON SCHEMA public TO tool_role;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO tool_role;
GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO tool_role;
-- And for the way back, in the monolith's database:
GRANT CREATE ON DATABASE this_database TO tool_role;
GRANT INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA public TO tool_role;
GRANT USAGE, UPDATE ON ALL SEQUENCES IN SCHEMA public TO tool_role;
GRANT SET ON PARAMETER session_replication_role TO tool_role;
GRANT EXECUTE ON FUNCTION pg_replication_origin_oid(text), pg_replication_origin_create(text),
    pg_replication_origin_session_setup(text), pg_replication_origin_drop(text) TO tool_role;

-- In the candidate's database:
GRANT CREATE ON DATABASE this_database TO tool_role;
GRANT SET ON PARAMETER session_replication_role TO tool_role;
GRANT EXECUTE ON FUNCTION pg_replication_origin_oid(text), pg_replication_origin_create(text),
    pg_replication_origin_session_setup(text), pg_replication_origin_drop(text) TO tool_role;

-- Where the candidate's tables are its service's: USAGE on their schema, SELECT, INSERT, UPDATE, DELETE and TRUNCATE
-- on them, and the owner's membership while indexes are made.
-- The publication needs the ownership of the published tables. Who does not own them is told the statement, for
-- their owner to run; the stream then takes the publication as it is.
