//! Events while processes are killed and dependencies go away: each that was accepted ends, once.

use std::{
    cell::Cell,
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use serde_json::json;
use sqlx::{PgPool, Row as _};
use testkit::{PrivatePostgres, PrivateRabbitMq, eventually};
use tokio::task::JoinSet;

use crate::{
    events::with_fast_retries,
    system::{SOON, Setup, System},
};

/// Fails for every third number, and is a little slow, so that a kill finds it at work.
const SOMETIMES: &str = "import time\n\ndef handler(event, context):\n    time.sleep(0.01)\n    \
     if event['n'] % 3 == 0:\n        raise RuntimeError('every third')\n    return event\n";

/// How many rounds a test of kills has; more of them by the variable.
fn rounds(usual: usize) -> usize {
    std::env::var("LAMBDA_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Callers that ask for asynchronous calls all the time, each under an id of its own, until they are told to stop.
struct Callers {
    accepted: Arc<Mutex<HashSet<String>>>,
    asked: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Callers {
    fn start(system: &System, function: &str, count: usize) -> Self {
        let accepted: Arc<Mutex<HashSet<String>>> = Arc::default();
        let (asked, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let mut tasks = JoinSet::new();
        for _ in 0..count {
            let url = system.service.url(&format!("/api/v1/functions/{function}/invoke"));
            let (accepted, asked, stop) = (Arc::clone(&accepted), Arc::clone(&asked), Arc::clone(&stop));
            tasks.spawn(async move {
                let client = reqwest::Client::builder().timeout(SOON).build().unwrap();
                while !stop.load(Ordering::SeqCst) {
                    let n = asked.fetch_add(1, Ordering::SeqCst);
                    let id = uuid::Uuid::now_v7().to_string();
                    let request = client.post(&url).header("x-invocation-type", "Event").header("x-event-id", &id);
                    match request.body(json!({"n": n}).to_string()).send().await {
                        Ok(answer) if answer.status() == 202 => {
                            accepted.lock().unwrap().insert(id);
                        }
                        // Refused, or cut off: perhaps accepted, but not promised.
                        _ => tokio::task::yield_now().await,
                    }
                }
            });
        }
        Self { accepted, asked, stop, tasks }
    }

    fn count(&self) -> usize {
        self.accepted.lock().unwrap().len()
    }

    async fn more(&self, count: usize) {
        let target = self.count() + count;
        eventually(SOON, || async { self.count() >= target }).await;
    }

    async fn end(mut self) -> HashSet<String> {
        self.stop.store(true, Ordering::SeqCst);
        while self.tasks.join_next().await.is_some() {}
        eprintln!("{} asked, {} accepted", self.asked.load(Ordering::SeqCst), self.count());
        std::mem::take(&mut *self.accepted.lock().unwrap())
    }
}

/// Every accepted event has one row of the audit, is a success or a dead letter by what its number says, and nothing
/// waits.
async fn each_ended_once(database: &PgPool, accepted: &HashSet<String>) {
    // How many there are depends on how long the kills took, and how fast they end on the machine: they have as long
    // as they become fewer.
    let left = Cell::new(i64::MAX);
    while left.get() > 0 {
        let before = left.get();
        eventually(SOON * 3, || async {
            let waiting = sqlx::query_scalar("SELECT count(*) FROM event_queue").fetch_one(database).await;
            left.set(waiting.unwrap_or(before));
            left.get() < before
        })
        .await;
    }
    let rows =
        sqlx::query("SELECT event_id::text AS id, count(*) AS rows, min(status) AS status FROM event_audit GROUP BY 1")
            .fetch_all(database)
            .await
            .unwrap();
    let mut failed = HashSet::new();
    let mut audited = HashSet::new();
    for row in &rows {
        let id: String = row.get("id");
        assert_eq!(row.get::<i64, _>("rows"), 1, "{id} was audited more than once");
        if row.get::<&str, _>("status") == "failed" {
            failed.insert(id.clone());
        }
        audited.insert(id);
    }
    let lost: Vec<_> = accepted.difference(&audited).collect();
    assert!(lost.is_empty(), "{} of {} accepted events have no end: {lost:?}", lost.len(), accepted.len());
    let letters = sqlx::query("SELECT event_id::text AS id, retry_count, payload->>'n' AS n FROM dead_letter_queue")
        .fetch_all(database)
        .await
        .unwrap();
    let buried: HashSet<String> = letters.iter().map(|row| row.get("id")).collect();
    assert_eq!((letters.len(), &buried), (failed.len(), &failed), "what failed is a dead letter, once");
    for row in &letters {
        let n: i64 = row.get::<String, _>("n").parse().unwrap();
        assert_eq!((n % 3, row.get::<i32, _>("retry_count")), (0, 3), "it was tried as often as it may");
    }
    assert!(failed.len() * 2 < audited.len(), "{} of {}", failed.len(), audited.len());
}

#[tokio::test]
async fn kill_of_replicas_ends_every_accepted_event_once() {
    let mut system = with_fast_retries(Setup::default()).with("EVENTS__LEASE", "1s").start().await;
    let other = with_fast_retries(Setup::default()).with("EVENTS__LEASE", "1s").beside(&system).start().await;
    let id = system.create("python3.11", SOMETIMES).await;
    let database = system.database().await;
    let callers = Callers::start(&system, &id, 4);
    for round in 0..rounds(8) {
        // A different moment in each round.
        callers.more(7 + round * 11 % 40).await;
        system.service.kill().await;
        system.service.start_again().await;
    }
    each_ended_once(&database, &callers.end().await).await;
    assert!(system.service.terminate(SOON).await.success(), "{}", system.service.log());
    drop(other);
}

/// Stopped in the middle of its events for longer than their lease, a replica goes on and changes nothing of what
/// another has done meanwhile.
#[tokio::test]
async fn chaos_of_a_replica_that_stands_still_ends_nothing_twice() {
    let system = with_fast_retries(Setup::default()).with("EVENTS__LEASE", "1s").start().await;
    let other = with_fast_retries(Setup::default()).with("EVENTS__LEASE", "1s").beside(&system).start().await;
    let id = system.create("python3.11", SOMETIMES).await;
    let database = system.database().await;
    let callers = Callers::start(&system, &id, 2);
    for _ in 0..2 {
        callers.more(20).await;
        other.service.pause();
        let held = "SELECT count(*) FROM event_queue WHERE deliveries > 1";
        // What it held is taken by the one that runs, or it held nothing.
        let taken_over =
            eventually(SOON, || async { sqlx::query_scalar::<_, i64>(held).fetch_one(&database).await.unwrap() > 0 });
        let _ = tokio::time::timeout(std::time::Duration::from_secs(3), taken_over).await;
        other.service.resume();
    }
    each_ended_once(&database, &callers.end().await).await;
}

#[tokio::test]
async fn chaos_of_postgres_ends_every_accepted_event_once() {
    let mut postgres = PrivatePostgres::start_durable().await;
    let setup = with_fast_retries(Setup::default()).database_url(postgres.url("postgres"));
    let system = setup.with("EVENTS__LEASE", "1s").with("DATABASE__ACQUIRE_TIMEOUT", "1s").start().await;
    let id = system.create("python3.11", SOMETIMES).await;
    let callers = Callers::start(&system, &id, 3);
    for round in 0..rounds(3) {
        callers.more(15 + round * 7).await;
        postgres.kill().await;
        postgres.start_again().await;
    }
    callers.more(10).await;
    let accepted = callers.end().await;
    each_ended_once(&system.database().await, &accepted).await;
}

fn on_rabbitmq(setup: Setup, url: &str) -> Setup {
    with_fast_retries(setup)
        .with("EVENTS__QUEUE", "rabbitmq")
        .with("EVENTS__RABBITMQ__URL", url)
        .with("EVENTS__RABBITMQ__HEARTBEAT", "2s")
        .with("EVENTS__RABBITMQ__PUBLISH_TIMEOUT", "2s")
        .with("EVENTS__LEASE", "1s")
        .with("EVENTS__ANNOUNCE_AGAIN", "2s")
}

#[tokio::test]
async fn events_go_through_the_broker() {
    let vhost = testkit::rabbitmq().await;
    let system = on_rabbitmq(Setup::default(), &vhost.url).start().await;
    crate::events::asynchronous_calls(&system).await;
    crate::events::a_dead_letter_is_retried_for_real(&system).await;
    crate::events::a_function_that_goes_takes_its_events_along(&system).await;
    others_may_publish(&system, &vhost.url).await;
    assert!(system.service.terminate(SOON).await.success(), "{}", system.service.log());
}

/// What somebody else publishes is an event, once for each id; what is none becomes a dead letter of the broker.
async fn others_may_publish(system: &System, url: &str) {
    use lapin::{BasicProperties, Connection, ConnectionProperties, options::*};
    let id = system.create("python3.11", crate::system::ECHO).await;
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let publish = async |body: String| {
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        channel
            .basic_publish("lambda-events".into(), "queue".into(), options, body.as_bytes(), properties)
            .await
            .unwrap();
    };
    for body in ["nonsense", "{}", "{\"id\": 7}"] {
        publish(body.to_owned()).await;
    }
    let event = json!({"id": uuid::Uuid::now_v7(), "type": "queue", "function_id": id, "payload": {"a": 1},
        "timestamp": "2026-01-01T00:00:00Z"});
    for _ in 0..5 {
        publish(event.to_string()).await;
    }
    let audit = system.audit(&id, 1).await;
    assert_eq!((&audit[0]["event_id"], &audit[0]["status"]), (&event["id"], &json!("success")));
    let dead = Mutex::new(0);
    eventually(SOON, || async {
        let options = BasicGetOptions { no_ack: true };
        let got = channel.basic_get("lambda-service.dead".into(), options).await.unwrap();
        let mut dead = dead.lock().unwrap();
        *dead += usize::from(got.is_some());
        *dead == 3
    })
    .await;
    assert_eq!(system.audit(&id, 1).await.len(), 1);
}

#[tokio::test]
async fn kill_of_the_broker_and_of_replicas_ends_every_accepted_event_once() {
    let mut broker = PrivateRabbitMq::start().await;
    let mut system = on_rabbitmq(Setup::default(), &broker.url()).start().await;
    let id = system.create("python3.11", SOMETIMES).await;
    let database = system.database().await;
    let callers = Callers::start(&system, &id, 3);
    for round in 0..rounds(4) {
        callers.more(10 + round * 13 % 30).await;
        match round % 4 {
            0 => {
                broker.kill().await;
                // Events are accepted while the broker is away.
                callers.more(10).await;
                broker.start_again().await;
            }
            1 => {
                system.service.kill().await;
                system.service.start_again().await;
            }
            2 => {
                broker.pause();
                callers.more(10).await;
                broker.resume();
            }
            _ => {
                broker.stop().await;
                system.service.kill().await;
                broker.start_again().await;
                system.service.start_again().await;
            }
        }
    }
    each_ended_once(&database, &callers.end().await).await;
    assert!(system.service.terminate(SOON).await.success(), "{}", system.service.log());
}
