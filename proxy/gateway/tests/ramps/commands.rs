//! What an operator may ask of a ramp, and outside checks.

use reqwest::Method;
use serde_json::json;
use testkit::{Answer, RecordedRequest, StubUpstream};

use super::{QUICK, Ramp};
use crate::harness::{Load, eventually};

/// Steps that end by command only.
const MANUAL: &str = r#"
[routes.ramp]
steps = [
    { percent = 10, time = "1h" },
    { percent = 50, time = "1ms", requests = 0, approval = true },
    { percent = 100, time = "1h" },
]
lease = "3s"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_ramp_follows_its_operator() {
    let ramp = Ramp::with(MANUAL);
    let gateway = &ramp.gateway;
    // What an operator is offered is what would be followed.
    let offered = async || gateway.ramp_view().await["commands"].clone();
    assert_eq!(offered().await, json!(["start"]));
    assert_eq!(gateway.ramp("pause").await.1["error"], "no_ramp");
    gateway.start_ramp().await;
    assert_eq!(gateway.ramp("start").await.1["error"], "ramp_under_way");
    gateway.reaches_percent(10.0).await;
    gateway.ramp("pause").await;
    let view = gateway.reaches("paused").await;
    assert_eq!((&view["percent"], &view["commands"]), (&json!(10.0), &json!(["pause", "resume", "approve", "abort"])));
    assert_eq!(gateway.ramp("promote").await.0, 409);
    gateway.ramp("resume").await;
    gateway.reaches("running").await;
    assert_eq!(gateway.ramp("promote").await.0, 200);
    gateway.reaches_percent(50.0).await;
    assert_eq!(gateway.ramp_view().await["ramp"]["proven_percent"], json!(10.0));
    // There is no traffic, so approval alone does not end the step.
    assert_eq!(gateway.ramp("approve").await.1["ramp"]["approved"], json!(true));
    eventually("it waits for requests", async || gateway.ramp_view().await["here"]["holding"]["for"] == "data").await;
    let (status, answer) = gateway.ramp("abort").await;
    assert_eq!((status, &answer["ramp"]["state"]), (200, &json!("aborted")), "{answer}");
    let view = gateway.reaches("aborted").await;
    assert_eq!((&view["percent"], &view["commands"]), (&json!(0.0), &json!(["start"])));
    assert!(gateway.rollout().contains("epoch = 2"), "an abort voids what was decided: {}", gateway.rollout());
    assert_eq!(gateway.ramp("nonsense").await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_weight_set_by_hand_pauses_the_ramp() {
    let ramp = Ramp::with(MANUAL);
    ramp.gateway.start_ramp().await;
    ramp.gateway.reaches_percent(10.0).await;
    ramp.gateway.set_weight(25.0).await;
    let view = ramp.gateway.reaches("paused").await;
    assert_eq!((&view["percent"], &view["ramp"]["proven_percent"]), (&json!(25.0), &json!(25.0)));
    assert!(view["ramp"]["reason"].as_str().unwrap().contains("25 % by hand"), "{view}");
    // It needs no lease: whoever set it answers for it.
    ramp.gateway.ramp("resume").await;
    ramp.gateway.reaches_percent(50.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_ends_the_ramp() {
    let ramp = Ramp::with(MANUAL);
    ramp.gateway.start_ramp().await;
    ramp.gateway.reaches_percent(10.0).await;
    ramp.gateway.admin(Method::POST, "/api/v1/routes/invoke/rollback", None).await;
    let view = ramp.gateway.reaches("rolled_back").await;
    assert_eq!(view["percent"], json!(0.0));
    ramp.gateway.start_ramp().await;
    ramp.gateway.reaches_percent(10.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_holds_a_ramp_lets_it_pass_and_ends_it() {
    for (verdict, state) in [("pass", "completed"), ("fail", "rolled_back")] {
        let word = std::sync::Arc::new(std::sync::Mutex::new("hold"));
        let says = word.clone();
        let check = StubUpstream::start(move |_: &RecordedRequest| {
            let word = *says.lock().unwrap();
            Answer::json(200, json!({ "verdict": word, "message": "says the check" }).to_string())
        })
        .await;
        let gate = format!(
            "[[routes.ramp.gates]]\nname = \"smoke\"\nurl = \"{}\"\ninterval = \"50ms\"\n",
            check.url("/check")
        );
        let ramp = Ramp::with(&format!("{QUICK}{gate}"));
        let load = Load::start(&ramp.gateway, 4);
        ramp.gateway.start_ramp().await;
        eventually("the gate holds it", async || {
            let holding = ramp.gateway.ramp_view().await["here"]["holding"].clone();
            holding["said"].as_str().is_some_and(|said| said == "smoke (hold): says the check")
        })
        .await;
        assert_eq!(ramp.gateway.ramp_view().await["percent"], json!(10.0));
        let sent: serde_json::Value = serde_json::from_slice(&check.requests().remove(0).body).unwrap();
        assert_eq!((&sent["route"], &sent["gate"]), (&json!("invoke"), &json!("smoke")));
        assert!(sent["evidence"]["pairs"].as_u64().unwrap() >= 20, "{sent}");
        *word.lock().unwrap() = verdict;
        ramp.gateway.reaches(state).await;
        load.stop().await;
    }
}
