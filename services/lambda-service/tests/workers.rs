//! Warm workers as a client sees them.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use testkit::eventually;
use tokio::task::JoinSet;

use crate::system::{Answer, SOON, Setup, System};

/// Counts its calls in a global, and says which process it is.
const COUNTER: &str =
    "import os\ncalls = 0\ndef handler(event, context):\n    global calls\n    calls += 1\n    return calls\n";
const COUNTER_NODE: &str = "let calls = 0; function handler() { return ++calls; }";
const SLEEP: &str =
    "import time\ndef handler(event, context):\n    time.sleep(event.get('seconds', 30))\n    return 1\n";

async fn burst(system: &Arc<System>, id: &str, event: &serde_json::Value, count: usize) -> Vec<Answer> {
    let mut calls = JoinSet::new();
    for _ in 0..count {
        let (system, id, event) = (Arc::clone(system), id.to_owned(), event.clone());
        calls.spawn(async move { system.try_invoke(&id, &event).await });
    }
    calls.join_all().await
}

#[tokio::test]
async fn a_modules_state_survives_between_calls_and_is_its_functions_own() {
    let system = System::start().await;
    for (runtime, code) in [("python3.11", COUNTER), ("nodejs20", COUNTER_NODE)] {
        // The same source, so the same object: still two functions.
        let first = system.create(runtime, code).await;
        let second = system.create(runtime, code).await;
        for calls in 1..=5 {
            assert_eq!(system.invoke(&first, &json!({})).await["output"], calls, "{runtime}");
        }
        assert_eq!(system.invoke(&second, &json!({})).await["output"], 1, "{runtime}");
        assert_eq!(system.invoke(&first, &json!({})).await["output"], 6, "{runtime}");
    }
}

#[tokio::test]
async fn deleting_one_function_leaves_anothers_same_code() {
    let system = System::start().await;
    let first = system.create("python3.11", COUNTER).await;
    let second = system.create("python3.11", COUNTER).await;
    system.invoke(&first, &json!({})).await;
    let deleted = system.send(reqwest::Method::DELETE, &format!("/api/v1/functions/{first}"), "").await;
    assert_eq!(deleted.status, 204);
    eventually(SOON, || async { system.metric("lambda_pool_workers{state=\"idle\"}").await == 0.0 }).await;
    assert_eq!(system.invoke(&second, &json!({})).await["output"], 1);
}

#[tokio::test]
async fn a_burst_on_a_cold_function_starts_no_more_workers_than_slots() {
    let system = Arc::new(
        Setup::default().with("POOL__MAX_CONCURRENCY", "3").with("DATABASE__ACQUIRE_TIMEOUT", "20s").start().await,
    );
    let id = system.create("python3.11", COUNTER).await;
    let answers = burst(&system, &id, &json!({}), 60).await;
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    let started = system.metric("lambda_worker_start_seconds_count").await;
    assert!(started <= 3.0, "{started} workers for 3 slots");
}

#[tokio::test]
async fn a_full_queue_is_answered_with_429() {
    let setup = Setup::default()
        .with("POOL__MAX_CONCURRENCY", "1")
        .with("POOL__MAX_QUEUE", "1")
        .with("POOL__QUEUE_WAIT", "60s");
    let system = Arc::new(setup.start().await);
    let id = system.create("python3.11", SLEEP).await;
    let filling = {
        let (system, id) = (Arc::clone(&system), id.clone());
        tokio::spawn(async move { burst(&system, &id, &json!({"seconds": 5}), 2).await })
    };
    eventually(SOON, || async {
        system.metric(r#"lambda_pool_workers{state="busy"}"#).await == 1.0
            && system.metric("lambda_pool_waiting").await == 1.0
    })
    .await;
    let refused = burst(&system, &id, &json!({}), 3).await;
    for answer in &refused {
        assert_eq!((answer.status, answer.body["error"].as_str()), (429, Some("too_many_requests")), "{refused:?}");
        assert_eq!(answer.retry_after.as_deref(), Some("1"));
    }
    assert!(filling.await.unwrap().iter().all(|answer| answer.status == 200));
    assert_eq!(system.invoke(&id, &json!({"seconds": 0})).await["output"], 1, "it is over when the queue is");
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_worker_and_is_in_the_history() {
    let system = Setup::default().with("POOL__MAX_CONCURRENCY", "1").start().await;
    let id = system.create("python3.11", SLEEP).await;
    system.invoke_and_leave(&id, Duration::from_millis(700)).await;
    assert_eq!(system.invoke(&id, &json!({"seconds": 0})).await["output"], 1, "the slot is free");
    let workers = [r#"lambda_pool_workers{state="busy"}"#, r#"lambda_pool_workers{state="starting"}"#];
    for line in workers {
        assert!(system.metric(line).await.abs() < f64::EPSILON, "{line}");
    }
    let listed = system.get(&format!("/api/v1/functions/{id}/executions")).await.body;
    assert_eq!(listed["count"], 2);
    assert_eq!(listed["executions"][1]["Error"], "the client left before the function answered");
}

#[tokio::test]
async fn idle_workers_are_stopped() {
    let system = Setup::default().with("POOL__IDLE_TTL", "300ms").start().await;
    let id = system.create("python3.11", COUNTER).await;
    system.invoke(&id, &json!({})).await;
    eventually(SOON, || async { system.metric("lambda_pool_workers{state=\"idle\"}").await == 0.0 }).await;
    assert_eq!(system.invoke(&id, &json!({})).await["output"], 1, "a new worker");
}

#[tokio::test]
async fn more_functions_than_places_all_run() {
    let system = Setup::default().with("POOL__MAX_WORKERS", "2").with("POOL__QUEUE_WAIT", "60s");
    let system = Arc::new(system.with("DATABASE__ACQUIRE_TIMEOUT", "20s").start().await);
    let mut calls = JoinSet::new();
    for _ in 0..6 {
        let id = system.create("python3.11", COUNTER).await;
        let system = Arc::clone(&system);
        calls.spawn(async move { burst(&system, &id, &json!({}), 4).await });
    }
    assert!(calls.join_all().await.iter().flatten().all(|answer| answer.status == 200));
}
