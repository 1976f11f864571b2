//! Messages to receivers: signed, tried again, listed, replayed.

use std::time::Duration;

use serde_json::{Value, json};
use standardwebhooks::Webhook;
use testkit::{Answer, StubUpstream, eventually};

use crate::system::{Ground, SECRET, SOON, System};

const RECEIVER_SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDC2FVsBQ=";

async fn system(settings: &[(&str, &str)]) -> System {
    let mut ground = Ground::new()
        .await
        .with("WEBHOOKS__SECRET", SECRET)
        .file("webhooks.allow = [\"127.0.0.1\"]")
        .with("WEBHOOKS__RETRY_FIRST", "50ms");
    for (name, value) in settings {
        ground = ground.with(name, *value);
    }
    ground.start("both").await
}

async fn deliveries(system: &System, job_id: &str) -> Vec<Value> {
    let answer = system.get(&format!("/builds/{job_id}/deliveries")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body["deliveries"].as_array().unwrap().clone()
}

async fn all_are(system: &System, job_id: &str, state: &str, count: usize) -> Vec<Value> {
    eventually(SOON, || async {
        let found = deliveries(system, job_id).await;
        found.len() == count && found.iter().all(|delivery| delivery["state"] == state)
    })
    .await;
    deliveries(system, job_id).await
}

#[tokio::test]
async fn every_transition_is_told_signed_and_tried_again_under_one_id() {
    let stub = StubUpstream::start(|_| Answer::new(204, "")).await;
    let fails = std::sync::atomic::AtomicUsize::new(0);
    stub.set(move |_| {
        let n = fails.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if n.is_multiple_of(2) { Answer::new(503, "later") } else { Answer::new(204, "") }
    });
    let system = system(&[]).await;
    let own = json!({"webhook_url": stub.url("/own?token=1"), "webhook_secret": RECEIVER_SECRET, "environment": {"KEY": "hidden"}});
    let job_id = system.submit(own).await;
    let listed = all_are(&system, &job_id, "delivered", 3).await;
    for delivery in &listed {
        assert_eq!(delivery["receiver"], "client");
        let attempts = delivery["attempts"].as_array().unwrap();
        for attempt in &attempts[..attempts.len() - 1] {
            assert_eq!((&attempt["status"], &attempt["response"]), (&json!(503), &json!("later")));
        }
        assert_eq!(attempts.last().unwrap()["status"], 204);
    }
    let webhook = Webhook::new(RECEIVER_SECRET).unwrap();
    let mut told: Vec<(i64, String)> = Vec::new();
    for request in stub.requests() {
        webhook.verify(&request.body, &request.headers).expect("it is signed with the client's own secret");
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(body["type"], format!("build.{}", body["data"]["status"].as_str().unwrap()));
        assert_eq!(body["data"]["job_id"], job_id);
        assert!(!String::from_utf8_lossy(&request.body).contains("hidden"), "the environment is told to nobody");
        let id = request.headers["webhook-id"].to_str().unwrap();
        let known = listed.iter().find(|delivery| delivery["delivery_id"] == id).unwrap();
        assert_eq!(known["sequence"], body["data"]["sequence"]);
        told.push((body["data"]["sequence"].as_i64().unwrap(), body["data"]["status"].as_str().unwrap().to_owned()));
    }
    told.sort();
    told.dedup();
    assert_eq!(told, [(1, "queued".to_owned()), (2, "building".to_owned()), (3, "completed".to_owned())]);
    let log = system.service.log();
    for secret in [SECRET, RECEIVER_SECRET, "token=1"] {
        assert!(!log.contains(secret.trim_start_matches("whsec_")), "a secret is in the log");
    }
}

#[tokio::test]
async fn what_was_given_up_is_kept_and_can_be_replayed() {
    let stub = StubUpstream::start(|_| Answer::new(500, "")).await;
    let system = system(&[("WEBHOOKS__MAX_ATTEMPTS", "3")]).await;
    let job_id = system.submit(json!({"webhook_url": stub.url("/")})).await;
    let listed = all_are(&system, &job_id, "given_up", 3).await;
    assert!(listed.iter().all(|delivery| delivery["attempts"].as_array().unwrap().len() == 3), "{listed:#?}");
    stub.set(|_| Answer::new(200, "thanks"));
    let id = listed[2]["delivery_id"].as_str().unwrap();
    let replay = system.post(&format!("/builds/{job_id}/deliveries/{id}/replay"), &json!({})).await;
    assert_eq!(replay.status, 202);
    eventually(SOON, || async { deliveries(&system, &job_id).await[2]["state"] == "delivered" }).await;
    let delivery = &deliveries(&system, &job_id).await[2];
    assert_eq!(delivery["attempts"].as_array().unwrap().len(), 4);
    assert_eq!(delivery["attempts"][3]["response"], "thanks");
    let unknown = system.post(&format!("/builds/{job_id}/deliveries/{job_id}/replay"), &json!({})).await;
    assert_eq!(unknown.status, 404);
    assert_eq!(system.get("/builds/018f3c5e-7d1a-7cc3-8a51-0b8c1c0d9e2f/deliveries").await.status, 404);
}

#[tokio::test]
async fn nothing_hidden_is_reached() {
    let stub = StubUpstream::start(|_| Answer::new(200, "")).await;
    let system =
        Ground::new().await.with("WEBHOOKS__SECRET", SECRET).with("WEBHOOKS__MAX_ATTEMPTS", "1").start("both").await;
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0"] {
        let url = format!("http://{host}:{}/", stub.address().port());
        let job_id = system.submit(json!({"webhook_url": url})).await;
        let listed = all_are(&system, &job_id, "given_up", 3).await;
        let error = listed[0]["attempts"][0]["error"].as_str().unwrap();
        assert!(error.contains("may not go"), "{error}");
        assert_eq!(system.ended(&job_id).await["status"], "completed", "a build does not wait for its receivers");
    }
    assert_eq!(stub.count(), 0);
}

#[tokio::test]
async fn a_slow_receiver_holds_nothing_up() {
    let slow = StubUpstream::start(|_| Answer::new(200, "").after(Duration::from_secs(30))).await;
    let quick = StubUpstream::start(|_| Answer::new(200, "")).await;
    let system = system(&[("WEBHOOKS__TIMEOUT", "300ms"), ("WEBHOOKS__CONCURRENCY", "4")]).await;
    let waiting = system.submit(json!({"webhook_url": slow.url("/")})).await;
    let served = system.submit(json!({"webhook_url": quick.url("/")})).await;
    all_are(&system, &served, "delivered", 3).await;
    eventually(SOON, || async {
        let found = deliveries(&system, &waiting).await;
        found.iter().any(|delivery| delivery["attempts"][0]["error"] == "there was no answer in time")
    })
    .await;
}
