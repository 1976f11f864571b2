use std::net::SocketAddr;
use std::time::{Duration, Instant};

use testkit::{ChaosProxy, Network, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const PATIENCE: Duration = Duration::from_secs(10);
/// Long enough that what should pass would have.
const A_MOMENT: Duration = Duration::from_millis(150);

/// A server that sends back what it gets.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback binds");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = socket.into_split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    address
}

async fn exchange(socket: &mut TcpStream, text: &[u8]) -> std::io::Result<Vec<u8>> {
    socket.write_all(text).await?;
    let mut answer = vec![0; text.len()];
    socket.read_exact(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn a_stalled_connection_goes_on_where_it_was() {
    let proxy = ChaosProxy::start(echo().await).await;
    let mut socket = TcpStream::connect(proxy.address()).await.expect("it accepts");
    assert_eq!(exchange(&mut socket, b"one").await.expect("it passes"), b"one");
    proxy.set(Network::Stall).await;
    tokio::time::timeout(A_MOMENT, exchange(&mut socket, b"two")).await.expect_err("nothing passes");
    proxy.set(Network::Pass).await;
    let mut answer = [0; 3];
    tokio::time::timeout(PATIENCE, socket.read_exact(&mut answer)).await.expect("in time").expect("the rest");
    assert_eq!(&answer, b"two");
}

#[tokio::test]
async fn a_refused_port_comes_back_and_open_connections_live_until_cut() {
    let proxy = ChaosProxy::start(echo().await).await;
    let mut socket = TcpStream::connect(proxy.address()).await.expect("it accepts");
    exchange(&mut socket, b"one").await.expect("it passes");
    proxy.set(Network::Refuse).await;
    let refused = TcpStream::connect(proxy.address()).await.expect_err("nobody listens");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    exchange(&mut socket, b"two").await.expect("the open one passes");
    assert_eq!(proxy.open_connections(), 1);
    proxy.cut().await;
    exchange(&mut socket, b"three").await.expect_err("it is broken");
    assert_eq!(proxy.open_connections(), 0);
    proxy.set(Network::Pass).await;
    let mut socket = TcpStream::connect(proxy.address()).await.expect("it accepts again");
    exchange(&mut socket, b"four").await.expect("it passes again");
}

#[tokio::test]
async fn a_slow_or_late_network_takes_its_time() {
    let proxy = ChaosProxy::start(echo().await).await;
    let mut socket = TcpStream::connect(proxy.address()).await.expect("it accepts");
    proxy.set(Network::Slow { bytes_per_second: 10_000 }).await;
    let started = Instant::now();
    exchange(&mut socket, &[7; 4_000]).await.expect("it passes");
    assert!(started.elapsed() >= Duration::from_millis(350), "{:?}", started.elapsed());
    proxy.set(Network::Delay(Duration::from_millis(100))).await;
    let started = Instant::now();
    exchange(&mut socket, b"late").await.expect("it passes");
    assert!(started.elapsed() >= Duration::from_millis(200), "there and back: {:?}", started.elapsed());
}

#[tokio::test]
async fn an_end_of_stream_passes_and_is_counted() {
    let proxy = ChaosProxy::start(echo().await).await;
    let mut socket = TcpStream::connect(proxy.address()).await.expect("it accepts");
    socket.write_all(b"last words").await.expect("it is open");
    socket.shutdown().await.expect("it is open");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.expect("the other way is open");
    assert_eq!(answer, "last words");
    eventually(PATIENCE, || async { proxy.open_connections() == 0 }).await;
}

#[tokio::test]
async fn a_database_behind_the_proxy_is_lost_and_found() {
    use sqlx::{Connection, PgConnection};
    let database = testkit::postgres().await;
    let proxy = ChaosProxy::start(database.address()).await;
    let url = database.url_through(&proxy.address().to_string());
    let mut connection = PgConnection::connect(&url).await.expect("through the proxy");
    proxy.take_down().await;
    connection.ping().await.expect_err("the connection is broken");
    PgConnection::connect(&url).await.expect_err("the server is away");
    proxy.set(Network::Pass).await;
    PgConnection::connect(&url).await.expect("the server is back").ping().await.expect("it answers");
}
