//! What the candidate's role may do: everything through the views, nothing beside them.

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::database::{Database, MINI_LAMBDA, mapping};

/// Roles belong to the server, not to the database: each test has one of its own.
async fn role(database: &Database) -> String {
    let role = testkit::unique_name("candidate");
    database
        .run(&format!("create role {role} login password 'secret'; revoke create on schema public from public"))
        .await;
    role
}

async fn attempt(connection: &mut PgConnection, sql: &str) -> Result<(), String> {
    let outcome = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await;
    outcome
        .map(|_| ())
        .map_err(|error| error.as_database_error().and_then(|e| e.code()).unwrap_or_default().into_owned())
}

#[tokio::test]
async fn the_role_works_through_the_views_alone() {
    let database = Database::monolith().await;
    let role = role(&database).await;
    let mapping = mapping(
        &MINI_LAMBDA
            .replace("schema = \"lambda_service\"\n", &format!("schema = \"lambda_service\"\nrole = \"{role}\"\n")),
    );
    database.provide(&mapping).await;

    let mut candidate = PgConnection::connect(&database.server.url).await.expect("the server accepts");
    attempt(&mut candidate, &format!("set session authorization {role}")).await.expect("a superuser may");
    let insert =
        "insert into lambda_service.functions (id, name, runtime, code_key) values (gen_random_uuid(), 'f', 'x', 'k')";
    for allowed in [
        insert,
        "update lambda_service.functions set handler = 'main'",
        "select * from lambda_service.functions",
        "delete from lambda_service.functions",
    ] {
        assert_eq!(attempt(&mut candidate, allowed).await, Ok(()), "{allowed}");
    }
    for refused in [
        "select * from public.functions",
        "delete from public.functions",
        "create function public.uuid(text) returns uuid language sql as 'select null::uuid'",
        "create table lambda_service.mine (id int)",
        "alter view lambda_service.functions alter column handler set default 'x'",
        "create trigger t instead of insert on lambda_service.functions for each row execute function lambda_service.functions_insert_row()",
    ] {
        assert_eq!(attempt(&mut candidate, refused).await, Err("42501".to_owned()), "{refused}");
    }
    // A table of one's own in the way of the trigger's names changes nothing.
    attempt(&mut candidate, "create temporary table functions (id text)").await.expect("a temporary table is allowed");
    attempt(&mut candidate, "set search_path = pg_temp, lambda_service").await.expect("a setting");
    attempt(&mut candidate, insert).await.expect("it goes where it belongs");
    drop(candidate);
    assert_eq!(database.count("select count(*) from public.functions").await, 1);

    database.run(&format!("revoke delete on lambda_service.webhooks from {role}")).await;
    let planned = database.planned(&mapping).await;
    assert_eq!(planned, [format!("view lambda_service.webhooks: the role `{role}` has lost rights on it")]);
    database.provide(&mapping).await;
    database.run(&format!("drop owned by {role}; drop role {role}")).await;
}

#[tokio::test]
async fn a_role_that_could_stand_in_for_the_monoliths_functions_is_refused() {
    let database = Database::monolith().await;
    let role = role(&database).await;
    database.run(&format!("grant create on schema public to {role}")).await;
    let text = MINI_LAMBDA
        .replace("schema = \"lambda_service\"\n", &format!("schema = \"lambda_service\"\nrole = \"{role}\"\n"));
    let findings = database.findings(&mapping(&text)).await;
    assert!(findings.contains("may create objects in schema"), "{findings}");
    database.run(&format!("drop owned by {role}; drop role {role}")).await;
    let findings = database.findings(&mapping(&text)).await;
    assert!(findings.contains("there is no role"), "{findings}");
}
