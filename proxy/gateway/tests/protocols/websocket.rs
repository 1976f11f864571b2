//! WebSocket (RFC 6455) through the gateway.

use std::{net::SocketAddr, time::Duration};

use futures::{SinkExt, StreamExt, future};
use nix::sys::signal::Signal;
use tokio::{net::TcpListener, sync::mpsc, time};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, accept_async, connect_async,
    tungstenite::{
        Message,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

use crate::harness::{self, Gateway, eventually};

type Client = WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>;

/// An upstream that sends back what it gets, and tells the test how each connection ended.
async fn echo() -> (SocketAddr, mpsc::UnboundedReceiver<Option<CloseFrame>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (ended, ends) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let ended = ended.clone();
            tokio::spawn(async move {
                // A health probe is no handshake.
                let Ok(mut socket) = accept_async(stream).await else { return };
                let mut close = None;
                while let Some(Ok(message)) = socket.next().await {
                    match message {
                        Message::Text(text) if text.as_str() == "die" => return,
                        Message::Text(text) if text.as_str() == "close" => {
                            let frame = CloseFrame { code: CloseCode::Library(4_002), reason: "from upstream".into() };
                            let _ = socket.close(Some(frame)).await;
                        }
                        Message::Close(frame) => close = frame,
                        message if message.is_text() || message.is_binary() => {
                            let _ = socket.send(message).await;
                        }
                        _ => {}
                    }
                }
                let _ = ended.send(close);
            });
        }
    });
    (address, ends)
}

async fn connect(gateway: &Gateway) -> Client {
    connect_async(format!("ws://{}/files/socket", gateway.http)).await.unwrap().0
}

fn start(upstream: SocketAddr) -> Gateway {
    let config = harness::config(upstream, upstream, "", "");
    Gateway::start(&config.replace("drain_deadline = \"10s\"", "drain_deadline = \"1s\""), "")
}

async fn nothing_in_flight(gateway: &Gateway) {
    eventually("the request is over", async || {
        let metrics = gateway.metrics().await;
        let lines = metrics.lines().filter(|line| line.starts_with("gateway_requests_in_flight{"));
        lines.clone().count() > 0 && lines.into_iter().all(|line| line.ends_with(" 0"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_messages_and_close_codes_pass_both_ways() {
    let (upstream, mut ends) = echo().await;
    let gateway = start(upstream);
    let mut client = connect(&gateway).await;
    for length in [0, 1, 125, 126, 65_536, 1024 * 1024] {
        let sent = Message::binary(vec![7; length]);
        client.send(sent.clone()).await.unwrap();
        assert_eq!(client.next().await.unwrap().unwrap(), sent, "{length} bytes");
    }
    let frame = CloseFrame { code: CloseCode::Library(4_001), reason: "from client".into() };
    client.close(Some(frame.clone())).await.unwrap();
    assert_eq!(ends.recv().await.unwrap(), Some(frame));

    let mut client = connect(&gateway).await;
    client.send(Message::text("close")).await.unwrap();
    let Message::Close(Some(frame)) = client.next().await.unwrap().unwrap() else { panic!("no close") };
    assert_eq!((frame.code, frame.reason.as_str()), (CloseCode::Library(4_002), "from upstream"));
    drop(client);
    nothing_in_flight(&gateway).await;
}

/// A fast upstream may have agreed before the gateway has noted that the request has no body.
#[tokio::test(flavor = "multi_thread")]
async fn load_every_handshake_opens_a_tunnel() {
    let (upstream, _ends) = echo().await;
    let gateway = start(upstream);
    let one_after_another = async || {
        for count in 0..100 {
            let mut client = connect(&gateway).await;
            client.send(Message::text("hello")).await.unwrap();
            let answer = client.next().await.unwrap();
            assert_eq!(answer.expect("the tunnel is open"), Message::text("hello"), "after {count} others");
        }
    };
    future::join_all((0..16).map(|_| one_after_another())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_one_end_dies_the_other_hears_of_it() {
    let (upstream, mut ends) = echo().await;
    let gateway = start(upstream);
    let mut client = connect(&gateway).await;
    client.send(Message::text("hello")).await.unwrap();
    client.next().await.unwrap().unwrap();
    drop(client);
    let end = time::timeout(Duration::from_secs(10), ends.recv()).await.expect("the upstream hears of it");
    assert_eq!(end.unwrap(), None);

    let mut client = connect(&gateway).await;
    client.send(Message::text("die")).await.unwrap();
    let end = time::timeout(Duration::from_secs(10), client.next()).await.expect("the client hears of it");
    assert!(end.is_none_or(|end| end.is_err()));
    nothing_in_flight(&gateway).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_sends_open_sockets_away_at_its_deadline() {
    let (upstream, _ends) = echo().await;
    let mut gateway = start(upstream);
    let mut client = connect(&gateway).await;
    gateway.signal(Signal::SIGTERM);
    for _ in 0..3 {
        client.send(Message::text("still here")).await.unwrap();
        assert!(client.next().await.unwrap().is_ok(), "the drain waits for it");
    }
    let end = time::timeout(Duration::from_secs(10), client.next()).await.expect("sent away");
    assert!(end.is_none_or(|end| end.is_err()));
    assert_eq!(gateway.exit_code().await, Some(0));
}
