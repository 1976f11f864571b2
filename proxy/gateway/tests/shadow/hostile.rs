//! The other side at its worst, while requests are served: none of them notices, memory stays bounded, and
//! every request has one outcome.

use std::{
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use tokio::task::JoinSet;

use super::{Outcomes, outcomes, start_with};
use crate::harness::{Behaviour, Exchange, Gateway, Instance, RawUpstream, Stub};

const CLIENTS: usize = 8;
const REQUESTS: usize = 60;
const ALL: u64 = (CLIENTS * REQUESTS) as u64;

const SHADOW: &str = "[routes.shadow]\ntimeout = \"300ms\"\nbody_limit = \"64KiB\"\n";
const BUDGET: &str =
    "[shadow]\nmax_concurrent = 16\nmax_concurrent_per_upstream = 8\nmax_bytes = \"4MiB\"\nnoise_percent = 0\n";

/// How much the process may grow, with all that is not shadowing.
const GROWTH_KIB: u64 = 48 * 1024;

/// Sends requests from several clients; each is to be answered by legacy, with its own body.
async fn serve_load(gateway: &Gateway) {
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let (client, http) = (reqwest::Client::new(), gateway.http);
        clients.spawn(async move {
            for count in 0..REQUESTS {
                let answer = client.get(format!("http://{http}/f/{number}-{count}")).send().await.unwrap();
                assert_eq!(
                    (answer.status().as_u16(), &answer.headers()["x-served-by"]),
                    (200, &"legacy".parse().unwrap())
                );
                assert!(answer.text().await.unwrap().contains("\"stub\":\"same\""));
            }
        });
    }
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
}

async fn load_beside(other: SocketAddr) -> Outcomes {
    let legacy = Stub::start("same");
    let gateway = start_with(legacy.address, other, SHADOW, BUDGET, 0, 100);
    serve_load(&gateway).await;
    let found = outcomes(&gateway, ALL).await;
    let metrics = gateway.metrics().await;
    assert!(metrics.contains("gateway_shadow_bytes 0\n"), "all memory is given back");
    assert!(
        metrics.contains("gateway_request_errors_total{route=\"invoke\",side=\"candidate\"} 0"),
        "copies are no requests"
    );
    let high = gateway.memory_kib("VmHWM");
    assert!(high < memory_at_rest() + GROWTH_KIB, "{high} KiB");
    found
}

/// What a gateway needs that shadows nothing.
fn memory_at_rest() -> u64 {
    let stub = SocketAddr::from(([127, 0, 0, 1], 1));
    start_with(stub, stub, SHADOW, BUDGET, 0, 0).memory_kib("VmHWM")
}

fn only(found: &Outcomes, allowed: &[&str]) {
    assert!(found.keys().all(|outcome| allowed.contains(&outcome.as_str())), "{found:?}");
    assert!(found.contains_key(allowed[0]), "{found:?}");
}

/// What becomes of copies for a side that had no answer to be compared for too many in a row.
const RESTING: &str = "dropped:other_resting";

const BUDGETS: [&str; 4] = ["dropped:concurrency", "dropped:upstream_concurrency", "dropped:memory", RESTING];

fn with_budgets(reason: &'static str) -> Vec<&'static str> {
    [reason].into_iter().chain(BUDGETS).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_side_is_dead() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let found = load_beside(closed).await;
    only(&found, &with_budgets("dropped:other_unavailable"));
    assert!(found[RESTING] > found["dropped:other_unavailable"], "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_side_takes_two_seconds() {
    let slow = Instance::start(Behaviour::After(Duration::from_secs(2)));
    only(&load_beside(slow.address).await, &with_budgets("dropped:other_timeout"));
    assert!(slow.highest() <= 16, "{}", slow.highest());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_side_trickles() {
    let trickling = RawUpstream::start(|exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n");
        while exchange.write(b"x") {
            std::thread::sleep(Duration::from_millis(20));
        }
        exchange.close();
    });
    only(&load_beside(trickling.address).await, &with_budgets("dropped:other_timeout"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_side_answers_100_mb() {
    for head in ["HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"]
    {
        let endless = RawUpstream::start(move |exchange| {
            exchange.send(head);
            let chunk = [b'x'; 10_000];
            for _ in 0..10_000 {
                if !exchange.write(&chunk) {
                    break;
                }
            }
            exchange.close();
        });
        only(&load_beside(endless.address).await, &with_budgets("dropped:other_too_large"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_side_resets() {
    let resetting = Instance::start(Behaviour::Reset);
    let found = load_beside(resetting.address).await;
    only(&found, &with_budgets("dropped:other_broken"));
    assert!(found[RESTING] > found["dropped:other_broken"], "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_side_frames_wrongly() {
    let broken: [&'static str; 5] = [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "no HTTP at all\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ];
    for text in broken {
        let upstream = RawUpstream::start(move |exchange: &mut Exchange| {
            exchange.send(text);
            exchange.close();
        });
        only(&load_beside(upstream.address).await, &with_budgets("dropped:other_broken"));
    }
}
