//! Fences under load: nothing fails, and a gateway that says it is drained is.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::Place;
use crate::harness::{Load, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn load_thirty_fences_and_ten_changes_of_owner_fail_no_write() {
    let Place { sides, gateway } = Place::start("");
    let load = Load::start(&gateway, 16);
    load.more(200).await;
    let mut windows = Vec::new();
    for round in 0..30 {
        let token = format!("t{round}");
        assert_eq!(gateway.place(&token, 10_000, 10_000).await.0, 200);
        eventually("drained", async || gateway.fence(&token).await.1["drained"] == true).await;
        let drained = Instant::now();
        if round % 3 == 0 {
            let stage = if round % 2 == 0 { "cut-over" } else { "synced" };
            let (status, answer) = gateway.set_stage(stage, Some(&token)).await;
            assert_eq!(status, 200, "{answer}");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        windows.push((drained, Instant::now()));
        assert_eq!(gateway.lift(&token).await.0, 200);
        load.more(100).await;
    }
    let samples = load.stop().await;
    let failed: Vec<_> = samples.iter().filter(|sample| sample.outcome != Ok(200)).collect();
    assert!(failed.is_empty(), "{} of {} failed: {:?}", failed.len(), samples.len(), &failed[..failed.len().min(3)]);
    let mut arrived: HashMap<String, usize> = HashMap::new();
    for stub in [&sides.legacy, &sides.shared, &sides.own] {
        for seen in stub.seen() {
            let within = windows.iter().find(|(from, to)| (*from..*to).contains(&seen.at));
            assert!(within.is_none(), "{} reached an upstream while it was held", seen.uri);
            *arrived.entry(seen.uri).or_default() += 1;
        }
    }
    assert_eq!(arrived.len(), samples.len());
    assert!(arrived.values().all(|times| *times == 1), "each once");
    eprintln!("{} writes, 30 fences, 10 changes of owner, none failed", samples.len());
}
