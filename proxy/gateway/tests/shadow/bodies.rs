//! Bodies are copied once and whole: after a retry, beyond pingora's buffer, and between protocols.

use bytes::Bytes;
use http::Request;
use xxhash_rust::xxh3::xxh3_64;

use super::{NO_NOISE, outcomes, start, these};
use crate::harness::{Behaviour, Instance, RawUpstream, Stub, Wire, connect_http2, eventually, exchange_http2};

const SHADOW: &str = "[routes.shadow]\n";

#[tokio::test(flavor = "multi_thread")]
async fn ten_bytes_are_copied_as_ten_after_a_retry() {
    let tries = std::sync::atomic::AtomicUsize::new(0);
    let legacy = RawUpstream::start(move |exchange| {
        assert_eq!(exchange.read_body(10), b"0123456789");
        let first = tries.fetch_add(1, std::sync::atomic::Ordering::AcqRel).is_multiple_of(2);
        let status = if first { "503 Not Yet" } else { "200 OK" };
        exchange.send(format!("HTTP/1.1 {status}\r\nContent-Length: 12\r\n\r\nanswered 200"));
    });
    let candidate = Instance::start(Behaviour::Answer(200));
    let route = "retries = { on = [\"503\"], backoff = \"1ms\" }\n[routes.shadow]\n";
    let gateway = start(legacy.address, candidate.address, route, 0, 100);
    for _ in 0..5 {
        let answer = gateway.client.get(gateway.url("/f/k")).body("0123456789").send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
    assert_eq!(outcomes(&gateway, 5).await, these([("equal", 5)]));
    assert_eq!((candidate.requests(), candidate.body_bytes()), (5, 50));
    assert_eq!(candidate.last_body(), (10, xxh3_64(b"0123456789")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_was_read_for_its_key_is_copied_whole() {
    let (legacy, candidate) = (Stub::start("same"), Stub::start("same"));
    let route = "[routes.shadow]\n[[routes]]\nname = \"by-body\"\npath = \"/b\"\nkey = \"body:/id\"\n\
                 key_body_limit = \"1 MiB\"\nlegacy = \"legacy\"\ncandidate = \"candidate\"\n[routes.shadow]\n";
    let gateway = start(legacy.address, candidate.address, route, 0, 0);
    gateway.edit_rollout("[routes.by-body]\npercent = 0\nshadow = 100\n");
    eventually("the share is in force", async || gateway.metrics().await.contains("gateway_rollout_revision 2")).await;
    let lengths = [100, 64 * 1024, 64 * 1024 + 1, 200_000];
    for length in lengths {
        let body = format!("{{\"id\":\"k\",\"pad\":\"{}\"}}", "x".repeat(length - 19));
        let answer = gateway.client.get(gateway.url("/b")).body(body.clone()).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        eventually("the copy is there", async || candidate.seen().len() == legacy.seen().len()).await;
        let seen = candidate.seen().pop().unwrap();
        assert_eq!((seen.body_length, seen.body_hash), (body.len(), xxh3_64(body.as_bytes())), "{length}");
    }
    assert_eq!(outcomes(&gateway, lengths.len() as u64).await, these([("equal", lengths.len() as u64)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_served_and_not_copied() {
    let (legacy, candidate) = (Stub::start("same"), Stub::start("same"));
    let gateway = start(legacy.address, candidate.address, "[routes.shadow]\nbody_limit = \"1KiB\"\n", 0, 100);
    for length in [1_024, 1_025, 300_000] {
        let answer = gateway.client.get(gateway.url("/f/k")).body("x".repeat(length)).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
    assert_eq!(outcomes(&gateway, 3).await, these([("dropped:request_too_large", 2), ("equal", 1)]));
    assert_eq!((legacy.seen().len(), candidate.seen().len()), (3, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn protocols_of_client_and_sides_may_differ() {
    for [legacy_wire, candidate_wire] in [[Wire::H2c, Wire::Http1], [Wire::Http1, Wire::H2c]] {
        let protocol = |wire: &Wire| if matches!(wire, Wire::H2c) { "h2c" } else { "http1" };
        let protocols = [protocol(&legacy_wire), protocol(&candidate_wire)];
        let legacy = Instance::speaking(legacy_wire, Behaviour::Answer(200));
        let candidate = Instance::speaking(candidate_wire, Behaviour::Answer(200));
        let template = crate::shadow::config(legacy.address, candidate.address, SHADOW, NO_NOISE);
        let config = template
            .replace("[upstreams.legacy]\n", &format!("[upstreams.legacy]\nprotocol = \"{}\"\n", protocols[0]))
            .replace("[upstreams.candidate]\n", &format!("[upstreams.candidate]\nprotocol = \"{}\"\n", protocols[1]));
        let gateway = crate::harness::Gateway::start(&config, "[routes.invoke]\npercent = 0\nshadow = 100\n");
        for body in ["", "with a body"] {
            gateway.client.get(gateway.url("/f/k?a=b")).body(body).send().await.unwrap();
            let mut sender = connect_http2(gateway.http).await;
            let request = Request::builder().uri(gateway.url("/f/k?a=b")).body(()).unwrap();
            let body = (!body.is_empty()).then(|| Bytes::from_static(body.as_bytes()));
            let answer = exchange_http2(&mut sender, request, body).await.unwrap();
            assert_eq!(answer.status, 200);
        }
        assert_eq!(outcomes(&gateway, 4).await, these([("equal", 4)]), "{protocols:?}");
        assert_eq!((legacy.requests(), candidate.requests()), (4, 4));
        assert_eq!(candidate.body_bytes(), 2 * "with a body".len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_to_a_request_it_has_one_outcome() {
    let legacy = RawUpstream::start(|exchange| match exchange.path() {
        "/f/broken" => exchange.close(),
        "/f/short" => {
            exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345");
            exchange.close();
        }
        "/f/events" => {
            exchange.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 0\r\n\r\n");
        }
        "/f/hangs" => {
            exchange.body_comes();
            exchange.close();
        }
        _ => exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    });
    let candidate = Stub::start("other");
    let route = "body_limit = \"100B\"\nkey_required = true\n[routes.shadow]\n";
    let gateway = start(legacy.address, candidate.address, route, 0, 100);
    let get = async |path: &str| gateway.client.get(gateway.url(path)).send().await;
    for path in ["/f/broken", "/f/short", "/f/events", "/f/1", "/no/route"] {
        let _ = get(path).await;
    }
    let _ = gateway.client.get(gateway.url("/f/long")).body("x".repeat(200)).send().await;
    let gone = tokio::time::timeout(std::time::Duration::from_millis(50), get("/f/hangs")).await;
    assert!(gone.is_err(), "the client went away first");
    let found = outcomes(&gateway, 5).await;
    // Neither what no route takes nor what is refused at once is among them.
    for (outcome, count) in [("different", 1), ("dropped:stream", 1)] {
        assert_eq!(found.get(outcome), Some(&count), "{found:?}");
    }
}
