//! The process that streams is killed, and either database, while somebody writes: nothing is lost
//! and nothing is there twice.

use std::{collections::BTreeSet, process::Stdio, time::Duration};

use migration::stream::{self, Direction, Settings};
use sqlx::{AssertSqlSafe, PgPool, postgres::PgPoolOptions};
use testkit::{PrivatePostgres, eventually};
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    database::{Database, mapping},
    flows::{AWKWARD, Running, SHOP, assert_verified, quick, settled},
};

/// Every step that is durable, in the order in which a stream first comes by.
const FAILPOINTS: [&str; 9] = [
    "stream.announced",
    "stream.slot_made",
    "sync.after_copy",
    "sync.before_indexes",
    "apply.before_commit",
    "apply.after_commit:2",
    "apply.before_lane_commit",
    "apply.before_lane_commit:3",
    "stream.before_confirm:1",
];

/// A generator of numbers that only have to be different ones (xorshift64).
struct Dice(u64);

impl Dice {
    fn seeded() -> Self {
        let seed =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").subsec_nanos();
        eprintln!("seed {seed}");
        Self(u64::from(seed) | 1)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Writes at random until it is told to stop; answers the ids whose insertion was acknowledged.
struct Writer {
    stop: watch::Sender<bool>,
    task: JoinHandle<BTreeSet<i64>>,
}

impl Writer {
    fn start(pool: &PgPool) -> Self {
        let (stop, stopped) = watch::channel(false);
        let pool = pool.clone();
        let task = tokio::spawn(async move {
            let (mut dice, mut acknowledged, mut next) = (Dice::seeded(), BTreeSet::new(), 1_000_000_i64);
            while !*stopped.borrow() {
                next += 1;
                let (some, other) = (dice.below(300), dice.below(90));
                let statement = match dice.below(9) {
                    0 => format!("update album set title = title || '.', at = at + interval '1 h' where no = {some}"),
                    1 => format!("update album set no = no + 100000 where no = {some}"),
                    2 => format!(
                        "delete from album where no = {some}; insert into album (region, no, title) values ('w', {some}, 'again') on conflict do nothing"
                    ),
                    3 => format!(
                        "update kept set state = case state when 'draft' then 'done' else 'draft' end where id = {other}"
                    ),
                    4 => format!("update kept set id = -id where id in ({other}, -{other})"),
                    5 => format!(
                        "begin; update track set album = null, region = null where id = {some}; insert into note values (now(), 'w{some}'); rollback"
                    ),
                    6 => format!(
                        "insert into note values ('2024-01-01', 'w{some}'); delete from note where ctid = (select ctid from note limit 1)"
                    ),
                    7 => format!("update play set day = day + {} where id = {other}", dice.below(400)),
                    _ => "select 1".to_owned(),
                };
                // One that a database which is being killed does not answer may have happened or not.
                let _ = sqlx::raw_sql(AssertSqlSafe(statement)).execute(&pool).await;
                let insert = format!("insert into kept values ({next}, 'done', repeat('k', {}))", dice.below(3000));
                if sqlx::raw_sql(AssertSqlSafe(insert)).execute(&pool).await.is_ok() {
                    acknowledged.insert(next);
                }
            }
            acknowledged
        });
        Self { stop, task }
    }

    async fn stop(self) -> BTreeSet<i64> {
        self.stop.send_replace(true);
        self.task.await.expect("it does not panic")
    }
}

/// The process that the next test kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by kill_the_stream_at_every_durable_step_and_at_random, in a process of its own"]
async fn streams_until_it_is_killed() {
    let (Ok(source), Ok(target)) = (std::env::var("STREAM_TEST_SOURCE"), std::env::var("STREAM_TEST_TARGET")) else {
        return;
    };
    let source = PgPool::connect(&source).await.expect("the source");
    let target = PgPool::connect(&target).await.expect("the target");
    Running::start(&source, &target, &mapping(SHOP), "shop", Direction::Forward, lanes()).forever().await;
}

/// Groups are divided among lanes as often as can be.
fn lanes() -> Settings {
    Settings { lanes: 3, lane_changes: 2, ..quick() }
}

fn spawn(source: &Database, target: &Database, failpoint: &str) -> tokio::process::Child {
    tokio::process::Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "kills::streams_until_it_is_killed", "--ignored"])
        .env("STREAM_TEST_SOURCE", &source.server.url)
        .env("STREAM_TEST_TARGET", &target.server.url)
        .env("STRANGLER_FAILPOINT", failpoint)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("this program runs")
}

