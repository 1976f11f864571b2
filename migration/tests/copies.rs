//! The snapshot copy between two databases.

use std::time::Duration;

use migration::{
    Mapping,
    copy::{self, CopyError, ExportedSnapshot, Outcome, Progress, Settings},
    slice::SlicePlan,
};
use sqlx::PgPool;
use tokio::sync::watch;

use crate::database::{Database, NOTES, mapping, mini_lambda_tables};

/// Everything that is awkward to copy, in a monolith's database.
pub const AWKWARD: &str = "
    create type mood as enum ('calm', 'loud');
    create domain cents as bigint check (value >= 0);
    create table album (
        region text, no serial, title varchar(100) not null unique, price cents not null default 5, mood mood,
        moods mood[], length int generated always as (length(title)) stored, tags text[], at timestamp, extra jsonb,
        primary key (region, no)
    );
    create table track (
        id bigint generated always as identity primary key, region text, album int, sound bytea, text text,
        foreign key (region, album) references album on delete cascade
    );
    create index track_album on track (album desc);
    create table play (id int, day date, who uuid, primary key (id, day)) partition by range (day);
    create table play_old partition of play for values from (minvalue) to ('2024-01-01');
    create table play_new partition of play for values from ('2024-01-01') to (maxvalue);
    create table note (at timestamptz, text text);
    insert into album (region, title, price, mood, moods, tags, at, extra)
        select case n % 3 when 0 then 'é''\\' when 1 then 'a' else 'B' end, 'title ' || n, n,
               case when n % 2 = 0 then 'loud'::mood end, array['calm', null, 'loud']::mood[], array['x', null, '{,}'],
               '2024-02-29 23:59:59.999999'::timestamp + n * interval '1 day', jsonb_build_object('n', n, 't', E'\\n')
        from generate_series(1, 5000) n;
    insert into track (region, album, sound, text)
        select region, no, decode(repeat(md5(no::text), 100), 'hex'), nullif(repeat('x', no % 3000), '')
        from album where no <= 3000;
    insert into track (text) select string_agg(md5(n::text), '') from generate_series(1, 200000) n;
    insert into play select n, '2023-01-01'::date + n, md5(n::text)::uuid from generate_series(1, 1000) n;
    insert into note select null, 'twice' from generate_series(1, 2);
";

pub const SHOP: &str = "
    [targets.shop]
    schema = \"shop\"
    [targets.shop.tables.album]
    [targets.shop.tables.track]
    [targets.shop.tables.play]
    [targets.shop.tables.note]
    [slices.shop]
    target = \"shop\"
";

const SHOP_TABLES: [&str; 4] = ["album", "track", "play", "note"];

fn many_chunks() -> Settings {
    Settings { chunk_bytes: 64 << 10, ..Settings::default() }
}

pub async fn prepare(source: &Database, target: &Database, mapping: &Mapping, slice: &str) -> SlicePlan {
    copy::prepare(&source.pool, &target.pool, mapping, slice).await.unwrap_or_else(|error| panic!("{error}: {error:?}"))
}

pub async fn run(source: &PgPool, target: &PgPool, plan: &SlicePlan) -> Result<Outcome, CopyError> {
    let held = ExportedSnapshot::take(source).await?;
    let (progress, _watched) = watch::channel(Progress::default());
    copy::run(source, target, plan, held.snapshot(), &many_chunks(), &progress).await
}

pub async fn finish(source: &Database, target: &Database, plan: &SlicePlan) {
    let (progress, watched) = watch::channel(Progress::default());
    copy::finish(&source.pool, &target.pool, plan, &many_chunks(), &progress)
        .await
        .unwrap_or_else(|error| panic!("{error}: {error:?}"));
    let progress = watched.borrow();
    assert_eq!(progress.definitions_done, progress.definitions);
}

/// Every value of every row of a table, in one number.
pub async fn digest(database: &Database, table: &str) -> String {
    let digest = format!(
        "select count(*) || ' ' || coalesce(md5(string_agg(md5(t::text), '' order by md5(t::text))), '') from {table} t"
    );
    database.text(&digest).await
}

async fn assert_same(source: &Database, target: &Database) {
    for table in SHOP_TABLES {
        let (there, here) = (digest(source, table).await, digest(target, &format!("shop.{table}")).await);
        assert_eq!(there, here, "{table}");
    }
}

