//! A stream under a role that may do what is documented, and nothing else.

use migration::stream::{self, Direction};
use sqlx::PgPool;

use crate::{
    database::{Database, NOTES, mapping},
    flows::{Running, assert_verified, quick, settled},
};

/// What the module's documentation says, of one side, for a role.
fn grants(side: &str, role: &str, database: &str) -> String {
    let documented = include_str!("../src/stream/privileges.sql");
    let (_, from) = documented.split_once(side).expect("it is documented");
    let statements = from.split_once("\n\n").map_or(from, |(statements, _)| statements);
    statements.replace("tool_role", role).replace("this_database", database)
}

async fn pool_as(database: &Database, role: &str) -> PgPool {
    let (_, rest) = database.server.url.split_once('@').expect("a URL with a password");
    PgPool::connect(&format!("postgres://{role}:secret@{rest}")).await.expect("the role may connect")
}

#[tokio::test]
async fn least_privileges_are_enough_in_both_directions() {
    let schema = "create table note (id int generated always as identity primary key, text text); \
                  insert into note (text) values ('a'), ('b')";
    let (source, target) = (Database::with(schema).await, Database::with("").await);
    let role = testkit::unique_name("tool");
    source.run(&format!("create role {role} login replication password 'secret'")).await;
    source.run(&grants("-- In the monolith's database:", &role, &source.server.name)).await;
    target.run(&grants("-- In the candidate's database:", &role, &target.server.name)).await;
    let (from, to) = (pool_as(&source, &role).await, pool_as(&target, &role).await);
    let mapping = mapping(NOTES);

    // It does not own the monolith's table, so that its owner has to publish it.
    let refused = Running::start(&from, &to, &mapping, "shop", Direction::Forward, quick()).ended().await;
    let said = refused.expect_err("it may not publish").to_string();
    let (_, statement) = said.split_once("let their owner run: ").expect("it says what to run");
    source.run(statement.trim_end().strip_suffix(')').expect("the finding ends with a bracket")).await;

    let forward = Running::start(&from, &to, &mapping, "shop", Direction::Forward, quick());
    settled(&from, &to, "shop", Direction::Forward).await;
    let reverse = Running::start(&from, &to, &mapping, "shop", Direction::Reverse, quick());
    settled(&from, &to, "shop", Direction::Reverse).await;
    source.run("update note set text = 'c' where id = 1").await;
    target.run("update shop.note set text = 'd' where id = 2; insert into shop.note (id, text) overriding system value values (9, 'e')").await;
    settled(&from, &to, "shop", Direction::Forward).await;
    settled(&from, &to, "shop", Direction::Reverse).await;
    assert_verified(&source, &target, &mapping, "shop").await;
    assert_eq!(source.text("select string_agg(text, ',' order by id) from note").await, "c,d,e");
    forward.stop().await.expect("it stops");
    reverse.stop().await.expect("it stops");
    // What the owner has made stays with the owner.
    stream::end(&from, &to, "shop", Direction::Forward).await.expect("it ends");
    assert_eq!(source.count("select count(*) from pg_publication").await, 1);
}
