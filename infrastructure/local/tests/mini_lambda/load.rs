//! Weights and the rollback under traffic.

use std::{collections::HashMap, time::Instant};

use futures::{StreamExt as _, stream};

use super::{
    rollout::{MOVING, route_of},
    site::{Side, Site, System},
    traffic::{Call, Traffic, failures},
};

mod shutdown;

const KEYS: usize = 2_000;
const AT_A_TIME: usize = 32;
const CALLERS: usize = 8;
/// Calls that begin after each change before the next.
const CALLS_BETWEEN: usize = 60;

/// The side of each key. Nothing has such an id, which is as good an answer as any.
async fn sides(system: &System, keys: &[String]) -> HashMap<String, Side> {
    stream::iter(keys)
        .map(|key| async move {
            let url = system.url("gateway", &format!("/api/v1/functions/{key}"));
            let response = system.client.get(url).send().await.expect("the gateway answers");
            let (status, side) = (response.status(), Side::of(&response));
            assert_eq!(status, 404, "{side:?}: {}", response.text().await.unwrap_or_default());
            (key.clone(), side.expect("a side served it"))
        })
        .buffer_unordered(AT_A_TIME)
        .collect()
        .await
}

fn on_candidate(sides: &HashMap<String, Side>) -> impl Iterator<Item = &String> {
    sides.iter().filter(|(_, side)| **side == Side::Candidate).map(|(key, _)| key)
}

#[tokio::test]
async fn keys_move_in_the_share_that_was_asked_for_and_never_back() {
    let system = Site::new().start().await;
    // Always the same, so that the share observed is too: of random keys, one set in a hundred misses.
    let keys: Vec<String> = (0..KEYS).map(|key| format!("01920000-0000-7000-8000-{key:012x}")).collect();
    let mut before: HashMap<String, Side> = HashMap::new();
    for percent in [0, 10, 50, 100] {
        system.set_percent(&["function"], percent).await;
        let now = sides(&system, &keys).await;
        let share = on_candidate(&now).count() as f64 * 100.0 / KEYS as f64;
        assert!((share - percent as f64).abs() <= 3.0, "{share} % of the keys at {percent} %");
        eprintln!("asked {percent} %, observed {share} %");
        for key in on_candidate(&before) {
            assert_eq!(now[key], Side::Candidate, "{key} went back when the weight rose to {percent} %");
        }
        assert_eq!(sides(&system, &keys).await, now, "a key has one side at {percent} %");
        before = now;
    }
    // The way down takes keys back in the opposite order.
    system.set_percent(&["function"], 10).await;
    let down = sides(&system, &keys).await;
    system.set_percent(&["function"], 50).await;
    let up = sides(&system, &keys).await;
    assert!(on_candidate(&down).all(|key| up[key] == Side::Candidate));
    system.stack.stop().await;
}

#[tokio::test]
async fn no_request_fails_while_weights_move() {
    let system = Site::new().start().await;
    let functions = system.echoes(12).await;
    let traffic = Traffic::start(&system, &functions, CALLERS);
    for percent in [0, 10, 50, 100, 50, 0, 100] {
        system.set_percent(&MOVING, percent).await;
        let changed = Instant::now();
        traffic.calls_since(changed, CALLS_BETWEEN).await;
    }
    let calls = traffic.stop().await;
    assert!(failures(&calls).is_empty(), "{:#?}", failures(&calls));
    for side in [Side::Legacy, Side::Candidate] {
        assert!(calls.iter().any(|call| call.side() == Some(side)), "{side:?} served none of {}", calls.len());
    }
    system.stack.stop().await;
}

#[tokio::test]
async fn after_a_rollback_nothing_new_reaches_the_candidate() {
    let system = Site::new().start().await;
    let functions = system.echoes(12).await;
    let epoch = route_of(&system.status().await, "invoke")["epoch"].as_u64().expect("a number");
    let traffic = Traffic::start(&system, &functions, CALLERS);
    // Repeatedly, since a race is seldom lost at the first try.
    let mut spans = Vec::new();
    for percent in [100, 50, 100, 50, 100] {
        system.set_percent(&MOVING, percent).await;
        let raised = Instant::now();
        let candidate = |call: &Call| call.started >= raised && call.side() == Some(Side::Candidate);
        traffic.until(|calls| calls.iter().filter(|call| candidate(call)).count() >= CALLS_BETWEEN).await;
        system.roll_back_all().await;
        let rolled_back = Instant::now();
        traffic.calls_since(rolled_back, CALLS_BETWEEN / 2).await;
        spans.push(rolled_back..Instant::now());
    }
    let calls = traffic.stop().await;
    assert!(failures(&calls).is_empty(), "{:#?}", failures(&calls));
    for call in calls.iter().filter(|call| spans.iter().any(|span| span.contains(&call.started))) {
        assert_eq!(call.side(), Some(Side::Legacy), "it began after the rollback: {call:?}");
    }
    let status = system.status().await;
    for route in MOVING {
        let route = route_of(&status, route);
        assert_eq!(route["percent"].as_f64(), Some(0.0), "{route}");
        assert_eq!(route["epoch"].as_u64(), Some(epoch + spans.len() as u64), "each rollback voids what was decided");
    }
    system.stack.stop().await;
}
