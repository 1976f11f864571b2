//! Requests that may change something are copied only to a side that proves that it changes nothing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use dry_run::{HANDSHAKE_PATH, Key, PROOF_HEADER, SignedRequest, Verifier};

use super::{outcomes, start_with, these};
use crate::harness::{Exchange, Gateway, RawUpstream, Stub, eventually};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const SHADOW: &str = "[routes.shadow]\ndry_run = true\n";

const HONEST: u8 = 0;
const FORGETS_PROOF: u8 = 1;
const REFUSES: u8 = 2;

/// A service that agrees to dry runs, and the requests that it carried out dry.
struct Service {
    upstream: RawUpstream,
    manner: Arc<AtomicU8>,
    dry: Arc<AtomicUsize>,
    handshakes: Arc<AtomicUsize>,
}

impl Service {
    fn start() -> Self {
        let key = Key::new(SECRET.as_bytes()).unwrap();
        let verifier = Verifier::new(key, Duration::from_secs(30), 1_000);
        let (manner, dry, handshakes) = (Arc::new(AtomicU8::new(HONEST)), Arc::default(), Arc::default());
        let (to_manner, to_dry, to_handshakes) = (manner.clone(), Arc::clone(&dry), Arc::clone(&handshakes));
        let upstream = RawUpstream::start(move |exchange| {
            serve(exchange, &verifier, to_manner.load(Ordering::Acquire), &to_dry, &to_handshakes);
        });
        Self { upstream, manner, dry, handshakes }
    }
}

fn serve(exchange: &mut Exchange, verifier: &Verifier, manner: u8, dry: &AtomicUsize, handshakes: &AtomicUsize) {
    let header = exchange.header.clone();
    let field = |name: &str| {
        let mut lines = header.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    };
    let length = field("content-length").map_or(0, |length| length.parse().unwrap());
    let body = exchange.read_body(length);
    let target = exchange.path().to_owned();
    let method = header.split(' ').next().unwrap();
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let Some(token) = field("strangler-dry-run") else {
        return exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlive");
    };
    let request = SignedRequest { method, target: &target, body: &body };
    let verified = verifier.verify(token.as_bytes(), request, now_s).expect("the gateway signs");
    if target == HANDSHAKE_PATH {
        handshakes.fetch_add(1, Ordering::AcqRel);
        let agreement = verifier.agree(&verified);
        return exchange.send(format!("HTTP/1.1 204 No Content\r\n{PROOF_HEADER}: {agreement}\r\n\r\n"));
    }
    dry.fetch_add(1, Ordering::AcqRel);
    let proof = verifier.prove(&verified);
    exchange.send(match manner {
        HONEST => format!("HTTP/1.1 200 OK\r\n{PROOF_HEADER}: {proof}\r\nContent-Length: 4\r\n\r\nlive"),
        REFUSES => "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n".to_owned(),
        _ => "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlive".to_owned(),
    });
}

fn gateway_between(legacy: std::net::SocketAddr, candidate: std::net::SocketAddr, percent: u8) -> Gateway {
    let shadow = format!("[shadow]\ndry_run_secret = \"{SECRET}\"\ndry_run_interval = \"50ms\"\nnoise_percent = 0\n");
    start_with(legacy, candidate, SHADOW, &shadow, percent, 100)
}

async fn post(gateway: &Gateway) {
    let answer = gateway.client.post(gateway.url("/f/k?x=1")).body("{\"n\":1}").send().await.unwrap();
    assert_eq!(answer.status(), 200);
}

async fn agreed(gateway: &Gateway, agreed: u8) {
    let line = format!("gateway_shadow_dry_run_agreed{{upstream=\"candidate\"}} {agreed}\n");
    eventually("the handshake", async || gateway.metrics().await.contains(&line)).await;
}

fn live() -> RawUpstream {
    RawUpstream::start(|exchange| {
        let length = if exchange.header.starts_with("POST") { 7 } else { 0 };
        exchange.read_body(length);
        exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlive");
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_is_copied_where_a_dry_run_is_agreed_and_proven() {
    let (legacy, service) = (live(), Service::start());
    let gateway = gateway_between(legacy.address, service.upstream.address, 0);
    agreed(&gateway, 1).await;
    for _ in 0..3 {
        post(&gateway).await;
    }
    assert_eq!(outcomes(&gateway, 3).await, these([("equal", 3)]));
    assert_eq!(service.dry.load(Ordering::Acquire), 3);
    assert!(!gateway.log().contains(SECRET));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_side_that_knows_nothing_of_dry_runs_gets_no_write() {
    let (legacy, service) = (Stub::start("old"), Service::start());
    let gateway = gateway_between(legacy.address, service.upstream.address, 100);
    agreed(&gateway, 1).await;
    post(&gateway).await;
    assert_eq!(outcomes(&gateway, 1).await, these([("dropped:no_dry_run", 1)]));
    assert!(legacy.seen().iter().all(|seen| !seen.uri.starts_with("/f/")), "legacy was only asked whether it agrees");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_proof_ends_it_at_once() {
    let (legacy, service) = (live(), Service::start());
    let gateway = gateway_between(legacy.address, service.upstream.address, 0);
    // After a refusal, where nothing was carried out, it may agree again.
    agreed(&gateway, 1).await;
    service.manner.store(REFUSES, Ordering::Release);
    post(&gateway).await;
    assert_eq!(outcomes(&gateway, 1).await, these([("dropped:dry_run_unproven", 1)]));
    service.manner.store(FORGETS_PROOF, Ordering::Release);
    agreed(&gateway, 1).await;
    // After anything else it may not, however often it is asked.
    post(&gateway).await;
    agreed(&gateway, 0).await;
    let before = service.handshakes.load(Ordering::Acquire);
    eventually("two more handshakes", async || service.handshakes.load(Ordering::Acquire) > before + 1).await;
    post(&gateway).await;
    let found = outcomes(&gateway, 3).await;
    assert_eq!(found, these([("dropped:dry_run_unproven", 2), ("dropped:no_dry_run", 1)]));
    assert_eq!(service.dry.load(Ordering::Acquire), 2);
    assert!(gateway.log().contains("does not prove that it was a dry run"));
}
