//! The store goes away while gateways serve.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;
use testkit::PrivatePostgres;

use super::Fleet;
use crate::harness::{Load, eventually};

/// What a change waits for a store that does not answer: to connect, to write, each up to its limit,
/// and for the look that the follower is taking; the rest is for a loaded machine.
const REFUSED_WITHIN: Duration = Duration::from_secs(15);

#[derive(Debug, Clone, Copy)]
enum Blow {
    Stop,
    Kill,
    Pause,
}

#[tokio::test(flavor = "multi_thread")]
async fn chaos_a_store_that_stops_dies_or_hangs_costs_no_request_and_no_rollback() {
    let mut postgres = PrivatePostgres::start_durable().await;
    let fleet = Fleet::start(3, &postgres.url("postgres"), "[routes.invoke]\npercent = 50\n");
    fleet.reach(1).await;
    let load = Load::start(&fleet.gateways[0], 4);
    let elsewhere = Load::start(&fleet.gateways[1], 4);
    for (round, blow) in [Blow::Stop, Blow::Pause, Blow::Kill].into_iter().enumerate() {
        let [first, second, third] = fleet.gateways.as_slice() else { panic!("three gateways") };
        assert_eq!(first.weight(50.0).await.0, 200);
        let revision = first.document().await["revision"].as_u64().unwrap();
        fleet.reach(revision).await;
        match blow {
            Blow::Stop => postgres.stop().await,
            Blow::Kill => postgres.kill().await,
            Blow::Pause => postgres.pause(),
        }
        load.more(100).await;
        let asked = Instant::now();
        let (status, answer) = first.weight(60.0).await;
        assert_eq!(status, 503, "{blow:?}: {answer}");
        assert!(asked.elapsed() < REFUSED_WITHIN, "{blow:?}: refused after {:?}", asked.elapsed());
        assert!(answer["message"].as_str().unwrap().contains("nothing was changed"), "{answer}");

        let answer = second.roll_back().await;
        assert_eq!((&answer["persisted"], &answer["shared"]), (&json!(true), &json!(false)), "{blow:?}: {answer}");
        for key in 0..50 {
            assert_eq!(second.side_of(&format!("key-{key}")).await, "legacy");
        }
        eventually("a gateway says that it hears nothing", async || {
            third.status().await["rollout"]["store_up"] == json!(false)
        })
        .await;
        match blow {
            Blow::Pause => postgres.resume(),
            Blow::Stop | Blow::Kill => postgres.start_again().await,
        }
        for gateway in &fleet.gateways {
            let epoch = json!(round + 2);
            eventually("the rollback is everywhere", async || {
                let route = gateway.route_status().await;
                route["epoch"] == epoch && route["percent"] == json!(0.0)
            })
            .await;
            eventually("the trouble is over", async || gateway.status().await["reload_error"].is_null()).await;
        }
        load.more(100).await;
        elsewhere.more(100).await;
    }
    for samples in [load.stop().await, elsewhere.stop().await] {
        let failed: Vec<_> = samples.iter().filter(|sample| sample.outcome != Ok(200)).collect();
        assert!(failed.is_empty(), "{} of {} failed: {:?}", failed.len(), samples.len(), failed.first());
    }
    let log = fleet.gateways[2].history().await;
    let rollbacks = log.iter().filter(|entry| entry["kind"] == "rollback").count();
    assert_eq!(rollbacks, 3, "each rollback once");
    assert_eq!(fleet.gateways[2].verification(None).await["verified"], json!(true));
}

#[tokio::test(flavor = "multi_thread")]
async fn chaos_a_change_whose_outcome_is_unknown_says_so_or_is_made_once() {
    let database = testkit::postgres().await;
    let proxy = testkit::ChaosProxy::start(database.address()).await;
    let fleet = Fleet::start(1, &database.url_through(&proxy.address().to_string()), "");
    let gateway = &fleet.gateways[0];
    let mut acknowledged = Vec::new();
    let mut unknown = 0;
    for number in 1..=40_u32 {
        let percent = f64::from(number);
        let cut = async {
            // Anywhere between the first byte of the change and its answer.
            tokio::time::sleep(Duration::from_micros(u64::from(number) * 150)).await;
            proxy.cut().await;
        };
        let ((status, answer), ()) = tokio::join!(gateway.weight(percent), cut);
        match status {
            200 => acknowledged.push(percent.to_string()),
            503 if answer["error"] == "rollout_change_unknown" => unknown += 1,
            503 => assert_eq!(answer["error"], json!("rollout_store_away"), "{answer}"),
            _ => panic!("{status} {answer}"),
        }
    }
    eventually("the store is followed again", async || gateway.status().await["reload_error"].is_null()).await;
    let (_, log) = gateway.admin(Method::GET, "/api/v1/history?limit=1000", None).await;
    let set = |entry: &serde_json::Value| {
        let changes = entry["changes"].as_array().unwrap().iter();
        changes.filter(|change| change["key"] == "routes.invoke.percent").map(|change| change["after"].clone()).next()
    };
    let made: Vec<String> = log["entries"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(set)
        .map(|value| value.as_str().unwrap().to_owned())
        .collect();
    for percent in &acknowledged {
        assert_eq!(made.iter().filter(|made| *made == percent).count(), 1, "{percent}: {made:?}");
    }
    assert!(made.len() <= acknowledged.len() + unknown, "{} made, {unknown} unknown", made.len());
    eprintln!("{} acknowledged, {unknown} unknown, {} made", acknowledged.len(), made.len());
    assert_eq!(gateway.verification(None).await["verified"], json!(true));
}
