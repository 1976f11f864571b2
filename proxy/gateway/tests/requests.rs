use std::time::Duration;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use xxhash_rust::xxh3::xxh3_64;

use crate::harness::{Gateway, Setup, eventually};

const MIB: usize = 1024 * 1024;

/// Sends bytes as they are and returns what comes back until the connection ends.
async fn raw(gateway: &Gateway, request: &str) -> String {
    let mut stream = TcpStream::connect(gateway.http).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

async fn raw_path(gateway: &Gateway, path: &str) -> String {
    raw(gateway, &format!("POST {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_path_slips_past_a_route() {
    let setup = Setup::start();
    let gateway = &setup.gateway;
    for path in [
        "/f/x%2Finvoke",
        "/f/x%5cinvoke",
        "/f/x\\invoke",
        "/f//x/invoke",
        "//f/x/invoke",
        "/files/../f/x/invoke",
        "/files/%2e%2e/f/x/invoke",
        "/files/..;/f/x/invoke",
        "/files/%252e%252e/f/x/invoke",
        "/f/./x/invoke",
        "/f/x/invoke;v=1",
        "/f/x%3bv=1/invoke",
        "/f/x%00/invoke",
        "/f/x%0d%0a/invoke",
        "/f/x%zz/invoke",
        "/f/caf\u{e9}/invoke",
        "*",
    ] {
        let answer = raw_path(gateway, path).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{path}: {answer}");
    }
    assert!(setup.legacy.seen().is_empty() && setup.candidate.seen().is_empty());
    for path in ["/f", "/f/x", "/f/x/invoke/more", "/F/x/invoke"] {
        let answer = raw_path(gateway, path).await;
        assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("route_not_found"), "{path}: {answer}");
    }
    for path in ["/f/x/invoke", "/f/x/%69nvoke", "/f/x/invoke/", "/f/x/invoke?a=//..%2f"] {
        assert!(raw_path(gateway, path).await.starts_with("HTTP/1.1 200"), "{path}");
        assert_eq!(setup.legacy.seen().last().unwrap().uri, path, "the upstream gets the bytes of the client");
    }
    assert!(raw_path(gateway, "/f/x/invoke#/../y").await.starts_with("HTTP/1.1 400"));
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_arrive_once_and_whole_on_either_side_and_on_the_fallback() {
    let mut setup = Setup::start();
    let sizes = [0, 1, 64 * 1024 - 1, 64 * 1024, 64 * 1024 + 1, MIB, 10 * MIB];
    for (percent, killed) in [(0.0, false), (100.0, false), (100.0, true)] {
        setup.gateway.set_weight(percent).await;
        if killed {
            setup.candidate.kill();
            eventually("the candidate is gone", async || TcpStream::connect(setup.candidate.address).await.is_err())
                .await;
        }
        let stub = if percent > 0.0 && !killed { &setup.candidate } else { &setup.legacy };
        for size in sizes {
            let body: Vec<u8> = (0..size).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let before = stub.seen().len();
            let gateway = &setup.gateway;
            let answer = gateway.client.post(gateway.url("/f/k/invoke")).body(body.clone()).send().await.unwrap();
            assert_eq!(answer.status(), 200, "{size} bytes at {percent} %");
            let seen = stub.seen();
            let arrived = seen.last().unwrap();
            assert_eq!((seen.len(), arrived.body_length, arrived.body_hash), (before + 1, size, xxh3_64(&body)));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_answered_and_not_forwarded() {
    let setup = Setup::with("", "body_limit = \"1 KiB\"\nheader_limit = \"4 KiB\"", "");
    let gateway = &setup.gateway;
    let url = gateway.url("/f/k/invoke");
    let fits = gateway.client.post(&url).body(vec![0; 1_024]).send().await.unwrap();
    assert_eq!(fits.status(), 200);
    let declared = gateway.client.post(&url).body(vec![0; 1_025]).send().await.unwrap();
    assert_eq!(declared.status(), 413);
    assert_eq!(declared.json::<Value>().await.unwrap()["error"], json!("body_too_large"));
    let chunked = format!(
        "POST /f/k/invoke HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{}\r\n0\r\n\r\n",
        2_048,
        "x".repeat(2_048)
    );
    assert!(raw(gateway, &chunked).await.starts_with("HTTP/1.1 413"));
    let wide = gateway.client.post(&url).header("x-wide", "x".repeat(8_192)).send().await.unwrap();
    assert_eq!(wide.status(), 431);
    assert_eq!(setup.legacy.seen().iter().filter(|seen| seen.body_length > 0).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_cannot_forge_what_the_gateway_says() {
    let setup = Setup::start();
    let gateway = &setup.gateway;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let answer = gateway
        .client
        .post(gateway.url("/f/k/invoke"))
        .header("x-served-by", "candidate")
        .header("x-forwarded-for", "1.2.3.4")
        .header("x-forwarded-for", "5.6.7.8")
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-host", "bank.example")
        .header("forwarded", "for=1.2.3.4")
        .header("x-real-ip", "1.2.3.4")
        .header("x-request-id", "mine-1")
        .header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"))
        .header("te", "trailers")
        .header("proxy-authorization", "Basic x")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.headers()["x-served-by"], "legacy");
    assert_eq!(answer.headers()["x-request-id"], "mine-1");
    assert_eq!(answer.headers().get_all("x-request-id").iter().count(), 1);
    let seen = setup.legacy.seen().pop().unwrap().headers;
    let all = |name: &str| seen.get_all(name).iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(all("x-forwarded-proto"), ["http"]);
    assert_eq!(all("host"), [gateway.http.to_string()]);
    assert_eq!(all("x-request-id"), ["mine-1"]);
    for name in ["forwarded", "x-forwarded-host", "x-real-ip", "x-served-by"] {
        assert!(all(name).is_empty(), "{name}");
    }
    let parent = all("traceparent")[0].to_owned();
    assert!(parent.starts_with(&format!("00-{trace}-")) && !parent.contains("00f067aa0ba902b7"), "{parent}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_cannot_nominate_our_headers_away() {
    let setup = Setup::start();
    for nominated in ["x-forwarded-for", "x-request-id", "traceparent", "x-forwarded-proto, x-own"] {
        let before = setup.legacy.seen().len();
        let request = format!(
            "POST /f/k/invoke HTTP/1.1\r\nhost: a\r\nconnection: close, {nominated}\r\nx-own: 1\r\ncontent-length: 0\r\n\r\n"
        );
        let answer = raw(&setup.gateway, &request).await;
        let seen = setup.legacy.seen();
        if seen.len() == before {
            assert!(answer.starts_with("HTTP/1.1 400"), "{nominated}: {answer}");
            continue;
        }
        let headers = &seen.last().unwrap().headers;
        for name in ["x-forwarded-for", "x-request-id", "traceparent", "x-forwarded-proto"] {
            assert!(headers.contains_key(name), "{name} is missing after nominating {nominated}");
        }
    }
}
