//! Keys inside bodies: found, sticky, and every byte of the body forwarded.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};
use xxhash_rust::xxh3::xxh3_64;

use crate::harness::{Behaviour, Gateway, Instance, Setup, Stub, Wire, config, eventually};

const KIB: usize = 1024;

/// A route by a body's `function_id`, with these lines more.
fn by_body(lines: &str) -> String {
    format!(
        "[[routes]]\nname = \"by-body\"\nmethods = [\"POST\"]\npath = \"/invoke\"\nkey = \"body:/function_id\"\n\
         legacy = \"legacy\"\ncandidate = \"candidate\"\nkey_body_limit = \"1 MiB\"\n{lines}\n"
    )
}

/// A JSON body of exactly this length, whose key comes last.
fn body(key: &str, length: usize) -> Vec<u8> {
    let end = format!(r#"","function_id":"{key}"}}"#);
    let start = br#"{"payload":""#;
    let filler = (0..length - start.len() - end.len()).map(|at| b'a' + u8::try_from(at % 26).unwrap());
    start.iter().copied().chain(filler).chain(end.bytes()).collect()
}

/// Lengths around pingora's buffer of 64 KiB, and around what it reads at once.
const LENGTHS: [usize; 10] =
    [100, 4 * KIB, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 100 * KIB, 128 * KIB, 128 * KIB + 1, 500_001, 1024 * KIB];

async fn post(gateway: &Gateway, body: Vec<u8>) -> reqwest::Response {
    gateway.client.post(gateway.url("/invoke")).body(body).send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_every_length_arrive_whole_on_either_side_and_on_the_fallback() {
    let mut setup = Setup::with(&by_body(""), "", "");
    for (percent, killed) in [(0, false), (100, false), (100, true)] {
        setup.gateway.edit_rollout(&format!("[routes.by-body]\npercent = {percent}\n"));
        let side = if percent == 0 { "legacy" } else { "candidate" };
        eventually("the weight is in force", async || {
            post(&setup.gateway, body("k", 100)).await.headers()["x-served-by"] == side
        })
        .await;
        if killed {
            setup.candidate.kill();
            eventually("the candidate is gone", async || TcpStream::connect(setup.candidate.address).await.is_err())
                .await;
        }
        let stub = if percent > 0 && !killed { &setup.candidate } else { &setup.legacy };
        for length in LENGTHS {
            let body = body("k", length);
            let before = stub.seen().len();
            let answer = post(&setup.gateway, body.clone()).await;
            assert_eq!(answer.status(), 200, "{length} bytes at {percent} %");
            let seen = stub.seen();
            let arrived = seen.last().unwrap();
            assert_eq!((seen.len(), arrived.body_length, arrived.body_hash), (before + 1, length, xxh3_64(&body)));
        }
    }
    let keys = async || setup.gateway.access_log().iter().filter(|line| line["key"] == "k").count();
    eventually("each is logged with its key", async || keys().await >= LENGTHS.len() * 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_is_on_one_side_wherever_it_stands() {
    let setup = Setup::with(
        &by_body("salt = \"invoke\""),
        "",
        "[routes.by-body]\npercent = 50\n[routes.invoke]\npercent = 50\n",
    );
    let gateway = &setup.gateway;
    for number in 0..40 {
        let key = number.to_string();
        let by_path = gateway.side_of(&key).await;
        for body in [
            json!({ "function_id": key }).to_string(),
            json!({ "function_id": number, "payload": [1, { "function_id": "other" }] }).to_string(),
        ] {
            let answer = post(gateway, body.into_bytes()).await;
            assert_eq!(answer.headers()["x-served-by"].to_str().unwrap(), by_path, "{key}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_and_chunked_bodies_arrive_whole() {
    let setup = Setup::with(&by_body(""), "h2c = true", "");
    let gateway = &setup.gateway;
    for length in LENGTHS {
        let body = body("k", length);
        let before = setup.legacy.seen().len();
        let answered = [
            over_http2(gateway, &body, Some(length)).await,
            over_http2(gateway, &body, None).await,
            chunked(gateway, &body).await,
        ];
        // Without a declared length, 64 KiB is the most that a key is looked for in.
        let undeclared = if length <= 64 * KIB { 200 } else { 411 };
        assert_eq!(answered, [200, undeclared, undeclared], "{length} bytes");
        let seen = setup.legacy.seen().split_off(before);
        assert_eq!(seen.len(), if undeclared == 200 { 3 } else { 1 });
        assert!(seen.iter().all(|one| (one.body_length, one.body_hash) == (length, xxh3_64(&body))), "{length} bytes");
    }
}

/// Sends the body in pieces over HTTP/2, the last frame of which is empty.
async fn over_http2(gateway: &Gateway, body: &[u8], declared: Option<usize>) -> u16 {
    let stream = TcpStream::connect(gateway.http).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut request = http::Request::post(gateway.url("/invoke"));
    if let Some(length) = declared {
        request = request.header("content-length", length);
    }
    let (answer, mut sender) = client.send_request(request.body(()).unwrap(), false).unwrap();
    // A body that is refused is not read to its end.
    let mut pieces = body.chunks(10_000);
    if pieces.all(|piece| sender.send_data(Bytes::copy_from_slice(piece), false).is_ok()) {
        let _ = sender.send_data(Bytes::new(), true);
    }
    let status = timeout(Duration::from_secs(20), answer).await.unwrap().unwrap().status().as_u16();
    connection.abort();
    status
}

async fn chunked(gateway: &Gateway, body: &[u8]) -> u16 {
    let mut stream = TcpStream::connect(gateway.http).await.unwrap();
    let head = "POST /invoke HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
    let mut request = head.as_bytes().to_vec();
    for piece in body.chunks(7_001) {
        request.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        request.extend_from_slice(piece);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    // Neither here.
    let _ = stream.write_all(&request).await;
    status_of(stream).await
}

async fn status_of(mut stream: TcpStream) -> u16 {
    let mut answer = Vec::new();
    let mut buffer = [0; 4 * KIB];
    while !answer.windows(2).any(|end| end == b"\r\n") {
        let read = timeout(Duration::from_secs(20), stream.read(&mut buffer)).await.unwrap().unwrap();
        assert!(read > 0, "an answer came");
        answer.extend_from_slice(&buffer[..read]);
    }
    String::from_utf8_lossy(&answer).split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_key_is_said() {
    let optional = Setup::with(&by_body("").replace("1 MiB", "1 KiB"), "h2c = true", "");
    let required = Setup::with(&by_body("key_required = true"), "", "");
    for (body, without, with) in [
        (r#"{"function_id":"a"}"#, 200, 200),
        (r#"{"function_id":7}"#, 200, 200),
        (r#"{"function_id":"a","function_id":"b"}"#, 400, 400),
        (r#"{"function_id":"a","function_id":"a"}"#, 400, 400),
        (r#"{"function_id":null}"#, 200, 400),
        (r#"{"function_id":["a"]}"#, 200, 400),
        (r#"{"function_id":"a"} x"#, 200, 400),
        ("{}", 200, 400),
        ("not JSON", 200, 400),
        ("", 200, 400),
    ] {
        let status = async |setup: &Setup| post(&setup.gateway, body.into()).await.status().as_u16();
        assert_eq!((status(&optional).await, status(&required).await), (without, with), "{body}");
    }
    let answer = post(&optional.gateway, body("a", 1_025)).await;
    assert_eq!(
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap()["error"].clone()),
        (413, json!("key_body_too_large"))
    );
    for nothing in [chunked(&optional.gateway, b"").await, over_http2(&optional.gateway, b"", None).await] {
        assert_eq!(nothing, 200, "an empty body of undeclared length ends too");
    }
    let answer = post(&required.gateway, b"{}".to_vec()).await;
    assert_eq!(answer.json::<Value>().await.unwrap()["error"], json!("key_missing"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_waits_for_permission_gets_it() {
    let setup = Setup::with(&by_body(""), "", "");
    let mut stream = TcpStream::connect(setup.gateway.http).await.unwrap();
    let sent = body("k", 100 * KIB);
    let head = format!(
        "POST /invoke HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        sent.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut interim = [0; 25];
    timeout(Duration::from_secs(10), stream.read_exact(&mut interim)).await.unwrap().unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(&sent).await.unwrap();
    assert_eq!(status_of(stream).await, 200);
    let seen = setup.legacy.seen().pop().unwrap();
    assert_eq!((seen.body_hash, seen.headers.contains_key("expect")), (xxh3_64(&sent), false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_stops_is_given_up() {
    let setup = Setup::with(&by_body(""), "read_timeout = \"200ms\"", "");
    let start = "POST /invoke HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n{\"function_id\":";
    let mut stream = TcpStream::connect(setup.gateway.http).await.unwrap();
    stream.write_all(start.as_bytes()).await.unwrap();
    assert_eq!(status_of(stream).await, 408);
    let mut stream = TcpStream::connect(setup.gateway.http).await.unwrap();
    stream.write_all(start.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(status_of(stream).await, 400);
    assert!(setup.legacy.seen().is_empty());
}

/// An upstream that reads every second request on a connection whole and then ends the connection.
#[derive(Clone, Default)]
struct Forgetful {
    answered: Arc<Mutex<Vec<u64>>>,
    dropped: Arc<Mutex<Vec<u64>>>,
}

impl Forgetful {
    async fn serve(self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(self.clone().connection(BufReader::new(stream)));
        }
    }

    async fn connection(self, mut stream: BufReader<TcpStream>) -> std::io::Result<()> {
        for number in 0.. {
            let (mut probe, mut length, mut line) = (false, 0, String::new());
            while stream.read_line(&mut line).await? > 2 {
                probe |= line.starts_with("GET ");
                if let Some((name, value)) = line.split_once(": ") {
                    length = if name.eq_ignore_ascii_case("content-length") {
                        value.trim().parse().unwrap()
                    } else {
                        length
                    };
                }
                line.clear();
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await?;
            if number % 2 == 1 {
                self.dropped.lock().unwrap().push(xxh3_64(&body));
                return Ok(());
            }
            if !probe {
                self.answered.lock().unwrap().push(xxh3_64(&body));
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await?;
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_brings_its_whole_body_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, upstream) = (listener.local_addr().unwrap(), Forgetful::default());
    let serving = tokio::spawn(upstream.clone().serve(listener));
    let route = by_body("").replace("\"POST\"", "\"PUT\"").replace("candidate = \"candidate\"\n", "");
    let gateway = Gateway::start(&config(address, address, &route, ""), "");
    for length in [1_000, 64 * KIB, 64 * KIB + 1, 200 * KIB, 1024 * KIB] {
        let body = body("k", length);
        let hash = xxh3_64(&body);
        let dropped = || upstream.dropped.lock().unwrap().iter().filter(|one| **one == hash).count();
        // Whether a request meets a connection that has served one before is the pool's affair.
        eventually("a request is dropped", async || {
            let answer = gateway.client.put(gateway.url("/invoke")).body(body.clone()).send().await.unwrap();
            assert_eq!(answer.status(), 200, "{length} bytes");
            assert_eq!(upstream.answered.lock().unwrap().last(), Some(&hash), "{length} bytes");
            dropped() > 0
        })
        .await;
    }
    serving.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http2_upstream_gets_the_whole_body() {
    let candidate = Instance::speaking(Wire::H2c, Behaviour::Answer(200));
    let legacy = Stub::start("legacy");
    let address = format!("address = \"{}\"\n", candidate.address);
    let config = config(legacy.address, candidate.address, &by_body(""), "");
    let config = config.replace(&address, &format!("{address}protocol = \"h2c\"\n"));
    let gateway = Gateway::start(&config, "[routes.by-body]\npercent = 100\n");
    for length in LENGTHS {
        let before = candidate.body_bytes();
        let answer = post(&gateway, body("k", length)).await;
        let served_by = answer.headers()["x-served-by"].to_str().unwrap();
        assert_eq!((answer.status().as_u16(), served_by), (200, "candidate"), "{length} bytes");
        assert_eq!(candidate.body_bytes() - before, length);
    }
    assert_eq!(chunked(&gateway, b"").await, 200, "an empty body has no key and ends");
}
