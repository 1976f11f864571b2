//! Functions of inline code: registered before they are answered, once, and taken back when that fails.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use reqwest::Method;
use serde_json::{Value, json};
use standardwebhooks::Webhook;
use testkit::{Answer, RecordedRequest, StubUpstream, eventually};

use crate::{
    kill::jobs_that_ended_once,
    system::{self, ECHO, Ground, SECRET, SOON, System},
};

const PATH: &str = "/api/v1/functions";

/// A master whose functions are registered by `stub`.
async fn ground(stub: &StubUpstream) -> Ground {
    let receiver = |key: &str| format!("WEBHOOKS__RECEIVERS__LAMBDA_SERVICE__{key}");
    Ground::new()
        .await
        .file("webhooks.allow = [\"127.0.0.1\"]")
        .with("WEBHOOKS__RETRY_FIRST", "100ms")
        .with("WEBHOOKS__TIMEOUT", "1s")
        .with("CREATION__DEADLINE", "2s")
        .with(&receiver("URL"), stub.url("/webhooks/build-status/{job_id}"))
        .with(&receiver("SECRET"), SECRET)
        .with(&receiver("REGISTERS"), "true")
}

fn body(name: &str) -> Value {
    json!({"name": name, "runtime": "python3.11", "code": ECHO, "environment": {"A": "1"}})
}

async fn create(system: &System, key: Option<&str>, body: &Value) -> system::Answer {
    let request = system.request(Method::POST, PATH).body(body.to_string());
    let request = key.map_or_else(
        || request.try_clone().unwrap(),
        |key| request.try_clone().unwrap().header("idempotency-key", key),
    );
    system.try_send(request).await.unwrap()
}

/// What a request told, if it is of this event.
fn told(request: &RecordedRequest, event: &str) -> Option<Value> {
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    (body["type"] == event).then(|| body["data"].clone())
}

#[tokio::test]
async fn a_function_is_registered_before_its_creation_is_answered() {
    let stub = StubUpstream::start(|_| Answer::new(204, "")).await;
    let system = ground(&stub).await.start("master").await;
    let created = create(&system, None, &body("f")).await;
    let completed: Vec<Value> = stub.requests().iter().filter_map(|request| told(request, "build.completed")).collect();
    assert_eq!((created.status, created.content_type.as_str()), (201, "application/json"), "{created:?}");
    let [registered, ..] = &completed[..] else { panic!("it was answered before it was registered") };
    for request in stub.requests() {
        Webhook::new(SECRET).unwrap().verify(&request.body, &request.headers).expect("it is signed");
    }
    let digest = blake3::hash(ECHO.as_bytes()).to_hex().to_string();
    let function = json!({
        "name": "f", "runtime": "python3.11", "handler": "handler", "timeout": 30, "memory": 128,
        "environment": {"A": "1"}, "created_at": created.body["created_at"],
    });
    assert_eq!((&registered["function"], &registered["artifact_key"]), (&function, &json!(digest)));
    assert_eq!(
        system.ground.bucket.keys(),
        std::slice::from_ref(&digest),
        "under the key that the monolith gives it too"
    );
    let summary = json!({
        "function_id": registered["function_id"], "name": "f", "runtime": "python3.11",
        "created_at": created.body["created_at"],
    });
    assert_eq!(created.body, summary);

    let job_id = registered["job_id"].as_str().unwrap();
    let build = system.ended(job_id).await;
    assert_eq!((&build["status"], &build["artifact_digest"]), (&json!("completed"), &json!(digest)), "{build:#}");
    // Who has registered it is not told again, when it may have been deleted.
    let told = system.get(&format!("/builds/{job_id}/deliveries")).await.body;
    let of_end = told["deliveries"].as_array().unwrap().iter().find(|one| one["status"] == "completed").unwrap();
    assert_eq!((&of_end["state"], &of_end["attempts"]), (&json!("delivered"), &json!([])), "{told:#}");
    let retry = system.post(&format!("/builds/{job_id}/retry"), &json!({})).await;
    assert_eq!(retry.status, 409, "{retry:?}");
    // A package of the same name is its next version.
    let next = system.submit(json!({"name": "f", "warm": true})).await;
    let next = system.get(&format!("/builds/{next}")).await.body;
    assert_eq!((&next["function_id"], &next["version"]), (&registered["function_id"], &json!(2)));
    assert!(!system.service.log().contains(SECRET.trim_start_matches("whsec_")));
}

#[tokio::test]
async fn what_is_refused_is_refused_as_the_monolith_refuses_it() {
    let stub = StubUpstream::start(|_| Answer::new(409, "{\"error\": \"function_exists\"}")).await;
    let system = ground(&stub).await.with("HTTP__BODY_LIMIT", "64 KiB").start("master").await;
    let with = |field: &str, value: Value| {
        let mut body = body("f");
        body[field] = value;
        body
    };
    for (body, status, code) in [
        (json!([]), 400, "invalid_request"),
        (with("code", json!("")), 400, "invalid_request"),
        (with("timeout", json!(901)), 400, "validation_failed"),
        (with("runtime", json!("cobol")), 400, "invalid_runtime"),
        (with("code", json!("#".repeat(70_000))), 413, "payload_too_large"),
        (body("f"), 409, "function_exists"),
    ] {
        let answer = create(&system, None, &body).await;
        assert_eq!((answer.status, &answer.body["error"]), (status, &json!(code)), "{answer:?}");
        assert_eq!(answer.content_type, "application/json");
        assert!(answer.body["message"].as_str().is_some_and(|message| !message.is_empty()));
    }
    // The taken name is the only one that got as far as a job, and it has failed by that.
    let builds = system.get("/builds").await.body;
    assert_eq!(builds["builds"].as_array().unwrap().len(), 1, "{builds:#}");
    assert_eq!(builds["builds"][0]["error"]["code"], "function_exists");
    assert_eq!(system.metric("build_creations_total{outcome=\"function_exists\"}").await, 1.0);
}

