//! A gateway dies while it changes something.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use reqwest::Client;
use serde_json::{Value, json};

use super::Fleet;
use crate::harness::{Gateway, Setup, TOKEN, eventually};

const ROUNDS: u64 = 20;

/// Changes weights one after the other until the gateway is gone, noting the last one acknowledged.
async fn change_until_dead(
    admin: std::net::SocketAddr,
    from: u64,
    acknowledged: Arc<AtomicU64>,
    begun: Arc<AtomicBool>,
) {
    let client = Client::new();
    for number in from.. {
        let percent = (number % 10_000) as f64 / 100.0;
        let body = json!({ "percent": percent, "actor": "ada", "reason": number.to_string() });
        let request = client.put(format!("http://{admin}/api/v1/routes/invoke/weight")).bearer_auth(TOKEN).json(&body);
        match request.send().await {
            Ok(answer) if answer.status() == 200 => acknowledged.store(number, Ordering::Release),
            Ok(answer) => panic!("{}", answer.text().await.unwrap()),
            Err(_) => return,
        }
        begun.store(true, Ordering::Release);
    }
}

/// Kills a gateway in the middle of changes, again and again.
async fn torment(gateway: &mut Gateway) {
    let acknowledged = Arc::new(AtomicU64::new(0));
    let mut asked_from = 1;
    for round in 1..=ROUNDS {
        let begun = Arc::new(AtomicBool::new(false));
        let changes = tokio::spawn(change_until_dead(gateway.admin, asked_from, acknowledged.clone(), begun.clone()));
        eventually("changes are made", async || begun.load(Ordering::Acquire)).await;
        // At another moment of a change each time.
        tokio::time::sleep(Duration::from_micros(round * 731)).await;
        gateway.kill_and_restart();
        changes.await.unwrap();
        let last = acknowledged.load(Ordering::Acquire);
        let log = gateway.history().await;
        let numbers: Vec<u64> = log.iter().filter_map(number).collect();
        assert!(numbers.contains(&last), "{last} was acknowledged in round {round}");
        // One more may have been made that could not be acknowledged; none may be there twice.
        assert!(numbers.is_sorted_by(|a, b| a < b) && *numbers.last().unwrap() <= last + 1, "{numbers:?}");
        let others: Vec<&Value> = log.iter().filter(|entry| number(entry).is_none()).collect();
        assert!(others.is_empty(), "an interrupted change is finished or was never made: {others:?}");
        assert_eq!(gateway.verification(None).await["verified"], json!(true));
        let percent = (*numbers.last().unwrap() % 10_000) as f64 / 100.0;
        assert_eq!(gateway.route_status().await["percent"], json!(percent), "what is logged last is in force");
        eventually("nothing is wrong", async || gateway.status().await["reload_error"].is_null()).await;
        asked_from = last + 2;
    }
    eprintln!("{ROUNDS} kills, {} changes acknowledged", acknowledged.load(Ordering::Acquire));
}

/// The number that a change carries as its reason.
fn number(entry: &Value) -> Option<u64> {
    entry["reason"].as_str().and_then(|reason| reason.parse().ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_a_gateway_during_changes_of_its_file() {
    let mut setup = Setup::start();
    torment(&mut setup.gateway).await;
    assert!(setup.gateway.rollout().contains("[routes.invoke]"));
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_a_gateway_during_changes_of_the_shared_store() {
    let database = testkit::postgres().await;
    let mut fleet = Fleet::start(2, &database.url, "");
    torment(&mut fleet.gateways[0]).await;
    let [first, second] = fleet.gateways.as_slice() else { panic!("two gateways") };
    fleet.reach(first.document().await["revision"].as_u64().unwrap()).await;
    assert_eq!(first.history().await, second.history().await);
    assert_eq!(first.route_status().await["percent"], second.route_status().await["percent"]);
}
