//! The whole way, there and back, on each major version of PostgreSQL that is on this machine, and from the oldest to
//! the newest.

use std::path::PathBuf;

use migration::{
    Mapping,
    copy::{self, CopyError, ExportedSnapshot, Progress},
    stream::{self, Direction, StreamError},
};
use sqlx::{Executor as _, PgPool, postgres::PgPoolOptions};
use testkit::{PrivatePostgres, postgres_versions};
use tokio::sync::watch;

use crate::{
    database::mapping,
    flows::{AWKWARD, CHANGES, Running, SHOP, assert_same_rows, quick, settled},
    gateway::Gateway,
};

/// The binaries of a version; says why there is no test when there are none.
#[expect(clippy::print_stdout, reason = "who runs the tests is told what was skipped")]
fn binaries(version: u32) -> Option<PathBuf> {
    let found = postgres_versions().remove(&version);
    if found.is_none() {
        println!(
            "skipped: no PostgreSQL {version} on this machine; scripts/install fetches it, or POSTGRES_VERSIONS names a \
             folder with {version}/bin/postgres"
        );
    }
    found
}

/// A server of a version.
async fn server(binaries: PathBuf, version: u32) -> PrivatePostgres {
    let server = PrivatePostgres::start_from(binaries).await;
    let admin = PgPool::connect(&server.url("postgres")).await.expect("it accepts");
    let running: String = sqlx::query_scalar("show server_version_num").fetch_one(&admin).await.expect("its version");
    assert_eq!(running.parse::<u32>().expect("a number") / 10_000, version);
    admin.close().await;
    server
}

/// A database of its own name.
async fn database(server: &PrivatePostgres, name: &str) -> PgPool {
    let admin = PgPool::connect(&server.url("postgres")).await.expect("it accepts");
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("create database {name}"))).execute(&admin).await.expect("a new name");
    admin.close().await;
    PgPoolOptions::new().max_connections(8).connect(&server.url(name)).await.expect("it accepts")
}

async fn there_and_back(source: PgPool, target: PgPool) {
    source.execute(AWKWARD).await.expect("the monolith's tables");
    let mapping = mapping(SHOP);
    a_lost_snapshot_is_known(&source, &target, &mapping).await;
    let forward = Running::start(&source, &target, &mapping, "shop", Direction::Forward, quick());
    settled(&source, &target, "shop", Direction::Forward).await;
    assert_same_rows(&source, &target, &mapping, "shop").await;
    for change in CHANGES {
        source.execute(change).await.unwrap_or_else(|error| panic!("{change}: {error}"));
    }
    settled(&source, &target, "shop", Direction::Forward).await;
    assert_same_rows(&source, &target, &mapping, "shop").await;

    // Without a key, its changes cannot be published otherwise.
    target.execute("alter table shop.note replica identity full").await.expect("a table of its own");
    let gateway = Gateway::of("shop").await;
    let plan = copy::prepare(&source, &target, &mapping, "shop").await.expect("it fits");
    let ends = (&source, &target);
    gateway.pass(ends, &plan, Direction::Forward).await.unwrap_or_else(|error| panic!("{error}: {error:?}"));
    let before = applied(&target).await;
    let refused =
        source.execute("insert into kept values (99999, 'done', 'too late')").await.expect_err("the door is shut");
    assert!(refused.as_database_error().is_some(), "{refused}");
    let reverse = Running::start(&source, &target, &mapping, "shop", Direction::Reverse, quick());
    for change in [
        "insert into shop.kept select n, 'done', repeat('c', 4000) from generate_series(9000, 9100) n",
        "update shop.album set at = '2024-03-31 03:30 Europe/Berlin', price = 7, span = '1 mon', tags = '{a,null}'",
        "update shop.kept set id = id + 10000 where id > 9050; delete from shop.kept where id = 9000",
        "insert into shop.track (region, album, sound) select region, no, repeat('t', 5000) from shop.album",
        "begin; insert into shop.play values (7, '2024-02-02'); savepoint a; delete from shop.play; rollback to a; commit",
    ] {
        target.execute(change).await.unwrap_or_else(|error| panic!("{change}: {error}"));
    }
    settled(&source, &target, "shop", Direction::Reverse).await;
    assert_same_rows(&source, &target, &mapping, "shop").await;
    settled(&source, &target, "shop", Direction::Forward).await;
    gateway.pass(ends, &plan, Direction::Reverse).await.unwrap_or_else(|error| panic!("{error}: {error:?}"));
    source.execute("insert into track (region, album) select region, no from album").await.expect("its own again");
    settled(&source, &target, "shop", Direction::Forward).await;
    assert_same_rows(&source, &target, &mapping, "shop").await;
    let own: i64 = sqlx::query_scalar("select count(*) from shop.album").fetch_one(&target).await.expect("rows");
    assert_eq!(applied(&target).await - before, own.unsigned_abs(), "nothing came round in a circle");
    forward.stop().await.expect("it stops");
    reverse.stop().await.expect("it stops");
}

/// A stream begins again where the session that held its snapshot ended with the server.
async fn a_lost_snapshot_is_known(source: &PgPool, target: &PgPool, mapping: &Mapping) {
    let plan = copy::prepare(source, target, mapping, "shop").await.expect("it fits");
    let exported = ExportedSnapshot::take(source).await.expect("a snapshot");
    let snapshot = exported.snapshot().clone();
    exported.release().await.expect("it is given up");
    let (progress, _watched) = watch::channel(Progress::default());
    let copied = copy::run(source, target, &plan, &snapshot, &copy::Settings::default(), &progress).await;
    let error = copied.expect_err("there is nothing to read at");
    assert!(matches!(&error, CopyError::SnapshotGone { id } if *id == snapshot.id), "{error}: {error:?}");
    assert!(StreamError::from(error).is_transient());
}

/// Changes that have come from the monolith.
async fn applied(target: &PgPool) -> u64 {
    stream::find(target, "shop", Direction::Forward).await.expect("the ledger").expect("a stream").changes
}

async fn on(version: u32) {
    let Some(binaries) = binaries(version) else { return };
    let server = server(binaries, version).await;
    let ends = (database(&server, "monolith").await, database(&server, "candidate").await);
    Box::pin(there_and_back(ends.0, ends.1)).await;
}

#[tokio::test]
async fn a_slice_goes_there_and_back_on_14() {
    on(14).await;
}

#[tokio::test]
async fn a_slice_goes_there_and_back_on_15() {
    on(15).await;
}

#[tokio::test]
async fn a_slice_goes_there_and_back_on_16() {
    on(16).await;
}

#[tokio::test]
async fn a_slice_goes_there_and_back_on_17() {
    on(17).await;
}

#[tokio::test]
async fn a_slice_goes_from_an_old_server_to_a_new_one_and_back() {
    let (Some(old), Some(new)) = (binaries(14), binaries(17)) else { return };
    let (old, new) = (server(old, 14).await, server(new, 17).await);
    Box::pin(there_and_back(database(&old, "monolith").await, database(&new, "candidate").await)).await;
}