#[tokio::test]
async fn one_key_creates_one_function() {
    let stub = StubUpstream::start(|_| Answer::new(204, "").after(Duration::from_millis(200))).await;
    let system = ground(&stub).await.start("master").await;
    let wanted = body("f");
    let answers = futures::future::join_all((0..8).map(|_| create(&system, Some("k"), &wanted))).await;
    for answer in &answers {
        assert_eq!((answer.status, &answer.body), (201, &answers[0].body), "{answer:?}");
    }
    let other = create(&system, Some("k"), &body("g")).await;
    assert_eq!((other.status, &other.body["error"]), (422, &json!("idempotency_key_reused")), "{other:?}");
    let crossed = system.request(Method::POST, "/functions").header("idempotency-key", "k");
    let crossed = system.try_send(crossed.json(&system::function(json!({})))).await.unwrap();
    assert_eq!(crossed.status, 422, "the key is one of both ways to ask: {crossed:?}");
    assert_eq!(system.get("/builds").await.body["builds"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_registration_that_stays_unclear_is_taken_back() {
    let failing = StubUpstream::start(|_| Answer::new(500, "")).await;
    let system = ground(&failing).await.with("CREATION__DEADLINE", "1s").start("master").await;
    for answer in [Answer::new(500, ""), Answer::new(401, ""), Answer::cut(), Answer::new(204, "").after(SOON)] {
        failing.set(move |request| match told(request, "build.completed") {
            Some(_) => answer.clone(),
            None => Answer::new(204, ""),
        });
        let refused = create(&system, Some("k"), &body("f")).await;
        assert_eq!((refused.status, &refused.body["error"]), (503, &json!("service_unavailable")), "{refused:?}");
        let builds = system.get("/builds?limit=1").await.body;
        let build = &builds["builds"][0];
        assert_eq!((&build["status"], &build["error"]["code"]), (&json!("failed"), &json!("not_registered")));
        // Whoever has registered it all the same hears of it.
        eventually(SOON, || async {
            let failed = failing.requests().iter().filter_map(|request| told(request, "build.failed")).next_back();
            failed.is_some_and(|failed| failed["job_id"] == build["job_id"])
        })
        .await;
    }
    // A passing failure is none, and the key was free all along.
    let attempts = AtomicUsize::new(0);
    failing.set(move |request| match told(request, "build.completed") {
        Some(_) if attempts.fetch_add(1, Ordering::Relaxed) < 2 => Answer::new(503, ""),
        _ => Answer::new(204, ""),
    });
    let created = create(&system, Some("k"), &body("f")).await;
    assert_eq!(created.status, 201, "{created:?}");
    assert_eq!(create(&system, Some("k"), &body("f")).await.body, created.body);
}

/// Nobody is configured that could run it.
#[tokio::test]
async fn without_a_receiver_that_registers_there_is_no_function() {
    let system = Ground::new().await.with("CREATION__DEADLINE", "300ms").start("master").await;
    let refused = create(&system, None, &body("f")).await;
    assert_eq!((refused.status, &refused.body["error"]), (503, &json!("service_unavailable")), "{refused:?}");
}

/// SIGKILL while a function is being registered: its client asks again with its key, and there is one.
#[tokio::test]
async fn kill_of_a_master_that_creates_leaves_one_function_or_none() {
    let stub = StubUpstream::start(|_| Answer::new(204, "").after(Duration::from_millis(5))).await;
    let mut system = ground(&stub).await.with("CREATION__DEADLINE", "500ms").start("master").await;
    let rounds = 12;
    for round in 0..rounds {
        let (key, wanted) = (format!("key-{round}"), body(&format!("f-{round}")));
        let request = system.request(Method::POST, PATH).header("idempotency-key", &key).body(wanted.to_string());
        // A moment of the request that differs from round to round.
        let patience = Duration::from_micros(1_500 * round);
        let early = tokio::time::timeout(patience, system.try_send(request)).await;
        system.service.kill().await;
        system.service.start_again().await;
        let answer = std::sync::Mutex::new(None);
        eventually(SOON, || async {
            let again = create(&system, Some(&key), &wanted).await;
            let is_done = again.status == 201;
            assert!(is_done || again.status == 503, "{again:?}");
            *answer.lock().unwrap() = Some(again);
            is_done
        })
        .await;
        if let Ok(Ok(early)) = early {
            assert_eq!(Some(early), answer.into_inner().unwrap(), "what was answered before the kill still holds");
        }
    }
    let states = jobs_that_ended_once(&system).await;
    assert_eq!(states.len() as u64, rounds, "one key is one function");
    assert!(states.values().all(|state| state == "completed"), "{states:?}");
}
