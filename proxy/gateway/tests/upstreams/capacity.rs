use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinSet;

use super::{addresses, start};
use crate::harness::{Behaviour, Instance, Load, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_never_has_more_in_flight_than_it_may() {
    let legacy = Instance::start(Behaviour::Answer(200));
    let both = [Instance::start(Behaviour::Hang), Instance::start(Behaviour::Hang)];
    let settings = format!("{}\nmax_concurrent = 5\nmax_concurrent_per_address = 3", addresses(&both));
    let gateway = start(&legacy, &settings, "");
    let mut waiting = JoinSet::new();
    for _ in 0..40 {
        waiting.spawn(gateway.client.get(gateway.url("/f/k")).send());
    }
    for _ in 0..35 {
        let answer = waiting.join_next().await.unwrap().unwrap().unwrap();
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.headers()["retry-after"], "1");
        assert_eq!(answer.json::<Value>().await.unwrap()["error"], "upstream_overloaded");
    }
    eventually("five are in flight", async || both.iter().map(Instance::in_flight).sum::<usize>() == 5).await;
    assert!(both.iter().all(|one| one.highest() <= 3));
    // Whoever leaves makes room.
    waiting.shutdown().await;
    both.iter().for_each(|one| one.set(Behaviour::Answer(200)));
    eventually("there is room", async || gateway.invoke_get("k").await == 200).await;
    assert_eq!(legacy.requests(), 0, "what is too much for the candidate does not go to legacy unless asked for");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_much_goes_to_legacy_when_asked_for_up_to_what_legacy_bears() {
    let legacy = Instance::start(Behaviour::Hang);
    let candidate = Instance::start(Behaviour::Hang);
    let settings = format!(
        "{}\nmax_concurrent = 2\n[upstreams.small]\naddress = \"{}\"\nmax_concurrent = 3",
        addresses([&candidate]),
        legacy.address
    );
    let route = "fallback_on = [\"overloaded\"]\n[[routes]]\nname = \"second\"\npath = \"/second/{id}\"\nkey = \"path:id\"\n\
                 legacy = \"small\"\ncandidate = \"candidate\"\nfallback_on = [\"overloaded\"]";
    let gateway = start(&legacy, &settings, route);
    gateway.edit_rollout("[routes.second]\npercent = 100\n");
    eventually("it is in force", async || gateway.status().await["routes"][1]["percent"] == 100.0).await;
    let mut waiting = JoinSet::new();
    for _ in 0..20 {
        waiting.spawn(gateway.client.get(gateway.url("/second/k")).send());
    }
    for _ in 0..15 {
        assert_eq!(waiting.join_next().await.unwrap().unwrap().unwrap().status(), 503);
    }
    eventually("both are full", async || (candidate.in_flight(), legacy.in_flight()) == (2, 3)).await;
    assert_eq!((candidate.highest(), legacy.highest()), (2, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_least_loaded_address_takes_most() {
    let legacy = Instance::start(Behaviour::Answer(200));
    let slow = Instance::start(Behaviour::After(Duration::from_millis(40)));
    let fast = [Instance::start(Behaviour::Answer(200)), Instance::start(Behaviour::Answer(200))];
    let gateway = start(&legacy, &addresses(fast.iter().chain([&slow])), "");
    let load = Load::paths(&gateway, 6, "/f/", "");
    load.more(600).await;
    let samples = load.stop().await;
    assert!(samples.iter().all(|sample| sample.outcome == Ok(200)));
    let taken = fast.iter().map(Instance::requests).min().unwrap();
    assert!(slow.requests() * 2 < taken, "{} at the slow one, {taken} at a fast one", slow.requests());
    assert!(fast.iter().all(|one| one.requests() > 100), "equals share");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_stands_for_all_its_addresses() {
    let legacy = Instance::start(Behaviour::Answer(200));
    let candidate = Instance::start(Behaviour::Answer(200));
    // `localhost` may be ::1 too, where nobody listens.
    let port = candidate.address.port();
    let gateway = start(&legacy, &format!("address = \"localhost:{port}\""), "fallback = false");
    eventually("it resolves", async || gateway.invoke_get("k").await == 200).await;
    let status = gateway.status().await;
    let addresses = status["upstreams"][0]["addresses"].as_array().unwrap();
    assert!(addresses.iter().any(|one| one["address"] == format!("127.0.0.1:{port}")), "{status}");
    for _ in 0..50 {
        assert_eq!(gateway.invoke_get("k").await, 200, "another address is tried when one cannot be reached");
    }
}
