//! Hosts, conditions, rewriting, header edits, trusted proxies and limits of one route.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::harness::{Gateway, Setup, eventually};

/// Sends bytes as they are and returns what comes back until the connection ends.
async fn raw(gateway: &Gateway, request: &str) -> String {
    let mut stream = TcpStream::connect(gateway.http).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// The route that the latest line of the access log names.
async fn route_taken(gateway: &Gateway, before: usize) -> String {
    eventually("the request is logged", async || gateway.access_log().len() > before).await;
    gateway.access_log().last().unwrap()["route"].as_str().unwrap_or("none").to_owned()
}

const ROUTES: &str = r#"
[[routes]]
name = "shop"
hosts = ["Shop.Example", "[::1]"]
prefix = "/p"
legacy = "legacy"
[[routes]]
name = "any-shop"
hosts = ["*.example"]
prefix = "/p"
legacy = "legacy"
[[routes]]
name = "beta"
prefix = "/p"
headers = { x-beta = { prefix = "v2" }, x-user = { present = true } }
legacy = "legacy"
[[routes]]
name = "debug"
prefix = "/p"
query = { debug = "a b" }
legacy = "legacy"
[[routes]]
name = "plain"
prefix = "/p"
legacy = "legacy"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn host_headers_and_query_choose_the_route() {
    let setup = Setup::with(ROUTES, "", "");
    let gateway = &setup.gateway;
    for (target, lines, expected) in [
        ("/p/x", "host: shop.example\r\n", "shop"),
        ("/p", "host: SHOP.example.:8080\r\n", "shop"),
        ("/p", "host: [0:0::1]:80\r\n", "shop"),
        ("http://shop.example/p", "host: shop.example\r\n", "shop"),
        ("/p/x", "host: a.b.example\r\n", "any-shop"),
        ("/p/x", "host: example\r\n", "plain"),
        ("/p/x", "host: shop.example.evil\r\n", "plain"),
        ("/p/x", "host: a\r\nx-beta: v21\r\nx-user: u\r\n", "beta"),
        ("/p/x", "host: a\r\nx-beta: v21\r\nx-beta: v1\r\nx-user: u\r\n", "plain"),
        ("/p/x", "host: a\r\nx-beta: v21\r\n", "plain"),
        ("/p/x?debug=a+b&debug=a%20b", "host: a\r\n", "debug"),
        ("/p/x?debug=a+b&debug=c", "host: a\r\n", "plain"),
        ("/p/x?debug=a%2520b", "host: a\r\n", "plain"),
        ("/px", "host: shop.example\r\n", "none"),
    ] {
        let before = gateway.access_log().len();
        raw(gateway, &format!("GET {target} HTTP/1.1\r\n{lines}connection: close\r\n\r\n")).await;
        assert_eq!(route_taken(gateway, before).await, expected, "{target} {lines:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_can_be_read_in_two_ways_is_refused() {
    let setup = Setup::with(ROUTES, "", "");
    for lines in [
        "host: shop.example\r\nhost: other\r\n",
        "host: shop.example\r\nhost: shop.example\r\n",
        "host: shop.example, other\r\n",
        "host: user@shop.example\r\n",
        "host: shop.example:80:80\r\n",
        "host: shop..example\r\n",
        "host: shop.example/\r\n",
        "host: shop%2eexample\r\n",
        "host: shop.example#\r\n",
        "host: ::1\r\n",
        "host: \r\n",
    ] {
        let answer = raw(&setup.gateway, &format!("GET /p HTTP/1.1\r\n{lines}connection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{lines:?}: {answer}");
    }
    let absolute = "GET http://other.example/p HTTP/1.1\r\nhost: shop.example\r\nconnection: close\r\n\r\n";
    assert!(raw(&setup.gateway, absolute).await.starts_with("HTTP/1.1 400"), "target and Host disagree");
    assert!(setup.legacy.seen().is_empty());
}

const EDITED: &str = r#"
rewrite = "/v2/{id}/run"
request_headers = { set = { x-version = "2", user-agent = "gateway" }, add = { x-tag = "b" }, remove = ["cookie"] }
response_headers = { set = { x-frame-options = "DENY" }, remove = ["content-type"] }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_route_rewrites_the_path_and_edits_headers() {
    let setup = Setup::with(EDITED, "", "");
    let gateway = &setup.gateway;
    for (sent, arrived) in [
        ("/f/7/invoke", "/v2/7/run"),
        ("/f/a%3Fb%23c/invoke/?q=%2F..&r", "/v2/a%3Fb%23c/run/?q=%2F..&r"),
        ("/f/caf%c3%a9%25/%69nvoke", "/v2/caf%C3%A9%25/run"),
    ] {
        let request = format!(
            "POST {sent} HTTP/1.1\r\nhost: a\r\nx-tag: a\r\ncookie: c\r\nuser-agent: curl\r\ncontent-length: 0\r\n\
             connection: close\r\n\r\n"
        );
        let answer = raw(gateway, &request).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{sent}: {answer}");
        let head = answer.to_ascii_lowercase();
        assert!(head.contains("x-frame-options: deny") && !head.contains("content-type"), "{answer}");
        let seen = setup.legacy.seen().pop().unwrap();
        assert_eq!(seen.uri, arrived);
        let all = |name: &str| seen.headers.get_all(name).iter().map(|v| v.to_str().unwrap()).collect::<Vec<_>>();
        assert_eq!((all("x-version"), all("x-tag"), all("user-agent")), (vec!["2"], vec!["a", "b"], vec!["gateway"]));
        assert!(all("cookie").is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_says_who_the_client_is() {
    let by_client = "[[routes]]\nname = \"mine\"\npath = \"/mine\"\nkey = \"client\"\nlegacy = \"legacy\"\n";
    for (trusted, sent, key, chain) in [
        (
            "[\"127.0.0.0/8\", \"10.0.0.0/8\"]",
            "6.6.6.6, 1.2.3.4, 10.0.0.1",
            "1.2.3.4",
            "6.6.6.6, 1.2.3.4, 10.0.0.1, 127.0.0.1",
        ),
        ("[\"10.0.0.0/8\"]", "1.2.3.4", "127.0.0.1", "127.0.0.1"),
    ] {
        let setup = Setup::with(by_client, &format!("trusted_proxies = {trusted}"), "");
        let gateway = &setup.gateway;
        let request = gateway.client.get(gateway.url("/mine")).header("x-forwarded-for", sent);
        let answer =
            request.header("x-forwarded-proto", "https").header("forwarded", "for=9.9.9.9").send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let seen = setup.legacy.seen().pop().unwrap().headers;
        let proto = if key == "1.2.3.4" { "https" } else { "http" };
        assert_eq!(
            (seen["x-forwarded-for"].to_str().unwrap(), seen["x-forwarded-proto"].to_str().unwrap()),
            (chain, proto)
        );
        assert!(!seen.contains_key("forwarded"));
        eventually("it is logged", async || gateway.access_log().iter().any(|line| line["key"] == key)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_has_limits_of_its_own() {
    let setup = Setup::with("body_limit = \"1 KiB\"\ntimeout = \"300ms\"", "body_limit = \"4 KiB\"", "");
    let gateway = &setup.gateway;
    let post = async |path: &str, length: usize| {
        gateway.client.post(gateway.url(path)).body(vec![0; length]).send().await.unwrap().status().as_u16()
    };
    assert_eq!((post("/f/k/invoke", 1_024).await, post("/f/k/invoke", 1_025).await), (200, 413));
    assert_eq!((post("/files/a", 4_096).await, post("/files/a", 4_097).await), (200, 413));
    let chunked = format!(
        "POST /f/k/invoke HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n401\r\n{}\r\n0\r\n\r\n",
        "x".repeat(1_025)
    );
    let answer = raw(gateway, &chunked).await;
    assert!(
        answer.starts_with("HTTP/1.1 413") && answer.contains("body_too_large"),
        "and the connection ended: {answer}"
    );

    let held = gateway.client.post(gateway.url("/f/k/invoke")).header("x-test-hold", "1").send().await.unwrap();
    assert_eq!(
        (held.status().as_u16(), held.json::<Value>().await.unwrap()["error"].clone()),
        (504, json!("upstream_timeout"))
    );
    setup.legacy.release_held();
    let answer = gateway.client.request(Method::POST, gateway.url("/f/k/invoke")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
}
