//! The candidate is left while requests wait on it.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;
use tokio::task::JoinSet;
use xxhash_rust::xxh3::xxh3_64;

use super::{addresses, metric, start};
use crate::harness::{Behaviour, Gateway, Instance, Wire, eventually};

const RECALLED: &str = "gateway_recalled_requests_total{route=\"invoke\"}";

/// Far longer than any of these tests.
const PATIENT: &str = "read_timeout = \"5m\"";

async fn roll_back(gateway: &Gateway) {
    let (status, answer) = gateway.admin(Method::POST, "/api/v1/rollback", None).await;
    assert_eq!(status, 200, "{answer}");
}

/// A request that waits on a candidate which never answers; its status once it has one.
async fn send_waiting(
    gateway: &Gateway,
    candidate: &Instance,
    requests: &mut JoinSet<u16>,
    method: Method,
    body: &[u8],
) {
    let before = candidate.in_flight();
    let request = gateway.client.request(method, gateway.url("/f/k")).body(body.to_vec());
    requests.spawn(async move { request.send().await.unwrap().status().as_u16() });
    eventually("the candidate has it", async || candidate.in_flight() > before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_on_a_silent_candidate_is_asked_of_legacy_at_once() {
    let (legacy, mut candidate) = (Instance::start(Behaviour::Answer(200)), Instance::start(Behaviour::Hang));
    let gateway = start(&legacy, &format!("{}\n{PATIENT}", addresses([&candidate])), "");
    let (mut safe, mut unsafe_) = (JoinSet::new(), JoinSet::new());
    for _ in 0..10 {
        send_waiting(&gateway, &candidate, &mut safe, Method::GET, b"").await;
    }
    send_waiting(&gateway, &candidate, &mut unsafe_, Method::POST, b"once").await;
    send_waiting(&gateway, &candidate, &mut unsafe_, Method::PUT, b"the route does not say that it may be repeated")
        .await;
    roll_back(&gateway).await;
    let returned = Instant::now();
    assert_eq!(safe.join_all().await, [200; 10]);
    let waited = returned.elapsed();
    assert!(waited < Duration::from_secs(5), "{waited:?}");
    assert_eq!((legacy.requests(), metric(&gateway, RECALLED).await), (10, 10));
    eventually("the log has them", async || gateway.access_log().len() == 10).await;
    let log = gateway.access_log();
    assert!(log.iter().all(|line| line["side"] == "legacy" && line["status"] == 200), "{log:?}");
    // They may have acted, so they wait for their answer.
    assert_eq!(candidate.in_flight(), 2);
    candidate.kill().await;
    assert_eq!(unsafe_.join_all().await, [502, 502]);
    assert_eq!(legacy.requests(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_being_answered_is_answered_by_the_candidate() {
    let legacy = Instance::start(Behaviour::Answer(200));
    let candidate = Instance::start(Behaviour::Hang);
    let gateway = start(&legacy, &format!("{}\n{PATIENT}", addresses([&candidate])), "");
    candidate.set(Behaviour::After(Duration::from_millis(300)));
    let mut requests = JoinSet::new();
    send_waiting(&gateway, &candidate, &mut requests, Method::POST, b"x").await;
    roll_back(&gateway).await;
    assert_eq!(requests.join_all().await, [200]);
    assert_eq!(legacy.requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_asked_of_legacy_whole_where_the_route_repeats_its_method() {
    let (legacy, candidate) = (Instance::start(Behaviour::Answer(200)), Instance::start(Behaviour::Hang));
    let settings = format!("{}\n{PATIENT}", addresses([&candidate]));
    let gateway = start(&legacy, &settings, "retries = { methods = [\"PUT\"] }");
    for size in [0, 1, 60_000, 64 * 1024] {
        let body: Vec<u8> = (0..size).map(|at: usize| u8::try_from(at % 251).unwrap()).collect();
        let mut requests = JoinSet::new();
        gateway.set_weight(100.0).await;
        send_waiting(&gateway, &candidate, &mut requests, Method::PUT, &body).await;
        eventually("the candidate has all of it", async || candidate.last_body() == (size, xxh3_64(&body))).await;
        roll_back(&gateway).await;
        assert_eq!(requests.join_all().await, [200], "{size} bytes");
        assert_eq!(legacy.last_body(), (size, xxh3_64(&body)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_shared_connection_the_candidate_is_waited_for_no_longer_than_its_timeout() {
    let (legacy, candidate) = (Instance::start(Behaviour::Answer(200)), Instance::speaking(Wire::H2c, Behaviour::Hang));
    let settings = format!("{}\nprotocol = \"h2c\"\nread_timeout = \"1s\"", addresses([&candidate]));
    let gateway = start(&legacy, &settings, "");
    let mut requests = JoinSet::new();
    send_waiting(&gateway, &candidate, &mut requests, Method::GET, b"").await;
    roll_back(&gateway).await;
    assert_eq!(requests.join_all().await, [200]);
    assert_eq!((legacy.requests(), metric(&gateway, RECALLED).await), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn load_under_rollbacks_at_any_moment_no_request_fails_and_none_is_answered_in_part() {
    let legacy = Instance::start(Behaviour::Answer(200));
    let candidate = Instance::start(Behaviour::After(Duration::from_millis(2)));
    let gateway = start(&legacy, &format!("{}\n{PATIENT}", addresses([&candidate])), "");
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for _ in 0..16 {
        let (client, url, stop) = (reqwest::Client::new(), gateway.url("/f/k"), stop.clone());
        clients.spawn(async move {
            let mut served = 0;
            while !stop.load(std::sync::atomic::Ordering::Acquire) {
                let answer = client.get(&url).send().await.unwrap();
                assert_eq!(answer.status(), 200);
                assert_eq!(answer.text().await.unwrap(), "answered 200");
                served += 1;
            }
            served
        });
    }
    let body = json!({ "percent": 100.0, "reason": "a test", "actor": "tester" });
    for _ in 0..40 {
        let before = candidate.requests();
        gateway.admin(Method::PUT, "/api/v1/routes/invoke/weight", Some(body.clone())).await;
        eventually("the candidate serves", async || candidate.requests() > before + 20).await;
        roll_back(&gateway).await;
    }
    stop.store(true, std::sync::atomic::Ordering::Release);
    let served: usize = clients.join_all().await.into_iter().sum();
    let recalled = metric(&gateway, RECALLED).await;
    assert!(recalled > 0, "the race was not run");
    eprintln!("{served} requests, {recalled} of them recalled in 40 rollbacks");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_of_the_file_that_raises_the_epoch_recalls_too() {
    let (legacy, candidate) = (Instance::start(Behaviour::Answer(200)), Instance::start(Behaviour::Hang));
    let gateway = start(&legacy, &format!("{}\n{PATIENT}", addresses([&candidate])), "");
    let mut requests = JoinSet::new();
    send_waiting(&gateway, &candidate, &mut requests, Method::GET, b"").await;
    gateway.edit_rollout("[routes.invoke]\npercent = 0\nepoch = 2\n");
    assert_eq!(requests.join_all().await, [200]);
    assert_eq!((legacy.requests(), metric(&gateway, RECALLED).await), (1, 1));
}
