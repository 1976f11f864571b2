//! Functions that are kept between calls: never beyond what was promised, whatever becomes of Redis.

use reqwest::Method;
use serde_json::json;
use sqlx::PgPool;
use testkit::{PrivateRedis, eventually};

use crate::system::{ECHO, SOON, Setup, System};

const HIT: &str = "lambda_function_lookups_total{outcome=\"hit\"}";
const MISS: &str = "lambda_function_lookups_total{outcome=\"miss\"}";
const UP: &str = "lambda_function_cache_up";

/// With what is kept for so long that only forgetting ends it.
fn kept_in(redis: &PrivateRedis) -> Setup {
    Setup::default()
        .with("CACHE__KIND", "redis")
        .with("CACHE__REDIS__URL", redis.url())
        .with("CACHE__REDIS__TIMEOUT", "10s")
        .with("CACHE__TTL", "1h")
}

async fn is_up(system: &System, wanted: bool) {
    eventually(SOON, || async { system.metric(UP).await == f64::from(u8::from(wanted)) }).await;
}

async fn delete(system: &System, id: &str) {
    let deleted = system.send(Method::DELETE, &format!("/api/v1/functions/{id}"), "").await;
    assert_eq!(deleted.status, 204, "{deleted:?}");
}

#[tokio::test]
async fn replicas_share_what_one_has_read_and_forget_together() {
    let redis = PrivateRedis::start().await;
    let one = kept_in(&redis).start().await;
    let other = kept_in(&redis).beside(&one).start().await;
    is_up(&one, true).await;
    is_up(&other, true).await;
    let id = one.create("python3.11", ECHO).await;
    one.invoke(&id, &json!(1)).await;
    other.invoke(&id, &json!(2)).await;
    assert_eq!((one.metric(MISS).await, other.metric(MISS).await, other.metric(HIT).await), (1.0, 0.0, 1.0));
    delete(&one, &id).await;
    for replica in [&other, &one] {
        assert_eq!(replica.try_invoke(&id, &json!({})).await.status, 404, "at once");
    }
}

#[tokio::test]
async fn calls_that_come_together_read_the_database_once() {
    let system = Setup::default().with("CACHE__TTL", "1h").start().await;
    let id = system.create("python3.11", ECHO).await;
    let calls = (0..40).map(|call| {
        let (system, id) = (&system, &id);
        async move { system.invoke(id, &json!(call)).await }
    });
    futures::future::join_all(calls).await;
    assert_eq!(system.metric(MISS).await, 1.0);
    let others = system.metric(HIT).await + system.metric("lambda_function_lookups_total{outcome=\"joined\"}").await;
    assert_eq!(others, 39.0);
}

/// Puts a gate between the service and its functions: while it is closed, a lookup that has seen its row waits.
struct Gate {
    database: PgPool,
}

impl Gate {
    const LOCK: i64 = 7_313;

    async fn before(system: &System) -> Self {
        let database = system.database().await;
        let script = format!(
            "CREATE TABLE gate (is_closed boolean); INSERT INTO gate VALUES (false); \
             CREATE FUNCTION pass() RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$ BEGIN \
             IF current_query() LIKE 'SELECT%WHERE id = $1' AND (SELECT is_closed FROM lambda_service.gate) THEN \
             PERFORM pg_advisory_lock_shared({lock}); PERFORM pg_advisory_unlock_shared({lock}); END IF; \
             RETURN true; END $$; \
             ALTER TABLE functions RENAME TO functions_behind; \
             CREATE VIEW functions AS SELECT * FROM functions_behind WHERE pass();",
            lock = Self::LOCK
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(script)).execute(&database).await.unwrap();
        Self { database }
    }

    async fn set(&self, is_closed: bool) {
        sqlx::query("UPDATE gate SET is_closed = $1").bind(is_closed).execute(&self.database).await.unwrap();
    }

    /// Somebody waits before the gate.
    async fn is_waited_for(&self) {
        let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
        eventually(SOON, || async {
            sqlx::query_scalar::<_, i64>(waiting).fetch_one(&self.database).await.unwrap() == 1
        })
        .await;
    }
}

