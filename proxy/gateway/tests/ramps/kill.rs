//! A gateway is killed at random moments of ramps and rollbacks.

use std::time::{Duration, Instant};

use serde_json::json;

use super::Ramp;
use crate::harness::{Behaviour, Load};

/// How many times, within the time limit; as many as `GATEWAY_TEST_KILLS` says, however long it takes.
const KILLS: u64 = 100;
const LIMIT: Duration = Duration::from_secs(45);

/// Steps that pass as soon as the guard has seen a little.
const FAST: &str = r#"
[routes.guard]
median_margin = 0.49
tail_margin = 0.49
[routes.ramp]
steps = [
    { percent = 20, time = "1ms", requests = 10 },
    { percent = 40, time = "1ms", requests = 10 },
    { percent = 60, time = "1ms", requests = 10 },
    { percent = 80, time = "1ms", requests = 10 },
]
lease = "1s"
"#;

/// Whether there is another round after so many.
fn goes_on(rounds: u64, began: Instant) -> bool {
    match std::env::var("GATEWAY_TEST_KILLS").ok().and_then(|text| text.parse().ok()) {
        Some(kills) => rounds < kills,
        None => rounds < KILLS && began.elapsed() < LIMIT,
    }
}

/// After each kill the weight in force is at most the one that the kept document calls proven.
async fn torment(behaviour: Behaviour, what: &str) {
    let mut ramp = Ramp::with(FAST);
    let began = Instant::now();
    let mut reached = std::collections::BTreeMap::<String, u64>::new();
    let mut rounds = 0;
    while goes_on(rounds, began) {
        rounds += 1;
        ramp.candidate.set(behaviour);
        let load = Load::start(&ramp.gateway, 4);
        ramp.gateway.start_ramp().await;
        // At another moment each time: of the steps, and of the rollback.
        tokio::time::sleep(Duration::from_micros(rand::random_range(0..1_500_000))).await;
        ramp.gateway.kill_and_restart();
        let view = ramp.gateway.ramp_view().await;
        load.stop().await;
        let percent = view["percent"].as_f64().unwrap();
        let proven = view["ramp"]["proven_percent"].as_f64().unwrap();
        let kept = ramp.gateway.rollout();
        assert!(percent <= proven, "round {rounds}: {percent} % in force, {proven} % proven\n{kept}");
        assert!([0.0, 20.0, 40.0, 60.0, 80.0].contains(&percent), "round {rounds}: {percent}\n{kept}");
        assert!(behaviour == Behaviour::Answer(200) || percent <= 0.0, "nobody proved {percent} %\n{kept}");
        let verified = ramp.gateway.admin(reqwest::Method::GET, "/api/v1/history/verification", None).await.1;
        assert_eq!(verified["verified"], json!(true), "{verified}");
        // The next one begins anew: what is under way is aborted, what has passed is taken back.
        ramp.gateway.ramp("abort").await;
        ramp.gateway.admin(reqwest::Method::POST, "/api/v1/routes/invoke/rollback", None).await;
        *reached.entry(format!("{} at {proven} %", view["ramp"]["state"])).or_default() += 1;
    }
    eprintln!("{rounds} kills of a gateway with a {what} candidate in {:?}: {reached:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_a_gateway_in_the_middle_of_ramps() {
    torment(Behaviour::Answer(200), "good").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_a_gateway_in_the_middle_of_rollbacks() {
    torment(Behaviour::Answer(500), "bad").await;
}
