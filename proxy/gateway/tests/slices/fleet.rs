//! Fences of several gateways that share their rollout.

use std::time::{Duration, Instant};

use serde_json::json;
use testkit::PrivatePostgres;

use super::Sides;
use crate::{
    control::shared,
    harness::{Gateway, eventually},
};

/// So many gateways over the sides.
async fn fleet(count: usize, sides: &Sides, url: &str) -> Vec<Gateway> {
    let config = shared(&sides.config(""), url);
    let config = config.replacen("connect_timeout", "instance_lease = \"1500ms\"\nconnect_timeout", 1);
    let gateways: Vec<Gateway> = (0..count).map(|_| Gateway::start(&config, "")).collect();
    eventually("each knows of all", async || {
        let (status, fence) = gateways[0].place("all", 200, 200).await;
        let known = status == 200 && fence["gateways"].as_array().unwrap().len() == count;
        gateways[0].lift("all").await;
        known
    })
    .await;
    gateways
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_stands_in_every_gateway_and_is_drained_when_each_says_so() {
    let database = testkit::postgres().await;
    let sides = Sides::start();
    let gateways = fleet(2, &sides, &database.url).await;
    let [one, other] = [&gateways[0], &gateways[1]];
    let slow = other.client.post(other.url("/f/slow/invoke")).header("x-test-hold", "1").body("{}");
    let slow = tokio::spawn(slow.send());
    eventually("a write is under way through the other", async || sides.legacy.seen().len() == 1).await;
    assert_eq!(one.place("t", 20_000, 20_000).await.0, 200);
    eventually("both have closed", async || {
        let (_, fence) = one.fence("t").await;
        fence["gateways"].as_array().unwrap().iter().all(|gateway| !gateway["found"].is_null())
    })
    .await;
    let (_, fence) = one.fence("t").await;
    assert_eq!(fence["drained"], false, "{fence}");
    assert_eq!(one.set_stage("cut-over", Some("t")).await.0, 409, "the other has a write in flight");
    let (client, url) = (other.client.clone(), other.url("/f/k/invoke"));
    let held = tokio::spawn(async move { client.post(url).body("{}").send().await.unwrap() });
    eventually("it waits there", async || other.fence("t").await.1["waiting"] == 1).await;
    // One that starts now stands behind it, too.
    let third = Gateway::start(
        &shared(&sides.config(""), &database.url).replacen(
            "connect_timeout",
            "instance_lease = \"1500ms\"\nconnect_timeout",
            1,
        ),
        "",
    );
    assert_eq!(third.fence("t").await.0, 200, "before it serves");
    sides.legacy.release_held();
    assert_eq!(slow.await.unwrap().unwrap().status(), 200);
    eventually("drained everywhere", async || one.fence("t").await.1["drained"] == true).await;
    let (status, flipped) = one.set_stage("cut-over", Some("t")).await;
    assert_eq!(status, 200, "{flipped}");
    eventually("in force everywhere", async || {
        let (_, fence) = one.fence("t").await;
        let gateways = fence["gateways"].as_array().unwrap();
        gateways.len() == 3 && gateways.iter().all(|gateway| gateway["revision"] == flipped["revision"])
    })
    .await;
    assert_eq!(other.lift("t").await.0, 200, "whoever has the token, by whichever gateway");
    let answer = held.await.unwrap();
    assert_eq!(answer.json::<serde_json::Value>().await.unwrap()["stub"], "own");
    for gateway in [one, other, &third] {
        assert_eq!(gateway.write("k").await, "own");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_gone_is_waited_for_until_its_lease_is_over() {
    let database = testkit::postgres().await;
    let sides = Sides::start();
    let mut gateways = fleet(2, &sides, &database.url).await;
    drop(gateways.pop());
    let one = &gateways[0];
    let started = Instant::now();
    let (status, fence) = one.place("t", 20_000, 20_000).await;
    assert_eq!((status, &fence["drained"]), (200, &json!(false)), "{fence}");
    eventually("it is not waited for any more", async || one.fence("t").await.1["drained"] == true).await;
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert_eq!(one.lift("t").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_store_there_is_no_fence_and_one_that_stands_ends() {
    let mut postgres = PrivatePostgres::start().await;
    let sides = Sides::start();
    let gateways = fleet(2, &sides, &postgres.url("postgres")).await;
    assert_eq!(gateways[0].place("t", 20_000, 2_000).await.0, 200);
    postgres.stop().await;
    let answers = tokio::join!(gateways[0].write("k"), gateways[1].write("k"));
    assert_eq!(answers, ("legacy".to_owned(), "legacy".to_owned()), "each let go by itself");
    let (status, answer) = gateways[0].place("u", 1_000, 1_000).await;
    assert_eq!((status, &answer["error"]), (503, &json!("rollout_store_away")), "{answer}");
}