/// One replica reads a function, another deletes it, and then the first has its answer: the call that began before
/// the change may see it as it was, and no later one.
async fn a_reading_that_was_overtaken_is_not_kept(reader: &System, changer: &System) {
    let id = reader.create("python3.11", ECHO).await;
    let gate = Gate::before(reader).await;
    let mut holder = gate.database.acquire().await.unwrap();
    sqlx::query("SELECT pg_advisory_lock($1)").bind(Gate::LOCK).execute(&mut *holder).await.unwrap();
    gate.set(true).await;
    let url = reader.service.url(&format!("/api/v1/functions/{id}/invoke"));
    let early = tokio::spawn(reqwest::Client::new().post(url).body("{}").send());
    gate.is_waited_for().await;
    gate.set(false).await;
    delete(changer, &id).await;
    sqlx::query("SELECT pg_advisory_unlock($1)").bind(Gate::LOCK).execute(&mut *holder).await.unwrap();
    assert_eq!(early.await.unwrap().unwrap().status().as_u16(), 200, "it was there when it was asked for");
    for replica in [reader, changer] {
        assert_eq!(replica.try_invoke(&id, &json!({})).await.status, 404);
    }
}

#[tokio::test]
async fn what_was_read_before_a_change_is_not_kept_after_it_in_a_replica() {
    let system = Setup::default().with("CACHE__TTL", "1h").start().await;
    a_reading_that_was_overtaken_is_not_kept(&system, &system).await;
}

#[tokio::test]
async fn what_was_read_before_a_change_is_not_kept_after_it_in_redis() {
    let redis = PrivateRedis::start().await;
    let reader = kept_in(&redis).start().await;
    let changer = kept_in(&redis).beside(&reader).start().await;
    is_up(&reader, true).await;
    is_up(&changer, true).await;
    a_reading_that_was_overtaken_is_not_kept(&reader, &changer).await;
}

#[tokio::test]
async fn calls_go_on_while_redis_is_paused_or_gone_and_it_is_used_again_when_it_is_back() {
    let mut redis = PrivateRedis::start().await;
    let setup = || kept_in(&redis).with("CACHE__REDIS__TIMEOUT", "200ms").with("CACHE__TTL", "3s");
    let one = setup().start().await;
    let other = setup().beside(&one).start().await;
    let id = one.create("python3.11", ECHO).await;
    let doomed = one.create("python3.11", ECHO).await;
    for replica in [&one, &other] {
        is_up(replica, true).await;
        for id in [&id, &doomed] {
            replica.invoke(id, &json!(1)).await;
        }
    }

    redis.pause();
    for replica in [&one, &other] {
        for call in 0..5 {
            assert_eq!(replica.invoke(&id, &json!(call)).await["output"], call);
        }
        is_up(replica, false).await;
    }
    delete(&one, &doomed).await;
    assert_eq!(one.metric("lambda_function_cache_not_forgotten_total").await, 1.0);
    redis.resume();
    for replica in [&one, &other] {
        is_up(replica, true).await;
        // What Redis was not told to forget is there until its time is over, and no longer.
        eventually(SOON, || async { replica.try_invoke(&doomed, &json!({})).await.status == 404 }).await;
    }

    redis.stop().await;
    for replica in [&one, &other] {
        is_up(replica, false).await;
        replica.invoke(&id, &json!(2)).await;
    }
    redis.start_again().await;
    for replica in [&one, &other] {
        is_up(replica, true).await;
        let hits = replica.metric(HIT).await;
        eventually(SOON, || async {
            replica.invoke(&id, &json!(3)).await;
            replica.metric(HIT).await > hits
        })
        .await;
    }
}

/// Redis is no condition of being ready: a service that starts without it serves, and finds it when it comes.
#[tokio::test]
async fn a_service_starts_without_redis() {
    let mut redis = PrivateRedis::start().await;
    redis.stop().await;
    let system = kept_in(&redis).start().await;
    let id = system.create("python3.11", ECHO).await;
    assert_eq!(system.invoke(&id, &json!(1)).await["output"], 1);
    assert!(system.metric("lambda_function_lookups_total{outcome=\"down\"}").await >= 1.0);
    redis.start_again().await;
    is_up(&system, true).await;
    system.invoke(&id, &json!(2)).await;
    system.invoke(&id, &json!(3)).await;
    assert_eq!(system.metric(HIT).await, 1.0);
}
