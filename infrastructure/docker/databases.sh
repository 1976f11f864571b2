#!/bin/sh
# Run once by PostgreSQL's image, in an empty data folder, or by hand against a server that has neither: a role and a
# database for each program that has one.
set -eu
make() { # role, password, database
    psql --dbname postgres --set ON_ERROR_STOP=1 --username "${PGUSER:-postgres}" --set role="$1" --set password="$2" --set database="$3" <<'SQL'
CREATE ROLE :"role" LOGIN PASSWORD :'password';
-- Who is no superuser gives a database only to a role that it belongs to.
GRANT :"role" TO CURRENT_USER;
CREATE DATABASE :"database" OWNER :"role";
REVOKE CONNECT, TEMPORARY ON DATABASE :"database" FROM PUBLIC;
SQL
}
make legacy "$LEGACY_DB_PASSWORD" mini_lambda
make lambda "$LAMBDA_DB_PASSWORD" lambda_service_db
make build "$BUILD_DB_PASSWORD" build_service_db
make gateway "$GATEWAY_DB_PASSWORD" strangler
# In the shared stage the lambda service works on views in the monolith's database, as the views' owner.
psql --dbname postgres --set ON_ERROR_STOP=1 --username "${PGUSER:-postgres}" <<'SQL'
GRANT CONNECT ON DATABASE mini_lambda TO lambda;
GRANT legacy TO lambda;
SQL
