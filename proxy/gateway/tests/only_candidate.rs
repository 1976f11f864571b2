//! What legacy cannot serve is known before a rollback, and said by it.

use std::sync::{
    Arc,
    atomic::{AtomicU16, Ordering},
};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::harness::{Gateway, Stub, config, eventually};

/// A candidate that lists its keys at the address, for as long as its status is 200.
async fn lister() -> (String, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(200));
    let answer = |State(status): State<Arc<AtomicU16>>| async move {
        let status = StatusCode::from_u16(status.load(Ordering::Acquire)).unwrap();
        (status, json!({ "keys": ["new-1", "new-2"], "count": 7 }).to_string())
    };
    let router = Router::new().route("/only-here", get(answer)).with_state(status.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (format!("http://{address}/only-here"), status)
}

fn start(url: &str) -> (Gateway, [Stub; 2]) {
    let stubs = [Stub::start("legacy"), Stub::start("candidate")];
    let route = format!("[routes.only_candidate]\nurl = \"{url}\"\ninterval = \"50ms\"\nmax_keys = 1");
    let config = config(stubs[0].address, stubs[1].address, &route, "");
    (Gateway::start(&config, "[routes.invoke]\npercent = 100\n"), stubs)
}

async fn asked(gateway: &Gateway) -> Value {
    gateway.admin(Method::GET, "/api/v1/routes/invoke/only-candidate", None).await.1["only_candidate"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_lists_what_the_candidate_said_last_also_when_it_is_gone() {
    let (url, status) = lister().await;
    let (gateway, _stubs) = start(&url);
    eventually("the candidate was asked", async || asked(&gateway).await["count"] == 7).await;
    status.store(503, Ordering::Release);
    eventually("it does not answer any more", async || gateway.log().contains("does not say what only it can serve"))
        .await;
    let (code, answer) = gateway.admin(Method::POST, "/api/v1/routes/invoke/rollback", None).await;
    assert_eq!((code, &answer["persisted"]), (200, &json!(true)), "{answer}");
    let listed = &answer["routes"][0]["only_candidate"];
    assert_eq!((&listed["keys"], &listed["count"]), (&json!(["new-1"]), &json!(7)), "{answer}");
    assert!(listed["age_seconds"].as_f64().is_some_and(|age| age > 0.0), "{answer}");
    assert!(gateway.metrics().await.contains("gateway_only_candidate_keys{route=\"invoke\"} 7"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_that_never_said_is_no_reason_to_wait() {
    let (gateway, _stubs) = start("http://127.0.0.1:9/only-here");
    let (code, answer) = gateway.admin(Method::POST, "/api/v1/rollback", None).await;
    assert_eq!(code, 200);
    assert_eq!(answer["routes"][0]["only_candidate"], json!({ "keys": [], "count": null, "age_seconds": null }));
    assert_eq!(gateway.side_of("k").await, "legacy");
}
