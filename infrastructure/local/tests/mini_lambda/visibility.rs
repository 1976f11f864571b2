//! The shared data stage: what one side writes, the other sees at once.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use testkit::eventually;

use super::site::{Site, System, answer};

/// The candidate writes its executions off the request path, this long after the answer at most.
const RECORDED_WITHIN: Duration = Duration::from_secs(1);

const FUNCTIONS: [(&str, &str); 2] = [
    ("python3.11", "import os\ndef handler(event, context):\n    return [os.environ['A'], event]\n"),
    ("nodejs20", "async function handler(event) { return [process.env.A, event]; }"),
];

#[tokio::test]
async fn each_side_sees_at_once_what_the_other_writes() {
    let system = Site::new().start().await;
    for (writer, reader) in [("legacy", "lambda-service"), ("lambda-service", "legacy")] {
        for (runtime, code) in FUNCTIONS {
            functions(&system, writer, reader, runtime, code).await;
            executions(&system, writer, reader, runtime, code).await;
        }
    }
    system.stack.stop().await;
}

fn body(name: &str, runtime: &str, code: &str) -> Value {
    json!({"name": name, "runtime": runtime, "code": code, "environment": {"A": "ü"}})
}

/// Created by one side; listed, read, invoked and deleted through the other; gone for the first.
async fn functions(system: &System, writer: &str, reader: &str, runtime: &str, code: &str) {
    let body = body(&format!("{runtime} by {writer}"), runtime, code);
    let id = system.create(writer, &body).await;
    let path = format!("/api/v1/functions/{id}");

    let read = call(system, reader, Method::GET, &path).await;
    assert_eq!(read, call(system, writer, Method::GET, &path).await, "{reader} and {writer}");
    assert_eq!((read.0, &read.1["name"]), (200, &body["name"]), "{read:?}");
    let listed = call(system, reader, Method::GET, "/api/v1/functions").await;
    assert_eq!(listed, call(system, writer, Method::GET, "/api/v1/functions").await);
    assert_eq!(listed.1["functions"][0]["function_id"], id, "newest first: {listed:?}");
    let taken = answer(system.client.post(system.url(reader, "/api/v1/functions")).json(&body)).await;
    assert_eq!((taken.0, &taken.1["error"]), (409, &json!("function_exists")), "{taken:?}");

    let invoked = invoke(system, reader, &id).await;
    assert_eq!((&invoked["status"], &invoked["output"]), (&json!("success"), &json!(["ü", {"n": 1}])), "{invoked}");

    assert_eq!(call(system, reader, Method::DELETE, &path).await.0, 204);
    assert_eq!(call(system, writer, Method::GET, &path).await.0, 404);
    let gone = answer(system.client.post(system.url(writer, &format!("{path}/invoke")))).await;
    assert_eq!(gone.0, if writer == "legacy" { 500 } else { 404 }, "a deleted function does not run: {gone:?}");
}

/// Run by one side, in the history of the other.
async fn executions(system: &System, runner: &str, reader: &str, runtime: &str, code: &str) {
    let id = system.create(reader, &body(&format!("{runtime} run by {runner}"), runtime, code)).await;
    let path = format!("/api/v1/functions/{id}/executions");
    let mut run = Vec::new();
    for _ in 0..3 {
        run.insert(0, invoke(system, runner, &id).await["execution_id"].clone());
        eventually(RECORDED_WITHIN, || async {
            let history = call(system, reader, Method::GET, &path).await.1;
            let executions = history["executions"].as_array().cloned().unwrap_or_default();
            executions.iter().map(|execution| execution["ID"].clone()).collect::<Vec<_>>() == run
        })
        .await;
    }
    assert_eq!(call(system, reader, Method::GET, &path).await, call(system, runner, Method::GET, &path).await);
    // Deleted with its executions, which the other side made.
    assert_eq!(call(system, reader, Method::DELETE, &format!("/api/v1/functions/{id}")).await.0, 204);
    assert_eq!(call(system, runner, Method::GET, &path).await.1, json!({"executions": [], "count": 0}));
}

async fn call(system: &System, part: &str, method: Method, path: &str) -> (u16, Value) {
    answer(system.client.request(method, system.url(part, path))).await
}

async fn invoke(system: &System, part: &str, id: &str) -> Value {
    let url = system.url(part, &format!("/api/v1/functions/{id}/invoke"));
    let (status, body) = answer(system.client.post(url).json(&json!({"n": 1}))).await;
    assert_eq!(status, 200, "{body}");
    body
}
