//! HTTP/1.1 beyond a plain request: RFC 9110, sections 9, 10.1.1 and 15, RFC 9112, section 9.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use super::{blocking, gateway};
use crate::harness::{RawClient, RawUpstream};

const EXPECTING: &str = "POST /files/x HTTP/1.1\r\nHost: site\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";

fn get(path: &str) -> String {
    format!("GET /files/{path} HTTP/1.1\r\nHost: site\r\n\r\n")
}

#[test]
fn an_upstream_that_wants_no_body_gets_none() {
    let came = Arc::new(AtomicBool::new(false));
    let seen = came.clone();
    let upstream = RawUpstream::start(move |exchange| {
        seen.fetch_or(exchange.body_comes(), Ordering::SeqCst);
        exchange.send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno");
    });
    let gateway = gateway(&upstream, "read_timeout = \"1s\"");
    let mut client = RawClient::connect(gateway.http);
    let answer = client.send(EXPECTING).answer(false).unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (401, b"no".as_slice()));
    // The body was announced, so whatever comes next would be taken for it. A client that sends it all
    // the same has `read_timeout` to do so and is heard to the end.
    assert!(client.is_closed());
    assert!(!came.load(Ordering::SeqCst));
}

#[test]
fn a_client_that_waits_to_send_its_body_hears_when_to() {
    let upstream = RawUpstream::start(|exchange| {
        assert!(!exchange.body_comes(), "the body waits for the word");
        exchange.send("HTTP/1.1 100 Continue\r\n\r\n");
        let body = exchange.read_body(5);
        exchange.send([b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n".as_slice(), &body].concat());
    });
    let gateway = gateway(&upstream, "");
    for _ in 0..2 {
        let mut client = RawClient::connect(gateway.http);
        assert_eq!(client.send(EXPECTING).answer(false).unwrap().status, 100);
        let answer = client.send("hello").answer(false).unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (200, b"hello".as_slice()));
    }
}

#[test]
fn early_hints_come_before_the_answer() {
    let upstream = RawUpstream::start(|exchange| {
        exchange.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n");
        exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    let gateway = gateway(&upstream, "");
    let mut client = RawClient::connect(gateway.http);
    let hints = client.send(get("x")).answer(false).unwrap();
    assert_eq!((hints.status, hints.header("link")), (103, Some("</a.css>")));
    let answer = client.answer(false).unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (200, b"ok".as_slice()));
}

#[test]
fn answers_without_a_body_leave_the_connection_intact() {
    let upstream = RawUpstream::start(|exchange| {
        let answer = match exchange.path() {
            "/files/204" => "204 No Content\r\n",
            "/files/304" => "304 Not Modified\r\nContent-Length: 5\r\nETag: \"a\"\r\n",
            _ => "200 OK\r\nContent-Length: 5\r\n",
        };
        exchange.send(format!("HTTP/1.1 {answer}\r\n"));
    });
    let gateway = gateway(&upstream, "");
    let mut client = RawClient::connect(gateway.http);
    for _ in 0..2 {
        let answer = client.send("HEAD /files/x HTTP/1.1\r\nHost: site\r\n\r\n").answer(true).unwrap();
        assert_eq!((answer.status, answer.header("content-length")), (200, Some("5")));
        for status in [204, 304] {
            let answer = client.send(get(&status.to_string())).answer(false).unwrap();
            assert_eq!(answer.status, status);
        }
    }
}

#[test]
fn a_client_of_http_1_0_gets_an_answer_that_it_can_read() {
    let upstream = RawUpstream::start(|exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n3\r\nyou\r\n0\r\n\r\n");
    });
    let gateway = gateway(&upstream, "");
    let mut client = RawClient::connect(gateway.http);
    let answer = client.send("GET /files/x HTTP/1.0\r\nHost: site\r\n\r\n").answer(false).unwrap();
    assert_eq!(answer.header("transfer-encoding"), None, "HTTP/1.0 has no chunks");
    assert_eq!((answer.status, answer.body.as_slice()), (200, b"hiyou".as_slice()));
}

#[test]
fn requests_sent_ahead_are_answered_in_their_order() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let seen = order.clone();
    let upstream = RawUpstream::start(move |exchange| {
        let path = exchange.path().to_owned();
        let body = if exchange.header.starts_with("POST") { exchange.read_body(3) } else { Vec::new() };
        seen.lock().unwrap().push((path.clone(), body));
        exchange.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}", path.len()));
    });
    let gateway = gateway(&upstream, "");
    let mut client = RawClient::connect(gateway.http);
    let post = "POST /files/2 HTTP/1.1\r\nHost: site\r\nContent-Length: 3\r\n\r\nabc";
    client.send([get("1"), post.to_owned(), get("3")].concat());
    for path in ["/files/1", "/files/2", "/files/3"] {
        assert_eq!(client.answer(false).unwrap().body, path.as_bytes());
    }
    let bodies = order.lock().unwrap().clone();
    let expected = [("/files/1", ""), ("/files/2", "abc"), ("/files/3", "")];
    assert_eq!(bodies, expected.map(|(path, body)| (path.to_owned(), body.as_bytes().to_vec())));
}