#[tokio::test]
async fn tables_that_are_not_there_are_made_and_every_kind_of_value_arrives() {
    let (source, target) = (Database::with(AWKWARD).await, Database::with("").await);
    let plan = prepare(&source, &target, &mapping(SHOP), "shop").await;
    let outcome = run(&source.pool, &target.pool, &plan).await.unwrap_or_else(|error| panic!("{error}: {error:?}"));
    assert_same(&source, &target).await;
    assert!(outcome.copied_chunks > 10, "{outcome:?}");
    assert_eq!(outcome.rows, 5000 + 3001 + 1000 + 2);
    assert!(outcome.bytes > 6_400_000, "{outcome:?}");

    finish(&source, &target, &plan).await;
    target.run("insert into shop.album (region, title) values ('new', 'one')").await;
    assert_eq!(target.text("select no || ' ' || price from shop.album where region = 'new'").await, "5001 5");
    target
        .run("insert into shop.track (region, album) values ('new', 5001); delete from shop.album where no = 5001")
        .await;
    assert_eq!(target.count("select count(*) from shop.track where region = 'new'").await, 0, "it cascades");
    assert_eq!(target.count("select max(id) from shop.track").await, 3001, "a sequence goes on");
    assert_eq!(target.sqlstate("insert into shop.album (region, title) values ('new', 'title 1')").await, "23505");
    assert_eq!(
        target.count("select count(*) from pg_indexes where schemaname = 'shop' and tablename = 'track'").await,
        2
    );
}

#[tokio::test]
async fn a_second_run_copies_nothing_and_a_later_snapshot_serves_what_is_left() {
    let (source, target) = (Database::with(AWKWARD).await, Database::with("").await);
    let plan = prepare(&source, &target, &mapping(SHOP), "shop").await;
    let first = run(&source.pool, &target.pool, &plan).await.unwrap_or_else(|error| panic!("{error}: {error:?}"));
    let again = run(&source.pool, &target.pool, &plan).await.unwrap_or_else(|error| panic!("{error}: {error:?}"));
    assert_eq!((again.copied_chunks, again.rows), (0, first.rows));
    assert_eq!(again.consistent_lsn, first.consistent_lsn, "nothing was read at the second snapshot");

    // As if the process had been killed before these.
    target
        .run(
            "delete from shop.play; update strangler.copy_chunk set done_at = null, snapshot_lsn = null, row_count = null, \
             byte_count = null where table_name like '%play%'",
        )
        .await;
    source.run("insert into play values (1001, '2026-01-01')").await;
    let resumed = run(&source.pool, &target.pool, &plan).await.unwrap_or_else(|error| panic!("{error}: {error:?}"));
    assert_eq!(resumed.rows, first.rows + 1);
    assert_eq!(resumed.earliest_lsn, first.consistent_lsn);
    assert_ne!(resumed.consistent_lsn, first.consistent_lsn);
    assert_same(&source, &target).await;

    copy::forget(&target.pool, &plan).await.unwrap_or_else(|error| panic!("{error}: {error:?}"));
    assert_eq!(target.count("select count(*) from shop.album").await, 0);
    let anew = run(&source.pool, &target.pool, &plan).await.unwrap_or_else(|error| panic!("{error}: {error:?}"));
    assert_eq!(anew.rows, resumed.rows);
    assert_same(&source, &target).await;
}

#[tokio::test]
async fn the_copy_is_of_one_point_however_much_is_written_meanwhile() {
    let (source, target) = (Database::with(AWKWARD).await, Database::with("").await);
    let plan = prepare(&source, &target, &mapping(SHOP), "shop").await;
    let held = ExportedSnapshot::take(&source.pool).await.expect("a snapshot");
    let mut before = Vec::new();
    for table in SHOP_TABLES {
        before.push(digest(&source, table).await);
    }
    source.run("update album set price = price + 1; delete from note; insert into play select n, '2025-01-01' from generate_series(1, 500) n").await;
    let (progress, watched) = watch::channel(Progress::default());
    copy::run(&source.pool, &target.pool, &plan, held.snapshot(), &many_chunks(), &progress)
        .await
        .unwrap_or_else(|error| panic!("{error}: {error:?}"));
    for (table, before) in SHOP_TABLES.iter().zip(before) {
        assert_eq!(digest(&target, &format!("shop.{table}")).await, before, "{table}");
    }
    let progress = watched.borrow();
    assert_eq!((progress.chunks_done, progress.time_left()), (progress.chunks, Some(Duration::ZERO)));
}

