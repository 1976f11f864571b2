//! gRPC (its protocol over HTTP/2) from end to end: HTTP/2 on both sides, trailers, and streams that
//! go both ways at once.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::net::TcpListener;

use crate::harness::{self, Gateway, connect_http2, read_http2};

/// One message as gRPC frames it: not compressed, its length, its bytes.
fn message(text: &str) -> Bytes {
    let length = u32::try_from(text.len()).unwrap().to_be_bytes();
    Bytes::from([&[0], &length[..], text.as_bytes()].concat())
}

fn grpc_status(code: &'static str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(code));
    trailers
}

/// A server whose methods are the last part of the path.
async fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                while let Some(Ok((request, answer))) = connection.accept().await {
                    tokio::spawn(serve(request, answer));
                }
            });
        }
    });
    address
}

async fn serve(request: Request<h2::RecvStream>, mut answer: h2::server::SendResponse<Bytes>) {
    let grpc = || Response::builder().header("content-type", "application/grpc");
    if request.uri().path() == "/files/refuse" {
        // Trailers only: the status is in the header, and the header is the end.
        let head = grpc().header("grpc-status", "5").header("grpc-message", "no such function").body(()).unwrap();
        answer.send_response(head, true).unwrap();
        return;
    }
    assert!(request.headers().get("te").is_none_or(|te| te == "trailers"));
    let mut body = request.into_body();
    // The header goes out before the first message has come in.
    let mut sender = answer.send_response(grpc().body(()).unwrap(), false).unwrap();
    while let Some(Ok(piece)) = body.data().await {
        body.flow_control().release_capacity(piece.len()).unwrap();
        sender.send_data(piece, false).unwrap();
    }
    sender.send_trailers(grpc_status("0")).unwrap();
}

async fn start() -> Gateway {
    let server = server().await;
    let config = harness::config(server, server, "", "h2c = true");
    let address = format!("address = \"{server}\"\n");
    Gateway::start(&config.replace(&address, &format!("{address}protocol = \"h2c\"\n")), "")
}

fn call(method: &str) -> Request<()> {
    Request::post(format!("http://site/files/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_gets_its_message_and_its_status() {
    let gateway = start().await;
    let mut sender = connect_http2(gateway.http).await;
    for text in ["", "hello", &"x".repeat(100_000)] {
        let answer = harness::exchange_http2(&mut sender, call("echo"), Some(message(text))).await.unwrap();
        assert_eq!(
            (answer.status.as_u16(), answer.headers["content-type"].as_bytes()),
            (200, &b"application/grpc"[..])
        );
        assert_eq!(answer.body, message(text));
        assert_eq!(answer.trailers.unwrap()["grpc-status"], "0");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_go_both_ways_at_once() {
    let gateway = start().await;
    let mut sender = connect_http2(gateway.http).await.ready().await.unwrap();
    let (answer, mut messages) = sender.send_request(call("echo"), false).unwrap();
    let mut answer = answer.await.unwrap().into_body();
    for number in 0..20 {
        let sent = message(&format!("message {number}"));
        messages.send_data(sent.clone(), false).unwrap();
        let mut got = Vec::new();
        while got.len() < sent.len() {
            let piece = answer.data().await.unwrap().unwrap();
            answer.flow_control().release_capacity(piece.len()).unwrap();
            got.extend_from_slice(&piece);
        }
        assert_eq!(got, sent, "it comes back before the next is sent");
    }
    messages.send_data(Bytes::new(), true).unwrap();
    assert!(answer.data().await.is_none());
    assert_eq!(answer.trailers().await.unwrap().unwrap()["grpc-status"], "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_without_a_message_keeps_its_status() {
    let gateway = start().await;
    let mut sender = connect_http2(gateway.http).await.ready().await.unwrap();
    let (answer, mut messages) = sender.send_request(call("refuse"), false).unwrap();
    messages.send_data(message("hello"), true).unwrap();
    let answer = read_http2(answer.await.unwrap()).await.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(
        (&answer.headers["grpc-status"], &answer.headers["grpc-message"]),
        (&HeaderValue::from_static("5"), &HeaderValue::from_static("no such function"))
    );
    assert!(answer.body.is_empty() && answer.trailers.is_none());
}