#[test]
fn an_upstream_that_refuses_websocket_is_an_answer_like_others() {
    let upstream = RawUpstream::start(|exchange| {
        assert!(exchange.header.to_ascii_lowercase().contains("upgrade: websocket"), "{}", exchange.header);
        exchange.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
    });
    let gateway = gateway(&upstream, "");
    let mut client = RawClient::connect(gateway.http);
    let upgrade = "GET /files/x HTTP/1.1\r\nHost: site\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let answer = client.send(upgrade).answer(false).unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (403, b"no".as_slice()));
}

/// Sends one byte every 20 ms until the gateway has had enough.
fn drip(client: &mut RawClient, bytes: &[u8]) {
    for byte in bytes {
        client.send([*byte]);
        // What is tested is a client that takes its time.
        thread::sleep(Duration::from_millis(20));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_a_head_that_comes_byte_by_byte_does_not_keep_its_connection() {
    let upstream = RawUpstream::start(|exchange| {
        let body = if exchange.header.starts_with("POST") { exchange.read_body(40) } else { Vec::new() };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        exchange.send([head.as_bytes(), &body].concat());
    });
    let gateway = gateway(&upstream, "header_timeout = \"400ms\"\nkeepalive_timeout = \"1s\"");
    let address = gateway.http;
    let slow = blocking(move || {
        let endless = "GET /files/x HTTP/1.1\r\nHost: site\r\nx-long: ".to_owned() + &"a".repeat(60);
        let mut first = RawClient::connect(address);
        drip(&mut first, endless.as_bytes());
        assert!(first.is_closed(), "the first head of a connection");
        let mut second = RawClient::connect(address);
        assert_eq!(second.send(get("x")).answer(false).unwrap().status, 200);
        drip(&mut second, endless.as_bytes());
        assert!(second.is_closed(), "a later head");
        // A body has no such deadline: it may be an upload over a thin line.
        let mut upload = RawClient::connect(address);
        upload.send("POST /files/x HTTP/1.1\r\nHost: site\r\nContent-Length: 40\r\n\r\n");
        drip(&mut upload, &[b'b'; 40]);
        assert_eq!(upload.answer(false).unwrap().body, [b'b'; 40]);
    });
    slow.await;
    assert!(gateway.metrics().await.contains("gateway_request_heads_timed_out_total 2"));
}

#[test]
fn letters_of_names_are_small_unless_they_are_to_stay() {
    let upstream = RawUpstream::start(|exchange| {
        let came = exchange.header.clone();
        let answer =
            format!("HTTP/1.1 200 Fine By Me\r\nX-Answer-ID: 1\r\nContent-Length: {}\r\n\r\n{came}", came.len());
        exchange.send(answer);
    });
    let ask = "GET /files/x?a=1 HTTP/1.1\r\nHOST: site\r\nX-Customer-ID: 7\r\nconnection: close\r\n\r\n";
    for (setting, there, back) in [
        ("", ["Host: site", "x-customer-id: 7"], "x-answer-id: 1"),
        ("preserve_header_case = true", ["HOST: site", "X-Customer-ID: 7"], "X-Answer-ID: 1"),
    ] {
        let gateway = gateway(&upstream, setting);
        let mut stream = TcpStream::connect(gateway.http).unwrap();
        stream.write_all(ask.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, came) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 Fine By Me\r\n") && head.lines().any(|line| line == back), "{head}");
        assert!(came.starts_with("GET /files/x?a=1 HTTP/1.1\r\n"), "{came}");
        for line in there {
            assert!(came.lines().any(|came| came == line), "{line} in {came}");
        }
    }
}