#[tokio::test]
async fn values_are_converted_and_filtered_as_the_views_of_the_shared_stage_do() {
    let source = Database::mini_lambda().await;
    source
        .run(
            "insert into functions (id, name, runtime, code_key)
                 select md5(n::text)::uuid::text, 'f' || n, case n % 4 when 0 then 'none' else 'python3.11' end, 'k'
                 from generate_series(1, 400) n;
             insert into executions (id, function_id, status, created_at)
                 select md5(id || n)::uuid::text, id, 'success', '2024-03-31 02:30:00'::timestamp + n * interval '1 s'
                 from functions, generate_series(1, 5) n where runtime <> 'none'",
        )
        .await;
    let target =
        Database::with(include_str!("../../services/lambda-service/migrations/0001_functions_and_invocations.sql"))
            .await;
    let mapping = mapping(&format!(
        "{}
         [slices.invocations]
         target = \"lambda-service\"
         schema = \"public\"
         tables = [\"invocations\", \"functions\"]
         filters = {{ functions = \"runtime <> 'none'\" }}",
        mini_lambda_tables()
    ));
    let indexes = "select string_agg(indexdef, ';' order by indexdef) from pg_indexes where schemaname = 'public'";
    let before = target.text(indexes).await;
    let plan = prepare(&source, &target, &mapping, "invocations").await;
    let outcome = run(&source.pool, &target.pool, &plan).await.unwrap_or_else(|error| panic!("{error}: {error:?}"));
    assert_eq!(outcome.rows, 300 + 5 * outcome_functions(&source).await);
    finish(&source, &target, &plan).await;
    assert_eq!(target.text(indexes).await, before, "the service's own indexes are back");
    for (table, columns, condition) in [
        ("functions", "id, name, runtime, handler, created_at, environment", "where runtime <> 'none'"),
        ("invocations", "id, function_id, status, created_at", ""),
    ] {
        let there = format!("(select {columns} from lambda_service.{table} {condition})");
        let here = format!("(select {columns} from public.{table})");
        assert_eq!(digest(&source, &there).await, digest(&target, &here).await, "{table}");
    }
}

async fn outcome_functions(source: &Database) -> u64 {
    u64::try_from(source.count("select count(*) from functions where runtime <> 'none'").await).expect("not negative")
}

#[tokio::test]
async fn rows_of_somebody_else_are_not_written_over() {
    let source = Database::with("create table note (id int primary key)").await;
    let target = Database::with(
        "create schema shop; create table shop.note (id int primary key); insert into shop.note values (1)",
    )
    .await;
    let plan = prepare(&source, &target, &mapping(NOTES), "shop").await;
    let error = run(&source.pool, &target.pool, &plan).await.expect_err("it holds rows");
    assert!(matches!(error, CopyError::Unfit { .. }), "{error}");
    assert!(error.to_string().contains("holds rows already"), "{error}");
    // Both sides may add rows to what has two owners.
    source.run("insert into note values (2)").await;
    let plan = prepare(&source, &target, &mapping(&format!("{NOTES}owner = \"append\"\n")), "shop").await;
    run(&source.pool, &target.pool, &plan).await.unwrap_or_else(|error| panic!("{error}: {error:?}"));
    assert_eq!(target.text("select string_agg(id::text, ',' order by id) from shop.note").await, "1,2");
}

#[tokio::test]
async fn a_value_that_the_target_refuses_fails_its_part_and_is_named() {
    let source =
        Database::with("create table note (id int primary key, n int); insert into note values (1, 1), (2, -1)").await;
    let target =
        Database::with("create schema shop; create table shop.note (id int primary key, n int check (n > 0))").await;
    let plan = prepare(&source, &target, &mapping(NOTES), "shop").await;
    let error = run(&source.pool, &target.pool, &plan).await.expect_err("it is refused");
    let CopyError::Chunk { table, source: cause, .. } = &error else { panic!("{error}") };
    assert_eq!(table, "shop.note");
    assert!(cause.to_string().contains("note_n_check"), "{cause}");
    assert_eq!(target.count("select count(*) from shop.note").await, 0);
    source.run("update note set n = 1").await;
    run(&source.pool, &target.pool, &plan).await.unwrap_or_else(|error| panic!("{error}: {error:?}"));
    assert_eq!(target.count("select count(*) from shop.note").await, 2);
}

/// The process that the next test kills.
#[tokio::test]
#[ignore = "started by kill_at_any_moment_and_go_on, in a process of its own"]
async fn copies_until_it_is_killed() {
    let (Ok(source), Ok(target)) = (std::env::var("COPY_TEST_SOURCE"), std::env::var("COPY_TEST_TARGET")) else {
        return;
    };
    let source = PgPool::connect(&source).await.expect("the source");
    let target = PgPool::connect(&target).await.expect("the target");
    let plan = copy::prepare(&source, &target, &mapping(SHOP), "shop").await.expect("it fits");
    run(&source, &target, &plan).await.expect("it ends unless it is killed");
}

#[tokio::test]
async fn kill_at_any_moment_and_go_on() {
    let (source, target) = (Database::with(AWKWARD).await, Database::with("").await);
    let program = std::env::current_exe().expect("this program");
    let mut kills = 0_u32;
    for round in 0_u32..40 {
        let mut process = tokio::process::Command::new(&program)
            .args(["--exact", "copies::copies_until_it_is_killed", "--ignored"])
            .env("COPY_TEST_SOURCE", &source.server.url)
            .env("COPY_TEST_TARGET", &target.server.url)
            .stdout(std::process::Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("this program runs");
        // Later each time, with a step that is no divisor of anything, so that all of it is hit.
        let patience = Duration::from_millis(u64::from(20 + round * 37));
        match tokio::time::timeout(patience, process.wait()).await {
            Ok(status) => {
                assert!(status.expect("its status").success(), "round {round}");
                break;
            }
            Err(_still_running) => {
                process.kill().await.expect("it can be killed");
                kills += 1;
            }
        }
    }
    assert!(kills >= 2, "{kills}");
    let plan = prepare(&source, &target, &mapping(SHOP), "shop").await;
    run(&source.pool, &target.pool, &plan).await.unwrap_or_else(|error| panic!("{error}: {error:?}"));
    finish(&source, &target, &plan).await;
    assert_same(&source, &target).await;
}
