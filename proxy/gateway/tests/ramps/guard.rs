//! What the guard lets through, and how soon it does not.

use std::time::Instant;

use serde_json::json;

use super::{QUICK, Ramp};
use crate::harness::{Behaviour, Gateway, Instance, Load, config, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn load_a_healthy_candidate_reaches_all_traffic() {
    let ramp = Ramp::with(QUICK);
    let load = Load::start(&ramp.gateway, 8);
    ramp.gateway.start_ramp().await;
    let view = ramp.gateway.reaches("completed").await;
    assert_eq!((&view["percent"], &view["ramp"]["proven_percent"]), (&json!(100.0), &json!(100.0)), "{view}");
    let samples = load.stop().await;
    let failed = samples.iter().filter(|sample| sample.outcome != Ok(200)).count();
    assert_eq!(failed, 0, "of {}", samples.len());
    let document = ramp.gateway.rollout();
    assert!(document.contains("state = \"completed\"") && document.contains("percent = 100"), "{document}");
    let metrics = ramp.gateway.metrics().await;
    assert!(metrics.contains("gateway_guard_rollbacks_total{route=\"invoke\"} 0"), "{metrics}");
    assert!(ramp.candidate.requests() > 0 && ramp.legacy.requests() > 0);
}

/// The figures of this test are printed; what it asserts is what they may be at most.
#[tokio::test(flavor = "multi_thread")]
async fn load_a_candidate_that_turns_bad_is_left_by_itself() {
    for (name, defect, most) in [
        ("fails", Behaviour::Answer(500), 40),
        ("breaks off", Behaviour::Reset, 40),
        ("refuses", Behaviour::Answer(404), 120),
    ] {
        let plan = "fallback = false\n[routes.guard]\nmedian_margin = 0.49\ntail_margin = 0.49\n";
        let ramp = Ramp::with(plan);
        let load = Load::start(&ramp.gateway, 16);
        ramp.gateway.set_weight(50.0).await;
        load.more(400).await;
        ramp.candidate.set(defect);
        let before = ramp.candidate.requests();
        let turned = Instant::now();
        eventually("it is rolled back", async || ramp.gateway.route_status().await["percent"] == json!(0.0)).await;
        let seen_at = turned.elapsed();
        load.more(200).await;
        let after = ramp.candidate.requests();
        load.more(200).await;
        assert_eq!(ramp.candidate.requests(), after, "nothing more goes to the candidate");
        let samples = load.stop().await;
        let bad: Vec<_> = samples.iter().filter(|sample| sample.outcome != Ok(200)).collect();
        let last = bad.iter().map(|sample| sample.started).max().map(|at| at.duration_since(turned));
        eprintln!(
            "a candidate that {name}: {} requests saw it, the last of them sent {last:?} after it turned bad; \
             {} requests on it since; seen in the status after {seen_at:?}",
            bad.len(),
            after - before,
        );
        assert!(bad.len() <= most, "{} requests saw it", bad.len());
        eventually("it is kept", async || ramp.gateway.rollout().contains("epoch = 2")).await;
        let history = ramp.gateway.admin(reqwest::Method::GET, "/api/v1/history?limit=1", None).await.1;
        let entry = &history["entries"][0];
        assert_eq!((&entry["kind"], &entry["actor"]), (&json!("rollback"), &json!("guard")), "{entry}");
        assert!(entry["reason"].as_str().unwrap().contains("e-value"), "{entry}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn load_a_bad_candidate_ends_its_ramp() {
    let ramp = Ramp::with(QUICK);
    ramp.candidate.set(Behaviour::Answer(503));
    let load = Load::start(&ramp.gateway, 8);
    ramp.gateway.start_ramp().await;
    let view = ramp.gateway.reaches("rolled_back").await;
    assert_eq!((&view["percent"], &view["ramp"]["proven_percent"]), (&json!(0.0), &json!(0.0)), "{view}");
    assert!(view["ramp"]["reason"].as_str().unwrap().contains("rolled back by guard"), "{view}");
    load.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_that_cannot_be_reached_counts_although_legacy_serves_for_it() {
    let mut ramp = Ramp::with("fallback = true\n[routes.guard]\n");
    ramp.gateway.set_weight(100.0).await;
    ramp.candidate.kill().await;
    eventually("it is rolled back", async || {
        assert_eq!(ramp.gateway.invoke("k").await.status(), 200);
        for number in 0..20 {
            ramp.gateway.invoke(&number.to_string()).await;
        }
        ramp.gateway.route_status().await["percent"] == json!(0.0)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn load_answers_that_differ_take_a_route_back_but_only_one_that_has_moved() {
    let plan = "[routes.shadow]\n[routes.guard]\nmedian_margin = 0.49\ntail_margin = 0.49\n";
    let [legacy, candidate] = [200, 201].map(|status| Instance::start(Behaviour::Answer(status)));
    let text =
        config(legacy.address, candidate.address, plan, "").replace("methods = [\"POST\"]", "methods = [\"GET\"]");
    let gateway = Gateway::start(&text, "[routes.invoke]\npercent = 0\nshadow = 100\n");
    let ask = async || {
        for key in 0..20 {
            let answer = gateway.client.get(gateway.url(&format!("/f/{key}/invoke"))).send().await.unwrap();
            assert!(answer.status().is_success());
        }
    };
    eventually("much differs", async || {
        ask().await;
        let metrics = gateway.metrics().await;
        let different = "gateway_shadow_requests_total{outcome=\"different\",reason=\"\",route=\"invoke\"} ";
        let count = metrics.lines().find_map(|line| line.strip_prefix(different));
        count.is_some_and(|count| count.parse::<u64>().unwrap() > 100)
    })
    .await;
    assert_eq!(gateway.route_status().await["epoch"], json!(1), "there is nothing to take back");
    gateway.set_weight(50.0).await;
    eventually("it is rolled back", async || {
        ask().await;
        gateway.route_status().await["percent"] == json!(0.0)
    })
    .await;
    eventually("it is kept", async || gateway.rollout().contains("epoch = 2")).await;
    let history = gateway.admin(reqwest::Method::GET, "/api/v1/history?limit=1", None).await.1;
    let reason = history["entries"][0]["reason"].as_str().unwrap();
    assert!(reason.starts_with("mismatches: ") && reason.contains("compared answers differed"), "{reason}");
}
