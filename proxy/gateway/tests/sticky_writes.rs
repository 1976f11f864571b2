//! Read-your-writes.

use std::time::Duration;

use reqwest::Method;

use crate::harness::{Behaviour, Gateway, Instance, Stub, config, eventually};

/// The writes of the route `invoke`, and the reads of the same keys.
fn route(window: &str, salt: &str) -> String {
    format!(
        r#"
[routes.sticky_writes]
window = "{window}"
[[routes]]
name = "read"
methods = ["GET"]
path = "/f/{{id}}/invoke"
key = "path:id"
salt = "{salt}"
legacy = "legacy"
candidate = "candidate"
[routes.sticky_writes]
window = "{window}"
"#
    )
}

fn start(legacy: &Stub, candidate: &Stub, window: &str) -> Gateway {
    Gateway::start(&config(legacy.address, candidate.address, &route(window, "invoke"), ""), "")
}

/// The side that a key is read from.
async fn read(gateway: &Gateway, key: &str) -> String {
    let answer = gateway.client.get(gateway.url(&format!("/f/{key}/invoke"))).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.headers()["x-served-by"].to_str().unwrap().to_owned()
}

/// Both routes at this share.
async fn both_at(gateway: &Gateway, percent: u8) {
    gateway.edit_rollout(&format!("[routes.invoke]\npercent = {percent}\n[routes.read]\npercent = {percent}\n"));
    eventually("it is in force", async || {
        let status = gateway.status().await;
        (0..2).all(|route| status["routes"][route]["percent"] == f64::from(percent))
    })
    .await;
}

async fn metric(gateway: &Gateway, series: &str) -> u64 {
    let metrics = gateway.metrics().await;
    let line = metrics.lines().find(|line| line.starts_with(series));
    line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_read_where_it_was_written_until_the_window_is_over() {
    let (legacy, candidate) = (Stub::start("legacy"), Stub::start("candidate"));
    let gateway = start(&legacy, &candidate, "3s");
    both_at(&gateway, 100).await;
    assert_eq!(gateway.side_of("k").await, "candidate", "written there");
    both_at(&gateway, 0).await;
    assert_eq!(read(&gateway, "k").await, "candidate");
    assert_eq!(gateway.side_of("k").await, "candidate", "further writes too");
    assert_eq!(read(&gateway, "another").await, "legacy");
    eventually("the log says why", async || {
        let log = gateway.access_log();
        log.iter().any(|line| line["key"] == "k" && line["side"] == "candidate" && line["reason"] == "sticky_write")
    })
    .await;
    eventually("the window is over", async || read(&gateway, "k").await == "legacy").await;
    assert_eq!(metric(&gateway, "gateway_sticky_writes_total{route=\"invoke\",side=\"candidate\"}").await, 2);
    // The other way round as well.
    assert_eq!(gateway.side_of("k").await, "legacy");
    both_at(&gateway, 100).await;
    assert_eq!(read(&gateway, "k").await, "legacy");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_ends_it_and_so_does_a_candidate_that_is_gone() {
    let (legacy, mut candidate) = (Stub::start("legacy"), Stub::start("candidate"));
    let gateway = start(&legacy, &candidate, "10m");
    both_at(&gateway, 100).await;
    assert_eq!(gateway.side_of("k").await, "candidate");
    let (status, _) = gateway.admin(Method::POST, "/api/v1/rollback", None).await;
    assert_eq!(status, 200);
    assert_eq!(read(&gateway, "k").await, "legacy");

    gateway
        .admin(
            Method::PUT,
            "/api/v1/routes/invoke/weight",
            Some(serde_json::json!({ "percent": 100, "actor": "a", "reason": "b" })),
        )
        .await;
    assert_eq!(gateway.side_of("m").await, "candidate");
    assert_eq!(read(&gateway, "m").await, "candidate", "the route of the reads is at 0 %");
    candidate.kill();
    assert_eq!(read(&gateway, "m").await, "legacy");
    assert_eq!(metric(&gateway, "gateway_sticky_writes_broken_total{route=\"read\"}").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_outcome_nobody_knows_counts_and_one_that_was_refused_does_not() {
    let (legacy, candidate) = (Instance::start(Behaviour::Answer(200)), Instance::start(Behaviour::Answer(404)));
    let gateway = Gateway::start(
        &config(legacy.address, candidate.address, &route("10m", "invoke"), ""),
        "[routes.invoke]\npercent = 100\n",
    );
    assert_eq!(gateway.invoke("refused").await.status(), 404);
    candidate.set(Behaviour::Reset);
    assert_eq!(gateway.invoke("unknown").await.status(), 502);
    candidate.set(Behaviour::Answer(200));
    assert_eq!(read(&gateway, "refused").await, "legacy");
    assert_eq!(read(&gateway, "unknown").await, "candidate");
}

#[tokio::test(flavor = "multi_thread")]
async fn even_a_read_that_follows_at_once_finds_the_write() {
    let (legacy, candidate) = (Stub::start("legacy"), Stub::start("candidate"));
    let gateway = start(&legacy, &candidate, "10m");
    both_at(&gateway, 0).await;
    gateway.set_weight(100.0).await;
    for key in 0..300 {
        let key = key.to_string();
        assert_eq!(gateway.side_of(&key).await, "candidate");
        // Another connection, which the first knows nothing of.
        let answer =
            reqwest::Client::new().get(gateway.url(&format!("/f/{key}/invoke"))).timeout(Duration::from_secs(10));
        assert_eq!(answer.send().await.unwrap().headers()["x-served-by"], "candidate");
    }
}
