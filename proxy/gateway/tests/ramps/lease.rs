//! The weight of a step that nobody has proven holds as long as its lease.

use std::fs;

use serde_json::json;

use super::Ramp;
use crate::harness::eventually;

const LONG: &str = r#"
[routes.ramp]
steps = [{ percent = 10, time = "1h" }, { percent = 50, time = "1h" }, { percent = 100, time = "1h" }]
lease = "1s"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn without_its_store_a_step_falls_back_to_the_proven_weight_and_starts_over_with_it() {
    let ramp = Ramp::with(LONG);
    let gateway = &ramp.gateway;
    gateway.start_ramp().await;
    gateway.reaches_percent(10.0).await;
    gateway.ramp("promote").await;
    gateway.reaches_percent(50.0).await;
    let folder = gateway.rollout_path().parent().unwrap().to_owned();
    let aside = folder.with_extension("gone");
    fs::rename(&folder, &aside).unwrap();
    gateway.reaches_percent(10.0).await;
    // The weight falls a moment before the lease counts as lost, which is looked at on its own.
    eventually("the lease is lost", async || gateway.ramp_view().await["here"]["lease_held"] == json!(false)).await;
    let view = gateway.ramp_view().await;
    assert_eq!((&view["percent"], &view["ramp"]["percent"]), (&json!(10.0), &json!(50.0)), "{view}");
    fs::rename(&aside, &folder).unwrap();
    let mut recovered = false;
    eventually("the step starts over", async || {
        let view = gateway.ramp_view().await;
        recovered |= view["ramp"]["state"] == "recovering" && view["percent"] == json!(10.0);
        view["ramp"]["state"] == "running" && view["percent"] == json!(50.0)
    })
    .await;
    assert!(recovered, "by way of the proven weight");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_comes_back_on_the_proven_weight_and_starts_the_step_over() {
    let mut ramp = Ramp::with(LONG);
    ramp.gateway.start_ramp().await;
    ramp.gateway.reaches_percent(10.0).await;
    ramp.gateway.ramp("promote").await;
    ramp.gateway.reaches_percent(50.0).await;
    ramp.gateway.kill_and_restart();
    let view = ramp.gateway.ramp_view().await;
    assert_eq!((&view["percent"], &view["ramp"]["proven_percent"]), (&json!(10.0), &json!(10.0)), "{view}");
    ramp.gateway.reaches_percent(50.0).await;
    let view = ramp.gateway.ramp_view().await;
    assert_eq!(view["ramp"]["reason"], "the step starts over", "{view}");
}
