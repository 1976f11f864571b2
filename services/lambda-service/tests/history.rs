//! No execution that was answered is missing from the history.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use sqlx::PgPool;
use testkit::{PrivatePostgres, eventually};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::system::{ECHO, SOON, Setup, System};

/// Executions of a function that the database has.
pub async fn recorded(database: &PgPool, id: &str) -> HashSet<Uuid> {
    let ids: Vec<Uuid> = sqlx::query_scalar("SELECT id FROM invocations WHERE function_id = $1::uuid")
        .bind(id)
        .fetch_all(database)
        .await
        .unwrap();
    let count = ids.len();
    let ids: HashSet<_> = ids.into_iter().collect();
    assert_eq!(ids.len(), count, "an execution is recorded once");
    ids
}

/// Callers that go on until told to stop, and remember the executions that they were answered.
pub struct Load {
    pub answered: Arc<Mutex<HashSet<Uuid>>>,
    stop: Arc<AtomicBool>,
    callers: JoinSet<()>,
}

impl Load {
    pub fn on(system: &System, id: &str, callers: usize) -> Self {
        let mut load = Self { answered: Arc::default(), stop: Arc::default(), callers: JoinSet::new() };
        let url = system.service.url(&format!("/api/v1/functions/{id}/invoke"));
        for _ in 0..callers {
            let (answered, stop, url) = (Arc::clone(&load.answered), Arc::clone(&load.stop), url.clone());
            load.callers.spawn(async move {
                let client = reqwest::Client::new();
                while !stop.load(Ordering::Relaxed) {
                    let Ok(answer) = client.post(&url).body("{}").send().await else {
                        tokio::task::yield_now().await;
                        continue;
                    };
                    if answer.status() == 200
                        && let Ok(body) = answer.json::<serde_json::Value>().await
                    {
                        let execution = body["execution_id"].as_str().unwrap().parse().unwrap();
                        assert!(answered.lock().unwrap().insert(execution), "an execution id is given once");
                    }
                }
            });
        }
        load
    }

    pub fn count(&self) -> usize {
        self.answered.lock().unwrap().len()
    }

    pub async fn end(self) -> HashSet<Uuid> {
        self.stop.store(true, Ordering::Relaxed);
        self.callers.join_all().await;
        Arc::into_inner(self.answered).expect("the callers have ended").into_inner().unwrap()
    }
}

#[tokio::test]
async fn five_thousand_executions_and_a_sigterm_leave_five_thousand_rows() {
    let system = System::start().await;
    let id = system.create("python3.11", ECHO).await;
    let load = Load::on(&system, &id, 8);
    eventually(Duration::from_secs(180), || async { load.count() >= 5_000 }).await;
    let answered = load.end().await;
    let status = system.service.terminate(SOON).await;
    assert!(status.success(), "{status}: {}", system.service.log());
    assert_eq!(recorded(&system.database().await, &id).await, answered);
    assert_eq!(system.journal_segments(), 0, "nothing waits after a clean stop");
}

#[tokio::test]
async fn a_sigterm_under_load_records_what_was_answered() {
    let system = System::start().await;
    let id = system.create("python3.11", ECHO).await;
    let load = Load::on(&system, &id, 8);
    eventually(SOON, || async { load.count() >= 300 }).await;
    let status = system.service.terminate(SOON).await;
    let answered = load.end().await;
    assert!(status.success(), "{status}: {}", system.service.log());
    let missing = answered.difference(&recorded(&system.database().await, &id).await).count();
    assert_eq!(missing, 0, "of {} answered", answered.len());
}

#[tokio::test]
async fn a_database_that_goes_and_comes_back_has_every_answered_execution() {
    let mut postgres = PrivatePostgres::start().await;
    let system = Setup::default().database_url(postgres.url("postgres")).start().await;
    let id = system.create("python3.11", ECHO).await;
    let load = Load::on(&system, &id, 4);
    eventually(SOON, || async { load.count() >= 200 }).await;

    postgres.stop().await;
    // A function that is kept can be called for a moment longer; its executions are in the journal.
    eventually(SOON, || async { system.try_invoke(&id, &json!({})).await.status != 200 }).await;
    let refused = system.try_invoke(&id, &json!({})).await;
    assert_eq!((refused.status, refused.body["error"].as_str()), (503, Some("service_unavailable")), "{refused:?}");
    assert_eq!(refused.retry_after.as_deref(), Some("1"));
    eventually(SOON, || async { !system.service.is_ready().await }).await;
    let before = load.count();

    postgres.start_again().await;
    system.service.ready().await;
    eventually(SOON, || async { load.count() > before + 100 }).await;
    let answered = load.end().await;
    let database = system.database().await;
    eventually(SOON, || async { answered.is_subset(&recorded(&database, &id).await) }).await;
}

#[tokio::test]
async fn a_function_deleted_under_load_does_not_cost_its_neighbour_a_row() {
    // Large batches, so that rows of both are in the same ones.
    let system = Setup::default().with("RECORDER__LINGER", "50ms").start().await;
    let kept = system.create("python3.11", ECHO).await;
    let load = Load::on(&system, &kept, 4);
    for _ in 0..5 {
        let doomed = system.create("python3.11", ECHO).await;
        let doomed_load = Load::on(&system, &doomed, 2);
        eventually(SOON, || async { doomed_load.count() >= 20 }).await;
        let deleted = system.send(reqwest::Method::DELETE, &format!("/api/v1/functions/{doomed}"), "").await;
        assert_eq!(deleted.status, 204);
        doomed_load.end().await;
    }
    let answered = load.end().await;
    let database = system.database().await;
    eventually(SOON, || async { answered == recorded(&database, &kept).await }).await;
    assert!(system.metric("lambda_recorder_pending_rows").await.abs() < f64::EPSILON);
}
