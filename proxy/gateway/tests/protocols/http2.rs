//! HTTP/2 from clients: beside HTTP/1.1, its drain, and what a hostile client may cost.

use std::net::SocketAddr;

use bytes::Bytes;
use http::Request;
use nix::sys::signal::Signal;

use super::blocking;
use crate::harness::{END_HEADERS, END_STREAM, Frames, Setup, StreamEnd, connect_http2, eventually, exchange_http2};

const H2C: &str = "h2c = true\nread_timeout = \"2s\"";

fn get(path: &str) -> Request<()> {
    Request::get(format!("http://site{path}")).body(()).unwrap()
}

fn fields(path: &[u8]) -> [(&[u8], &[u8]); 4] {
    [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"site"), (b":path", path)]
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_spoken_beside_http_1_without_tls_when_asked_for() {
    let setup = Setup::with("", H2C, "");
    let mut sender = connect_http2(setup.gateway.http).await;
    for length in [0, 5, 65_535, 65_536, 1 << 20] {
        let request = Request::post("http://site/f/k/invoke").body(()).unwrap();
        // The window grows as the upstream takes the body, so all of it can be queued at once.
        let body = Bytes::from(vec![b'a'; length]);
        let answer = exchange_http2(&mut sender, request, Some(body)).await.unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(setup.legacy.seen().last().unwrap().body_length, length);
    }
    let hosts = setup.legacy.seen().iter().all(|seen| seen.headers["host"] == "site");
    assert!(hosts, "the authority is the host");
    assert_eq!(setup.gateway.side_of("k").await, "legacy", "and HTTP/1.1 is spoken there too");

    let without = Setup::start();
    let (http, mut frames) = (without.gateway.http, Frames::connect(without.gateway.http));
    frames.headers(1, END_STREAM | END_HEADERS, &fields(b"/files/x"));
    assert_eq!(blocking(move || frames.end_of(1)).await, StreamEnd::ConnectionEnded, "not without being asked: {http}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_share_one_connection() {
    let setup = Setup::with("", H2C, "");
    let mut sender = connect_http2(setup.gateway.http).await;
    // The answer comes after the gateway's word on how many streams it takes at once.
    exchange_http2(&mut sender, get("/files/first"), None).await.unwrap();
    let mut requests = tokio::task::JoinSet::new();
    for number in 0..200 {
        let mut sender = sender.clone();
        requests.spawn(async move { exchange_http2(&mut sender, get(&format!("/files/{number}")), None).await });
    }
    while let Some(answer) = requests.join_next().await {
        assert_eq!(answer.unwrap().unwrap().status, 200);
    }
    assert_eq!(setup.legacy.seen().len(), 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_answers_what_was_asked_and_sends_goaway() {
    let mut setup = Setup::with("", H2C, "");
    let mut sender = connect_http2(setup.gateway.http).await;
    let request = Request::post("http://site/f/k/invoke").header("x-test-hold", "1").body(()).unwrap();
    let mut slow = sender.clone();
    let slow = tokio::spawn(async move { exchange_http2(&mut slow, request, Some(Bytes::from("{}"))).await });
    eventually("the request is in flight", async || setup.legacy.seen().len() == 1).await;
    setup.gateway.signal(Signal::SIGTERM);
    eventually("new requests go elsewhere", async || exchange_http2(&mut sender, get("/files/x"), None).await.is_err())
        .await;
    setup.legacy.release_held();
    assert_eq!(slow.await.unwrap().unwrap().status, 200);
    assert_eq!(setup.gateway.exit_code().await, Some(0));
}

/// The gateway serves others, and has not grown much.
async fn unharmed(setup: &Setup, before_kib: u64) {
    assert_eq!(setup.gateway.side_of("k").await, "legacy");
    let grown = setup.gateway.memory_kib("VmRSS").saturating_sub(before_kib);
    assert!(grown < 32 * 1024, "grown by {grown} KiB");
}

async fn attack(http: SocketAddr, attack: impl Fn(&mut Frames) + Send + Sync + Copy + 'static) {
    let attackers: Vec<_> = (0..4)
        .map(|_| {
            tokio::spawn(blocking(move || {
                let mut frames = Frames::connect(http);
                attack(&mut frames);
                assert!(frames.ends());
            }))
        })
        .collect();
    for attacker in attackers {
        attacker.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_resets_end_the_connection_and_nothing_else() {
    let setup = Setup::with("", H2C, "");
    setup.gateway.side_of("k").await;
    let before = setup.gateway.memory_kib("VmRSS");
    // CVE-2023-44487: each request is reset as soon as it is sent.
    attack(setup.gateway.http, |frames| {
        for number in 0..50_000_u32 {
            let id = number * 2 + 1;
            if !frames.headers(id, END_STREAM | END_HEADERS, &fields(b"/files/x")) || !frames.reset(id) {
                return;
            }
        }
    })
    .await;
    unharmed(&setup, before).await;
    eventually("nothing is left in flight", async || {
        let metrics = setup.gateway.metrics().await;
        metrics.lines().filter(|line| line.starts_with("gateway_requests_in_flight{")).all(|line| line.ends_with(" 0"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_continuations_end_the_connection_and_nothing_else() {
    let setup = Setup::with("", H2C, "");
    setup.gateway.side_of("k").await;
    let before = setup.gateway.memory_kib("VmRSS");
    // CVE-2024-27316 and its kin: a header that never ends.
    attack(setup.gateway.http, |frames| {
        frames.headers(1, END_STREAM, &fields(b"/files/x"));
        let value = [b'a'; 8 * 1024];
        for _ in 0..50_000 {
            if !frames.continuation(1, 0, &[(b"x-a", &value)]) {
                return;
            }
        }
    })
    .await;
    unharmed(&setup, before).await;
    assert!(setup.legacy.seen().iter().all(|seen| seen.uri != "/files/x"));
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_compression_is_limited_by_what_it_unpacks_to() {
    let setup = Setup::with("", H2C, "");
    setup.gateway.side_of("k").await;
    let before = setup.gateway.memory_kib("VmRSS");
    let http = setup.gateway.http;
    let end = blocking(move || {
        let mut frames = Frames::connect(http);
        // One field of 4,000 bytes goes into the table (RFC 7541, section 6.2.1); each byte after it
        // repeats it (section 6.1): 10,000 bytes for 40 MB.
        let mut block = vec![0x40, 3, b'x', b'-', b'a', 127];
        let value = 4_000_usize;
        let mut rest = value - 127;
        while rest >= 128 {
            block.push(u8::try_from(rest % 128).unwrap() | 128);
            rest /= 128;
        }
        block.push(u8::try_from(rest).unwrap());
        block.extend(vec![b'a'; value]);
        block.extend(vec![0x80 | 62; 10_000]);
        let mut plain = Vec::new();
        for (name, value) in fields(b"/files/bomb") {
            plain.push(0);
            plain.push(u8::try_from(name.len()).unwrap());
            plain.extend(name);
            plain.push(u8::try_from(value.len()).unwrap());
            plain.extend(value);
        }
        plain.extend(block);
        frames.frame(1, END_STREAM | END_HEADERS, 1, &plain);
        frames.end_of(1)
    })
    .await;
    assert!(matches!(end, StreamEnd::Status(431 | 400) | StreamEnd::Reset | StreamEnd::ConnectionEnded), "{end:?}");
    unharmed(&setup, before).await;
    assert!(setup.legacy.seen().iter().all(|seen| seen.uri != "/files/bomb"));
}
