//! A thousand changes under load.

use std::sync::atomic::{AtomicUsize, Ordering};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};

use super::Fleet;
use crate::harness::{Gateway, Load};

const CHANGES: usize = 1_000;

/// What became of the changes that one client asked for.
#[derive(Default)]
struct Outcome {
    /// The revision of each that was made.
    made: Vec<u64>,
    refused: usize,
    conflicts: usize,
    unchanged: usize,
    /// What each rollback was answered with.
    rolled_back: Vec<u64>,
}

#[tokio::test(flavor = "multi_thread")]
async fn load_a_thousand_random_changes_lose_no_request_and_no_entry() {
    let seed: u64 = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    eprintln!("SEED={seed}");
    let database = testkit::postgres().await;
    let fleet = Fleet::start(2, &database.url, "[routes.invoke]\npercent = 50\n");
    fleet.reach(1).await;
    // So that revision 1, which some changes below are meant for, is over.
    let (status, answer) = fleet.gateways[0].weight(40.0).await;
    assert_eq!((status, &answer["revision"]), (200, &json!(2)), "{answer}");
    fleet.reach(2).await;
    let loads = fleet.gateways.iter().map(|gateway| Load::start(gateway, 2)).collect::<Vec<_>>();
    let left = AtomicUsize::new(CHANGES);
    let (one, other) =
        tokio::join!(ask(&fleet.gateways[0], seed, &left), ask(&fleet.gateways[1], seed.wrapping_add(1), &left));
    let mut made: Vec<u64> = one.made.iter().chain(&other.made).copied().collect();
    made.sort_unstable();
    let sum = |count: fn(&Outcome) -> usize| count(&one) + count(&other);
    eprintln!(
        "{} made, {} refused, {} conflicts, {} unchanged",
        made.len(),
        sum(|one| one.refused),
        sum(|one| one.conflicts),
        sum(|one| one.unchanged)
    );
    assert!(made.len() > CHANGES / 4, "most of the valid ones are made");
    assert!(sum(|one| one.refused) > CHANGES / 10 && sum(|one| one.conflicts) > 0);

    fleet.reach(made.iter().chain(&one.rolled_back).chain(&other.rolled_back).copied().max().unwrap()).await;
    let [first, second] = fleet.gateways.as_slice() else { panic!("two gateways") };
    let log = first.history().await;
    let revision = |entry: &Value| entry["revision"].as_u64().unwrap();
    assert!(log.iter().map(revision).eq(1..=log.len() as u64), "none is lost, none is there twice");
    let (rollbacks, others): (Vec<_>, Vec<_>) = log.iter().partition(|entry| entry["kind"] == "rollback");
    let logged: Vec<u64> = others.into_iter().map(revision).collect();
    let expected: Vec<u64> = [1, 2].into_iter().chain(made).collect();
    assert_eq!(logged, expected, "every change that was made, once, and no other");
    // A rollback is answered with the last revision that is known then: another gateway's may have come after it.
    let mut answered: Vec<u64> = one.rolled_back.iter().chain(&other.rolled_back).copied().collect();
    answered.sort_unstable();
    assert_eq!(rollbacks.len(), answered.len(), "every rollback, once");
    assert!(rollbacks.into_iter().map(revision).zip(answered).all(|(logged, answered)| logged <= answered));
    assert_eq!(second.history().await, log);
    let (one, other) = (first.document().await, second.document().await);
    assert_eq!(
        (&one["document"], &one["hash"], &one["epochs"]),
        (&other["document"], &other["hash"], &other["epochs"])
    );
    for gateway in [first, second] {
        let verified = gateway.verification(Some(one["hash"].as_str().unwrap())).await;
        assert_eq!((&verified["verified"], &verified["revisions"]), (&json!(true), &json!(log.len())), "{verified}");
    }
    for key in 0..500 {
        let key = format!("key-{key}");
        assert_eq!(first.side_of(&key).await, second.side_of(&key).await, "{key}");
    }
    for load in loads {
        let samples = load.stop().await;
        let failed: Vec<_> = samples.iter().filter(|sample| sample.outcome != Ok(200)).collect();
        assert!(failed.is_empty(), "{} of {} failed: {:?}", failed.len(), samples.len(), failed.first());
        eprintln!("{} requests, none failed", samples.len());
    }
}

async fn ask(gateway: &Gateway, seed: u64, left: &AtomicUsize) -> Outcome {
    let mut random = StdRng::seed_from_u64(seed);
    let mut outcome = Outcome::default();
    let next = || left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1)).is_ok();
    while next() {
        let (status, answer, expected) = one_change(gateway, &mut random).await;
        assert!(expected.contains(&status), "{status} {answer}");
        match status {
            200 if answer["changed"] == json!(false) => outcome.unchanged += 1,
            200 if answer.get("routes").is_some() => outcome.rolled_back.push(answer["revision"].as_u64().unwrap()),
            200 => outcome.made.push(answer["revision"].as_u64().unwrap()),
            409 if answer["error"] == "revision_conflict" => outcome.conflicts += 1,
            _ => outcome.refused += 1,
        }
    }
    outcome
}

/// Asks for something, and says which statuses it may be answered with.
async fn one_change(gateway: &Gateway, random: &mut StdRng) -> (u16, Value, &'static [u16]) {
    let percent = f64::from(random.random_range(0..=10_000_u32)) / 100.0;
    let document = |percent: f64| format!("# {}\n[routes.invoke]\npercent = {percent}\n", percent * 7.0);
    match random.random_range(0..20) {
        0..9 => with(gateway.weight(percent).await, &[200]),
        9..11 => (200, gateway.roll_back().await, &[200]),
        11..13 => with(gateway.apply(&document(percent), None).await, &[200]),
        13..15 => {
            let revision = gateway.document().await["revision"].as_u64();
            with(gateway.apply(&document(percent), revision).await, &[200, 409])
        }
        15 => with(gateway.apply(&document(percent), Some(1)).await, &[409]),
        16 => with(gateway.undo(json!({ "confirm": random.random::<bool>() })).await, &[200, 409]),
        17 => with(gateway.weight(percent + 100.01).await, &[400]),
        18 => with(gateway.apply("[routes.invoke]\npercent = 1\nepoch = 0\n", None).await, &[422]),
        _ => with(gateway.apply(&document(percent).replace("invoke", "lost"), None).await, &[422]),
    }
}

fn with((status, answer): (u16, Value), expected: &'static [u16]) -> (u16, Value, &'static [u16]) {
    (status, answer, expected)
}
