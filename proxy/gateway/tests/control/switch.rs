//! The rollback switch under load, and when nothing else is there.

use std::time::{Duration, Instant};

use serde_json::json;
use testkit::{PrivatePostgres, PrivateRedis};

use super::{Fleet, shared};
use crate::harness::{Gateway, Load, Stub, config, eventually};

/// What the issue promises of the last request that reaches the candidate.
const IN_ITS_OWN_GATEWAY: Duration = Duration::from_millis(50);
const IN_EVERY_GATEWAY: Duration = Duration::from_secs(1);

/// One for each gateway: what the keys of its load begin with.
const PREFIXES: [&str; 3] = ["/f/one-", "/f/two-", "/f/three-"];

#[tokio::test(flavor = "multi_thread")]
async fn load_the_last_request_reaches_the_candidate_in_time_and_none_fails() {
    let database = testkit::postgres().await;
    let fleet = Fleet::start(3, &database.url, "");
    fleet.reach(0).await;
    let loads: Vec<Load> = fleet
        .gateways
        .iter()
        .zip(PREFIXES)
        .map(|(gateway, prefix)| Load::paths(gateway, 4, prefix, "/invoke"))
        .collect();
    let (mut own, mut any) = (Duration::ZERO, Duration::ZERO);
    for round in 0..6 {
        let from = round % 3;
        let (status, answer) = fleet.gateways[from].weight(100.0).await;
        assert_eq!(status, 200, "{answer}");
        fleet.reach(answer["revision"].as_u64().unwrap()).await;
        for load in &loads {
            load.more(50).await;
        }
        let answer = fleet.gateways[from].roll_back().await;
        let returned = Instant::now();
        assert_eq!((&answer["persisted"], &answer["shared"]), (&json!(true), &json!(true)), "{answer}");
        fleet.reach(answer["revision"].as_u64().unwrap()).await;
        for load in &loads {
            load.more(50).await;
        }
        let seen = fleet.stubs[1].seen();
        let last = |prefix: &str| {
            let late = seen.iter().filter(|seen| seen.uri.starts_with(prefix));
            late.map(|seen| seen.at.saturating_duration_since(returned)).max().unwrap_or_default()
        };
        own = own.max(last(PREFIXES[from]));
        any = any.max(last("/f/"));
    }
    eprintln!(
        "last request to the candidate: {} ms in its own gateway, {} ms in any",
        own.as_millis(),
        any.as_millis()
    );
    assert!(own <= IN_ITS_OWN_GATEWAY && any <= IN_EVERY_GATEWAY, "{own:?}, {any:?}");
    for load in loads {
        assert_none_failed(load).await;
    }
}

async fn assert_none_failed(load: Load) {
    let samples = load.stop().await;
    let failed: Vec<_> = samples.iter().filter(|sample| sample.outcome != Ok(200)).collect();
    assert!(failed.is_empty(), "{} of {} failed: {:?}", failed.len(), samples.len(), failed.first());
}

#[tokio::test(flavor = "multi_thread")]
async fn chaos_with_postgresql_redis_and_the_candidate_gone_gateways_serve_restart_and_roll_back() {
    let (mut postgres, mut redis) = (PrivatePostgres::start_durable().await, PrivateRedis::start().await);
    let (legacy, candidate) = (Stub::start("legacy"), Stub::start("candidate"));
    let limits = format!(
        "[limits]\nstore = \"redis\"\n[limits.redis]\nurl = \"{}\"\ntimeout = \"100ms\"\n\
         [limits.policies.per-function]\ncounts = \"key\"\nrate = \"100000/s\"\n",
        redis.url()
    );
    let lines = "fallback = true\nlimits = [\"per-function\"]";
    let config = shared(&config(legacy.address, candidate.address, lines, &limits), &postgres.url("postgres"));
    let gateways = vec![Gateway::start(&config, "[routes.invoke]\npercent = 100\n"), Gateway::start(&config, "")];
    let mut fleet = Fleet { stubs: [legacy, candidate], gateways };
    fleet.reach(1).await;
    let load = Load::start(&fleet.gateways[0], 4);
    load.more(100).await;

    // Both at once: the gateways go on as they were, and a new process starts as they are.
    tokio::join!(postgres.stop(), redis.stop());
    load.more(300).await;
    fleet.gateways[1].kill_and_restart();
    for gateway in &fleet.gateways {
        assert_eq!(gateway.side_of("k").await, "candidate");
        eventually("it says what is away", async || {
            let metrics = gateway.metrics().await;
            metrics.contains("gateway_rollout_store_up 0") && metrics.contains("gateway_limit_store_up 0")
        })
        .await;
    }
    load.more(300).await;
    assert_none_failed(load).await;

    // The candidate as well; then the switch.
    fleet.stubs[1].kill();
    let load = Load::start(&fleet.gateways[1], 4);
    load.more(50).await;
    let answer = fleet.gateways[1].roll_back().await;
    assert_eq!((&answer["persisted"], &answer["shared"]), (&json!(true), &json!(false)), "{answer}");
    load.more(50).await;
    assert_none_failed(load).await;
    fleet.stubs[1].restart();
    fleet.gateways[1].kill_and_restart();
    assert_eq!(fleet.gateways[1].side_of("k").await, "legacy", "it was kept");

    tokio::join!(postgres.start_again(), redis.start_again());
    for gateway in &fleet.gateways {
        eventually("the rollback is everywhere", async || gateway.side_of("k").await == "legacy").await;
        eventually("all is well", async || {
            let (metrics, status) = (gateway.metrics().await, gateway.status().await);
            metrics.contains("gateway_limit_store_up 1") && status["reload_error"].is_null()
        })
        .await;
    }
}
