//! What a fence holds, and that it ends.

use std::time::{Duration, Instant};

use serde_json::json;

use super::Place;
use crate::harness::eventually;

/// What the slack of a loaded machine may add to a bound.
const SLACK: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn writes_wait_reads_go_on_and_what_was_in_flight_is_waited_for() {
    let Place { sides, gateway } = Place::start("");
    // A write is under way.
    let slow = gateway.client.post(gateway.url("/f/slow/invoke")).header("x-test-hold", "1").body("{}");
    let slow = tokio::spawn(slow.send());
    eventually("it has arrived", async || sides.legacy.seen().len() == 1).await;
    let (status, fence) = gateway.place("t", 20_000, 20_000).await;
    assert_eq!((status, &fence["drained"], &fence["in_flight"]), (200, &json!(false), &json!(1)), "{fence}");
    // Another waits in the gateway, and so does one to the side that legacy does not have.
    let (client, url) = (gateway.client.clone(), gateway.url("/f/k/invoke"));
    let held = tokio::spawn(async move { client.post(url).body("{}").send().await.unwrap() });
    let (client, url) = (gateway.client.clone(), gateway.url("/new/k"));
    let held_too = tokio::spawn(async move { client.post(url).body("abc").send().await.unwrap() });
    eventually("both wait", async || gateway.fence("t").await.1["waiting"] == 2).await;
    assert_eq!(gateway.fence("t").await.1["waiting_bytes"], 5);
    assert_eq!(gateway.read("k").await, "legacy", "reads go on");
    let other = gateway.client.post(gateway.url("/files/x")).send().await.unwrap();
    assert_eq!(other.status(), 200, "and what is of no slice");
    assert!(!held.is_finished() && !held_too.is_finished());
    assert_eq!(gateway.set_stage("cut-over", Some("t")).await.0, 409, "a write is in flight");
    sides.legacy.release_held();
    assert_eq!(slow.await.unwrap().unwrap().status(), 200);
    eventually("it is drained", async || gateway.fence("t").await.1["drained"] == true).await;
    let (_, fence) = gateway.fence("t").await;
    assert_eq!(fence["gateways"][0]["found"], 1, "{fence}");
    assert!(fence["gateways"][0]["drained_after_ms"].as_f64().unwrap() > 0.0, "{fence}");

    // Whoever waits is served by the owner that is in force when the fence is lifted.
    assert_eq!(gateway.set_stage("cut-over", Some("t")).await.0, 200);
    assert!(!held.is_finished());
    let (status, lifted) = gateway.lift("t").await;
    assert_eq!((status, &lifted["released"]), (200, &json!(2)), "{lifted}");
    for held in [held, held_too] {
        let answer = held.await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.json::<serde_json::Value>().await.unwrap()["stub"], "own");
    }
    let metrics = gateway.metrics().await;
    for line in [
        "gateway_fences_total{end=\"lifted\",slice=\"orders\"} 1",
        "gateway_fence_waiting{slice=\"orders\"} 0",
        "gateway_fence_standing{slice=\"orders\"} 0",
        "gateway_fence_waited_seconds_count{slice=\"orders\"} 2",
        "gateway_fence_held_seconds_count{slice=\"orders\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_is_told_when_the_last_write_has_ended_or_the_fence() {
    let Place { sides, gateway } = Place::start("");
    let slow = gateway.client.post(gateway.url("/f/slow/invoke")).header("x-test-hold", "1").body("{}");
    let slow = tokio::spawn(slow.send());
    eventually("it has arrived", async || sides.legacy.seen().len() == 1).await;
    assert_eq!(gateway.place("t", 20_000, 20_000).await.0, 200);
    let (status, fence) = gateway.drained_fence("t", 20).await;
    assert_eq!((status, &fence["drained"]), (200, &json!(false)), "after so long");
    let started = Instant::now();
    let ((status, answer), _) = tokio::join!(gateway.drained_fence("t", 19_000), gateway.lift("t"));
    assert_eq!((status, &answer["error"]), (409, &json!("fence_not_held")), "{answer}");
    assert!(started.elapsed() < SLACK, "{:?}", started.elapsed());

    assert_eq!(gateway.place("u", 20_000, 20_000).await.0, 200);
    let started = Instant::now();
    let release = async {
        assert_eq!(gateway.fence("u").await.1["drained"], false);
        sides.legacy.release_held();
    };
    let ((status, fence), ()) = tokio::join!(gateway.drained_fence("u", 19_000), release);
    assert_eq!((status, &fence["drained"]), (200, &json!(true)), "{fence}");
    assert!(started.elapsed() < SLACK, "{:?}", started.elapsed());
    assert_eq!(slow.await.unwrap().unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_that_nobody_renews_ends_and_nothing_fails() {
    let Place { sides: _sides, gateway } = Place::start("");
    let started = Instant::now();
    assert_eq!(gateway.place("t", 20_000, 400).await.0, 200);
    assert_eq!(gateway.write("k").await, "legacy");
    let waited = started.elapsed();
    assert!(waited >= Duration::from_millis(395) && waited < Duration::from_millis(400) + SLACK, "{waited:?}");
    assert_eq!(gateway.fence("t").await.0, 409);
    let renewed =
        gateway.admin(reqwest::Method::PUT, super::FENCE, Some(json!({ "token": "t", "lease_ms": 100 }))).await;
    assert_eq!((renewed.0, &renewed.1["error"]), (409, &json!("fence_not_held")), "writes have passed");
    // Renewed again and again, it ends at its bound.
    let started = Instant::now();
    assert_eq!(gateway.place("u", 600, 300).await.0, 200);
    let renewing = async {
        let body = || Some(json!({ "token": "u", "lease_ms": 300 }));
        while gateway.admin(reqwest::Method::PUT, super::FENCE, body()).await.0 == 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let (side, ()) = tokio::join!(gateway.write("k"), renewing);
    let waited = started.elapsed();
    assert!(side == "legacy" && waited >= Duration::from_millis(595), "{waited:?}");
    assert!(waited < Duration::from_millis(600) + SLACK, "{waited:?}");
    assert!(gateway.metrics().await.contains("gateway_fences_total{end=\"expired\",slice=\"orders\"} 2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_holder_at_a_time_and_no_fence_without_bounds() {
    let Place { sides: _sides, gateway } = Place::start("");
    for (hold, lease) in [(20_001, 1_000), (0, 1_000), (1_000, 0)] {
        let (status, answer) = gateway.place("t", hold, lease).await;
        assert_eq!((status, &answer["error"]), (400, &json!("invalid_hold")));
    }
    assert_eq!(gateway.place("", 1_000, 1_000).await.0, 400);
    assert_eq!(gateway.place("t", 20_000, 20_000).await.0, 200);
    let (status, answer) = gateway.place("u", 1_000, 1_000).await;
    assert_eq!((status, &answer["error"]), (409, &json!("fence_stands")));
    assert_eq!(gateway.lift("u").await.0, 409, "it is not theirs");
    assert_eq!(gateway.set_stage("cut-over", Some("u")).await.0, 409);
    assert_eq!(gateway.set_stage("cut-over", None).await.0, 409, "rows change their owner behind a fence");
    assert_eq!(gateway.lift("t").await.0, 200);
    assert_eq!(gateway.set_stage("cut-over", Some("t")).await.0, 409);
    let unknown = gateway.admin(reqwest::Method::GET, "/api/v1/slices/none/fence?token=t", None).await;
    assert_eq!((unknown.0, &unknown.1["error"]), (404, &json!("slice_not_found")));
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_may_wait_are_told_to_come_again() {
    let Place { sides, gateway } = Place::start("max_waiting = 3");
    assert_eq!(gateway.place("t", 20_000, 9_500).await.0, 200);
    let held: Vec<_> = (0..3)
        .map(|key| {
            let (client, url) = (gateway.client.clone(), gateway.url(&format!("/f/{key}/invoke")));
            tokio::spawn(async move { client.post(url).body("{}").send().await.unwrap().status() })
        })
        .collect();
    eventually("three wait", async || gateway.fence("t").await.1["waiting"] == 3).await;
    let refused = gateway.invoke("k").await;
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (503, &"10".parse().unwrap()));
    assert_eq!(refused.json::<serde_json::Value>().await.unwrap()["error"], "write_held");
    assert!(sides.legacy.seen().is_empty());
    assert_eq!(gateway.lift("t").await.0, 200);
    for held in held {
        assert_eq!(held.await.unwrap(), 200);
    }
    assert!(gateway.metrics().await.contains("gateway_fence_refused_total{reason=\"too_many\",slice=\"orders\"} 1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_leaves_no_fence_standing() {
    let Place { sides: _sides, mut gateway } = Place::start("");
    assert_eq!(gateway.place("t", 20_000, 20_000).await.0, 200);
    gateway.kill_and_restart();
    assert_eq!(gateway.write("k").await, "legacy");
    assert!(gateway.slice().await["fence"].is_null());
}