fn kills(usual: u64) -> u64 {
    std::env::var("MIGRATION_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

#[tokio::test]
async fn kill_the_stream_at_every_durable_step_and_at_random() {
    let (source, target) = (Database::with(AWKWARD).await, Database::with("").await);
    let writer = Writer::start(&source.pool);
    for failpoint in FAILPOINTS {
        let mut process = spawn(&source, &target, failpoint);
        let ended = tokio::time::timeout(Duration::from_secs(60), process.wait()).await;
        let status = ended.unwrap_or_else(|_| panic!("{failpoint} was never passed")).expect("its status");
        assert!(!status.success(), "{failpoint}: it was to be killed there");
    }
    let mut dice = Dice::seeded();
    for _ in 0..kills(8) {
        let mut process = spawn(&source, &target, "none");
        tokio::time::timeout(Duration::from_millis(150 + dice.below(900)), process.wait())
            .await
            .expect_err("it runs until it is killed");
        process.kill().await.expect("it can be killed");
    }
    let acknowledged = writer.stop().await;
    let mapping = mapping(SHOP);
    let running = Running::start(&source.pool, &target.pool, &mapping, "shop", Direction::Forward, lanes());
    settled(&source.pool, &target.pool, "shop", Direction::Forward).await;
    assert_verified(&source, &target, &mapping, "shop").await;
    assert_all_there(&target.pool, &acknowledged).await;
    let found =
        stream::find(&target.pool, "shop", Direction::Forward).await.expect("it can be read").expect("it is there");
    assert_eq!(found.quarantined, 0, "{found:?}");
    assert_eq!(source.count("select count(*) from pg_replication_slots where database = current_database()").await, 1);
    running.stop().await.expect("it stops");
}

/// Every insertion that was acknowledged has arrived; the key keeps it from being there twice.
async fn assert_all_there(target: &PgPool, acknowledged: &BTreeSet<i64>) {
    let there: Vec<i32> = sqlx::query_scalar("select id from shop.kept where id > 1000000")
        .fetch_all(target)
        .await
        .expect("it can be read");
    let there: BTreeSet<i64> = there.into_iter().map(i64::from).collect();
    let missing: Vec<&i64> = acknowledged.difference(&there).collect();
    assert!(missing.is_empty() && !acknowledged.is_empty(), "{missing:?}");
}

#[tokio::test]
async fn kill_either_database_while_changes_flow() {
    let (mut source, mut target) = (PrivatePostgres::start_durable().await, PrivatePostgres::start_durable().await);
    // Connections to a server that was killed are found out when they are used.
    let pool = |url: String| {
        PgPoolOptions::new().max_connections(8).test_before_acquire(true).connect_lazy(&url).expect("a URL")
    };
    let (from, to) = (pool(source.url("postgres")), pool(target.url("postgres")));
    sqlx::raw_sql(AWKWARD).execute(&from).await.expect("a schema");
    let mapping = mapping(SHOP);
    let running = Running::start(&from, &to, &mapping, "shop", Direction::Forward, lanes());
    let writer = Writer::start(&from);
    let applied = async || {
        let found = stream::find(&to, "shop", Direction::Forward).await.ok().flatten();
        found.and_then(|found| found.applied_lsn).unwrap_or_default()
    };
    for round in 0..kills(4) {
        // Something must flow in between.
        let before = applied().await;
        eventually(Duration::from_secs(60), async || running.has_ended() || applied().await > before).await;
        if running.has_ended() {
            panic!("round {round}: {:?}", running.ended().await);
        }
        let killed = if round % 2 == 0 { &mut source } else { &mut target };
        killed.kill().await;
        killed.start_again().await;
    }
    let acknowledged = writer.stop().await;
    settled(&from, &to, "shop", Direction::Forward).await;
    assert_all_there(&to, &acknowledged).await;
    let same = "select count(*)::text || md5(string_agg(md5(k::text), '' order by id)) from";
    let there: String = sqlx::query_scalar(AssertSqlSafe(format!("{same} kept k where state <> 'draft'")))
        .fetch_one(&from)
        .await
        .expect("read");
    let here: String =
        sqlx::query_scalar(AssertSqlSafe(format!("{same} shop.kept k"))).fetch_one(&to).await.expect("read");
    assert_eq!(there, here);
    let found = stream::find(&to, "shop", Direction::Forward).await.expect("it can be read").expect("it is there");
    assert_eq!((found.quarantined, found.reason), (0, None));
    running.stop().await.expect("it stops");
}
