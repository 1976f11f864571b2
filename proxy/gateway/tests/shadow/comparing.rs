//! Answers are compared by the route's rules, and legacy's own noise is learnt.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{NO_NOISE, Outcomes, outcomes, start_with, these};
use crate::harness::{Gateway, RawUpstream, eventually};

/// A side whose answers have a clock that differs from call to call, and this price.
fn clock(price: &'static str) -> RawUpstream {
    let calls = AtomicUsize::new(0);
    RawUpstream::start(move |exchange| {
        let body = format!("{{\"at\":{},\"price\":{price}}}", calls.fetch_add(1, Ordering::AcqRel));
        let length = body.len();
        exchange.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Kind: {price}\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
    })
}

async fn get(gateway: &Gateway, times: u64) {
    for key in 0..times {
        assert_eq!(gateway.client.get(gateway.url(&format!("/f/{key}"))).send().await.unwrap().status(), 200);
    }
}

/// Sends this many after as many as were `sent` before, so few at once that there is a place for each one's copy
/// on a busy machine too, and gives the outcomes of all.
async fn get_copied(gateway: &Gateway, sent: &mut u64, times: u64) -> Outcomes {
    const AT_ONCE: u64 = 20;
    let mut found = Outcomes::new();
    for _ in 0..times / AT_ONCE {
        get(gateway, AT_ONCE).await;
        *sent += AT_ONCE;
        found = outcomes(gateway, *sent).await;
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_say_what_counts() {
    let (legacy, candidate) = (clock("5"), clock("5.0"));
    let rules = "[routes.shadow]\n[[routes.shadow.compare.rules]]\npath = \"$.at\"\nrule = \"ignore\"\n";
    let gateway = start_with(legacy.address, candidate.address, rules, NO_NOISE, 0, 100);
    get(&gateway, 1).await;
    assert_eq!(outcomes(&gateway, 1).await, these([("equal", 1)]), "both clocks show 0, and 5 is 5.0");
    get(&gateway, 1).await;
    outcomes(&gateway, 2).await;
    // From now on the candidate's clock is ahead.
    gateway.client.get(format!("http://{}/f/0", candidate.address)).send().await.unwrap();
    get(&gateway, 1).await;
    let found = outcomes(&gateway, 3).await;
    assert_eq!((found.get("different"), found.get("ignored:differences")), (None, Some(&1)), "{found:?}");
    let report = gateway.admin(reqwest::Method::GET, "/api/v1/shadow", None).await.1;
    assert_eq!(report["routes"][0]["mismatch_rate"], 0.0, "what a rule explains is no mismatch: {report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn noise_that_legacy_has_itself_is_learnt_and_its_neighbour_is_not_hidden() {
    let (legacy, candidate) = (clock("5"), clock("6"));
    let gateway =
        start_with(legacy.address, candidate.address, "[routes.shadow]\n", "[shadow]\nnoise_percent = 100\n", 0, 100);
    let found = get_copied(&gateway, &mut 0, 200).await;
    assert!(found["different"] > 150, "{found:?}");
    assert!(!found.keys().any(|outcome| outcome == "equal" || outcome.starts_with("ignored")), "the price: {found:?}");
    eventually("noise is learnt", async || {
        super::total(&gateway.metrics().await, "gateway_shadow_noise_total{outcome=\"learnt\"") > 150
    })
    .await;
    let log = gateway.log();
    let line = log.lines().find(|line| line.contains("the two sides answered differently")).unwrap();
    assert!(line.contains("value at $.price") && line.contains("trace_id"), "{line}");
    drop(gateway);

    let (legacy, candidate) = (clock("5"), clock("5"));
    let gateway =
        start_with(legacy.address, candidate.address, "[routes.shadow]\n", "[shadow]\nnoise_percent = 100\n", 0, 100);
    let mut sent = 0;
    let mut before = get_copied(&gateway, &mut sent, 200).await;
    // Masks are made anew each second; from then on nothing is different any more.
    eventually("the clock is masked", async || {
        let now = get_copied(&gateway, &mut sent, 20).await;
        let masked = now.get("different") == before.get("different");
        before = now;
        masked
    })
    .await;
    let after = get_copied(&gateway, &mut sent, 60).await;
    assert_eq!(after.get("different"), before.get("different"), "{after:?}");
}
