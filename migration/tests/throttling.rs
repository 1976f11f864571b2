//! A copy waits while a server has too much to do, and says why.

use std::time::Duration;

use migration::{
    copy::{self, CopyError, ExportedSnapshot, LoadLimits, Outcome, Progress, Settings},
    stream::Direction,
};
use sqlx::{Connection, Executor as _, PgConnection, PgPool};
use testkit::{PrivatePostgres, eventually};
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    database::{Database, mapping},
    flows::{Running, quick, settled},
};

const PATIENCE: Duration = Duration::from_secs(60);

const NOTES: &str = "
    [targets.shop]
    schema = \"shop\"
    [targets.shop.tables.note]
    [targets.shop.tables.parcel]
    [slices.notes]
    target = \"shop\"
    tables = [\"note\"]
    [slices.parcels]
    target = \"shop\"
    tables = [\"parcel\"]
";

const TABLES: &str = "
    create table note (id int primary key, text text);
    insert into note select n, 'n' || n from generate_series(1, 5000) n;
    create table parcel (id int primary key, content text);
    alter table parcel alter content set storage external;
";

fn limited(limits: LoadLimits) -> Settings {
    Settings { load: LoadLimits { every: Duration::from_millis(20), ..limits }, ..Settings::default() }
}

/// A copy that is under way.
struct Copying {
    progress: watch::Receiver<Progress>,
    task: JoinHandle<Result<Outcome, CopyError>>,
}

impl Copying {
    async fn start(source: &PgPool, target: &PgPool, settings: Settings) -> Self {
        let plan = copy::prepare(source, target, &mapping(NOTES), "notes").await.expect("it fits");
        let (sender, progress) = watch::channel(Progress::default());
        let (source, target) = (source.clone(), target.clone());
        let task = tokio::spawn(async move {
            let held = ExportedSnapshot::take(&source).await?;
            copy::run(&source, &target, &plan, held.snapshot(), &settings, &sender).await
        });
        Self { progress, task }
    }

    /// Waits until it waits, and returns why.
    async fn paused(&mut self) -> Progress {
        let paused = self.progress.wait_for(|progress| progress.paused.is_some());
        let paused = tokio::time::timeout(PATIENCE, paused).await.expect("it pauses").map(|progress| progress.clone());
        match paused {
            Ok(progress) => progress,
            Err(_ended) => panic!("it ended without a pause: {:?}", (&mut self.task).await),
        }
    }

    async fn finished(self) -> (Outcome, Progress) {
        let outcome = tokio::time::timeout(PATIENCE, self.task).await.expect("it ends").expect("it does not panic");
        (outcome.unwrap_or_else(|error| panic!("{error}: {error:?}")), self.progress.borrow().clone())
    }
}

#[tokio::test]
async fn nothing_is_read_while_more_sessions_are_at_work_than_may_be() {
    let (source, target) = (Database::with(TABLES).await, Database::with("").await);
    let mut holder = PgConnection::connect(&source.server.url).await.expect("a session");
    holder.execute("select pg_advisory_lock(1)").await.expect("the lock is free");
    let mut at_work = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let mut session = PgConnection::connect(&source.server.url).await.expect("a session");
        at_work.spawn(async move { session.execute("select pg_advisory_lock_shared(1)").await.map(drop) });
    }
    eventually(PATIENCE, async || {
        source
            .count(
                "select count(*) from pg_stat_activity where datname = current_database() and wait_event = 'advisory'",
            )
            .await
            == 2
    })
    .await;
    let limits = LoadLimits { active_sessions: Some(1), ..LoadLimits::default() };
    let mut copying = Copying::start(&source.pool, &target.pool, limited(limits)).await;
    let progress = copying.paused().await;
    assert_eq!(progress.paused.as_deref(), Some("2 sessions at work on the source, more than 1"));
    assert_eq!((progress.load.active_sessions, progress.bytes, progress.chunks_done), (Some(2), 0, 0));

    holder.close().await.expect("it ends, and its lock with it");
    while let Some(ended) = at_work.join_next().await {
        ended.expect("it does not panic").expect("it gets the lock");
    }
    let (outcome, progress) = copying.finished().await;
    assert_eq!((outcome.rows, progress.paused), (5000, None));
    assert_eq!(target.count("select count(*) from shop.note").await, 5000);
}

#[tokio::test]
async fn a_commit_that_takes_long_is_waited_for_before_it_is_over() {
    let server = PrivatePostgres::start_durable().await;
    let source = PgPool::connect(&server.url("postgres")).await.expect("it accepts");
    source.execute(TABLES).await.expect("tables");
    let target = Database::with("").await;
    // Commits wait for a standby that does not exist.
    for statement in ["alter system set synchronous_standby_names = 'nobody'", "select pg_reload_conf()"] {
        source.execute(statement).await.expect("a superuser may");
    }
    // The server heeds it a little later than it shows it.
    let committing = source.clone();
    let commits = tokio::spawn(async move {
        while committing.execute("select pg_logical_emit_message(true, 'test', '')").await.is_ok() {}
    });
    eventually(PATIENCE, async || {
        let waiting: i64 = sqlx::query_scalar("select count(*) from pg_stat_activity where wait_event = 'SyncRep'")
            .fetch_one(&source)
            .await
            .expect("it can be read");
        waiting > 0
    })
    .await;
    let limits = LoadLimits { commit: Some(Duration::from_millis(500)), ..LoadLimits::default() };
    let mut copying = Copying::start(&source, &target.pool, limited(limits)).await;
    let progress = copying.paused().await;
    let why = progress.paused.unwrap_or_default();
    assert!(why.starts_with("a commit of the source takes ") && why.ends_with("more than 500 ms"), "{why}");
    assert_eq!((progress.bytes, progress.chunks_done), (0, 0));

    commits.abort();
    for statement in ["alter system reset synchronous_standby_names", "select pg_reload_conf()"] {
        source.execute(statement).await.expect("a superuser may");
    }
    let (outcome, progress) = copying.finished().await;
    assert_eq!((outcome.rows, progress.paused), (5000, None));
    source.close().await;
}

#[tokio::test]
async fn a_copy_waits_for_a_stream_of_another_slice_that_has_fallen_behind() {
    let (source, target) = (Database::with(TABLES).await, Database::with("").await);
    let mapping = mapping(NOTES);
    let parcels = Running::start(&source.pool, &target.pool, &mapping, "parcels", Direction::Forward, quick());
    settled(&source.pool, &target.pool, "parcels", Direction::Forward).await;
    let mut locked = target.pool.begin().await.expect("a transaction");
    locked.execute("lock table shop.parcel").await.expect("the lock");
    // The first waits for the lock, and everything that is written later waits behind it.
    source.run("insert into parcel values (0, 'first')").await;
    source.run("insert into parcel select n, repeat('x', 8000) from generate_series(1, 6000) n").await;
    let limits = LoadLimits { lag_bytes: Some(16 << 20), ..LoadLimits::default() };
    let mut copying = Copying::start(&source.pool, &target.pool, limited(limits)).await;
    let progress = copying.paused().await;
    let why = progress.paused.unwrap_or_default();
    assert!(why.starts_with("replication is ") && why.ends_with("more than 16384 KiB"), "{why}");
    assert_eq!((progress.bytes, progress.chunks_done), (0, 0));

    locked.commit().await.expect("the lock is let go");
    let (outcome, progress) = copying.finished().await;
    assert_eq!((outcome.rows, progress.paused), (5000, None));
    settled(&source.pool, &target.pool, "parcels", Direction::Forward).await;
    assert_eq!(target.count("select count(*) from shop.parcel").await, 6001);
    parcels.stop().await.expect("it stops");
}

#[tokio::test]
async fn a_limit_on_what_a_role_cannot_see_is_refused() {
    let (source, target) = (Database::with(TABLES).await, Database::with("").await);
    let role = testkit::unique_name("copier");
    source.run(&format!("create role {role} login password 'secret'; grant select on note to {role}")).await;
    let (_, rest) = source.server.url.split_once('@').expect("a URL with a password");
    let limited_role =
        PgPool::connect(&format!("postgres://{role}:secret@{rest}")).await.expect("the role may connect");
    let limits = LoadLimits { active_sessions: Some(100), ..LoadLimits::default() };
    let refused = Copying::start(&limited_role, &target.pool, limited(limits)).await;
    let error = refused.task.await.expect("it does not panic").expect_err("it is refused").to_string();
    assert!(error.contains("pg_read_all_stats"), "{error}");
    source.run(&format!("grant pg_read_all_stats to {role}")).await;
    let (outcome, _) = Copying::start(&limited_role, &target.pool, limited(limits)).await.finished().await;
    assert_eq!(outcome.rows, 5000);
    limited_role.close().await;
    source.run(&format!("drop owned by {role}; drop role {role}")).await;
}
