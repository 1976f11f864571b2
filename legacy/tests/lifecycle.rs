//! Starting before its dependencies, losing them, and ending.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use testkit::{ChaosProxy, Network, eventually, process::Spawned};

use crate::{
    events::{send, webhook},
    rabbitmq::killed_with_events_in_flight,
    system::{DEADLINE, System, spawn},
};

const SLOW: &str = "import time\n\ndef handler(event, context):\n    time.sleep(3)\n    return 'done'\n";

#[tokio::test]
async fn it_ends_after_the_calls_and_events_in_flight() {
    let system = System::start().await;
    let function = system.python("slow", SLOW).await;
    webhook(&system, &function, "w").await;
    assert_eq!(send(&system, "w", &json!(1)).await.status, 200);
    eventually(DEADLINE, || async {
        let leased: (i64,) = sqlx::query_as("select count(*) from in_process_bus.events where leased_by is not null")
            .fetch_one(&system.database.pool().await)
            .await
            .expect("the journal");
        leased.0 == 1
    })
    .await;
    let event = json!({});
    let call = system.invoke(&function, &event);
    let end = async {
        // This request for the metrics is one, the call is the other.
        eventually(DEADLINE, || async {
            let metrics = system.get("/metrics").await.body;
            metrics.as_str().is_some_and(|text| text.contains("\nhttp_server_active_requests 2"))
        })
        .await;
        system.legacy.terminate(Duration::from_secs(30)).await
    };
    let (answer, status) = tokio::join!(call, end);
    assert_eq!((answer.status, &answer.body["output"]), (200, &json!("done")));
    assert!(status.success(), "{}", system.legacy.log());
    assert_eq!(system.executions(&function).await, 2, "the call's and the event's");
}

#[tokio::test]
async fn a_killed_process_leaves_no_event_undone() {
    let mut system = System::start().await;
    killed_with_events_in_flight(&mut system).await;
}

#[tokio::test]
async fn it_starts_before_its_database_and_survives_its_loss() {
    let (database, bucket) = (testkit::postgres().await, testkit::s3().await);
    let proxy = ChaosProxy::start(database.address()).await;
    proxy.set(Network::Refuse).await;
    let legacy = spawn(&database.url_through(&proxy.address().to_string()), &bucket)
        .env("LEGACY__DATABASE__ACQUIRE_TIMEOUT", "1s")
        .spawn()
        .await;
    eventually(DEADLINE, || async { legacy.log().contains("the database cannot be reached") }).await;
    assert!(!legacy.is_ready().await);
    let list = || async { status(&legacy, Method::GET, "/api/v1/functions").await };
    assert_eq!(list().await, (500, json!("failed_to_list_functions")));
    let invoke = "/api/v1/functions/018f3c5e-7d1a-7cc3-8a51-0b8c1c0d9e2f/invoke";
    assert_eq!(status(&legacy, Method::POST, invoke).await, (500, json!("failed_to_get_function")));
    proxy.set(Network::Pass).await;
    legacy.ready().await;
    assert_eq!(list().await.0, 200);
    proxy.set(Network::Refuse).await;
    proxy.cut().await;
    eventually(DEADLINE, || async { !legacy.is_ready().await }).await;
    assert_eq!(list().await.0, 500);
    proxy.set(Network::Pass).await;
    legacy.ready().await;
    assert_eq!(list().await.0, 200);
}

#[tokio::test]
async fn without_its_bucket_it_is_not_ready_and_creates_nothing() {
    let (database, mut bucket) = (testkit::postgres().await, testkit::s3().await);
    let endpoint = bucket.endpoint.strip_prefix("http://").expect("plain HTTP").to_owned();
    let proxy = ChaosProxy::start(endpoint).await;
    bucket.endpoint = format!("http://{}", proxy.address());
    let legacy = spawn(&database.url, &bucket).start().await;
    proxy.set(Network::Refuse).await;
    proxy.cut().await;
    let client = reqwest::Client::new();
    let body = json!({"name": "f", "runtime": "python3.11", "code": "x"}).to_string();
    let create = || async {
        let request = client.post(legacy.url("/api/v1/functions")).body(body.clone());
        crate::system::answer(request).await.expect("the monolith answers")
    };
    let refused = create().await;
    assert_eq!((refused.status, &refused.body["error"]), (500, &json!("failed_to_create_function")));
    eventually(DEADLINE, || async { !legacy.is_ready().await }).await;
    proxy.set(Network::Pass).await;
    legacy.ready().await;
    assert_eq!(create().await.status, 201, "the name was not taken by the attempt that failed");
}

#[tokio::test]
async fn settings_that_are_wrong_are_all_named() {
    let legacy = Spawned::of(env!("CARGO_BIN_EXE_legacy"))
        .env("LEGACY__DATABASE__URL", "mysql://root:hunter2@nowhere/")
        .env("LEGACY__BUS__KIND", "rabbitmq")
        .env("LEGACY__BUS__CONCURRENCY", "0")
        .env("LEGACY__EXECUTOR__CONCURRENCY", "0")
        .env("LEGACY__SCHEDULER__POLL_INTERVAL", "0s")
        .spawn()
        .await;
    assert_eq!(legacy.exited(DEADLINE).await.code(), Some(2));
    let log = legacy.log();
    for key in [
        "database.url",
        "objects.access_key",
        "bus.concurrency",
        "bus.rabbitmq.url",
        "executor.concurrency",
        "scheduler.poll_interval",
    ] {
        assert!(log.contains(key), "{key} is missing:\n{log}");
    }
    assert!(!log.contains("hunter2"), "{log}");
}

async fn status(legacy: &Spawned, method: Method, path: &str) -> (u16, serde_json::Value) {
    let request = reqwest::Client::new().request(method, legacy.url(path));
    let answer = crate::system::answer(request).await.expect("the monolith answers");
    (answer.status, answer.body["error"].clone())
}
