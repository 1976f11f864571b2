//! Bodies larger than any buffer: made and counted as they pass, never kept.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use bytes::Bytes;
use http::Request;

use super::{blocking, gateway};
use crate::harness::{Gateway, RawUpstream, connect_http2};

const GIB: u64 = 1 << 30;
/// What one body may cost, however long it is.
const GROWTH_KIB: u64 = 32 * 1024;
const SETTINGS: &str = "h2c = true\nbody_limit = \"2GiB\"";

/// Takes bodies and counts them at `/files/up`; makes them at `/files/down/LENGTH`.
fn upstream() -> (RawUpstream, Arc<AtomicU64>) {
    let received = Arc::new(AtomicU64::new(0));
    let count = received.clone();
    let upstream = RawUpstream::start(move |exchange| {
        let mut piece = vec![b'a'; 256 * 1024];
        if let Some(length) = exchange.path().strip_prefix("/files/down/") {
            let length: u64 = length.parse().unwrap();
            exchange.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"));
            let mut left = length;
            while left > 0 {
                let part = usize::try_from(left.min(piece.len() as u64)).unwrap();
                if exchange.stream.write_all(&piece[..part]).is_err() {
                    return;
                }
                left -= part as u64;
            }
            return;
        }
        let length = exchange.header.to_ascii_lowercase();
        let length = length.split("\r\n").find_map(|line| line.strip_prefix("content-length: "));
        let mut left: u64 = length.expect("a length").parse().unwrap();
        while left > 0 {
            let part = usize::try_from(left.min(piece.len() as u64)).unwrap();
            let Ok(read @ 1..) = exchange.stream.read(&mut piece[..part]) else { return };
            left -= read as u64;
            count.fetch_add(read as u64, Ordering::SeqCst);
        }
        exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    (upstream, received)
}

fn upload(gateway: SocketAddr, length: u64) {
    let mut stream = TcpStream::connect(gateway).unwrap();
    write!(stream, "POST /files/up HTTP/1.1\r\nHost: site\r\nContent-Length: {length}\r\n\r\n").unwrap();
    let piece = vec![b'a'; 256 * 1024];
    for _ in 0..length / piece.len() as u64 {
        stream.write_all(&piece).unwrap();
    }
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}

/// Reads a body of this length, pausing after each piece.
fn download(gateway: SocketAddr, length: u64, pause: Duration) {
    let mut stream = TcpStream::connect(gateway).unwrap();
    write!(stream, "GET /files/down/{length} HTTP/1.1\r\nHost: site\r\nConnection: close\r\n\r\n").unwrap();
    let mut piece = vec![0; 256 * 1024];
    let (mut header, mut got) = (Vec::new(), 0);
    while let Ok(read @ 1..) = stream.read(&mut piece) {
        if got == 0 {
            header.extend_from_slice(&piece[..read]);
            if let Some(end) = header.windows(4).position(|window| window == b"\r\n\r\n") {
                got = (header.len() - end - 4) as u64;
            }
        } else {
            got += read as u64;
        }
        if !pause.is_zero() {
            thread::sleep(pause);
        }
    }
    assert_eq!(got, length);
}

async fn grows_little(gateway: &Gateway, what: &str, work: impl Future<Output = ()>) {
    let before = gateway.memory_kib("VmHWM");
    work.await;
    // The kernel counts pages for each processor by itself and adds them up loosely, so that the high
    // water mark may read a little lower than before.
    let grown = gateway.memory_kib("VmHWM").saturating_sub(before);
    assert!(grown <= GROWTH_KIB, "{what}: grown by {grown} KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn load_a_gibibyte_passes_both_ways_in_constant_memory() {
    let (upstream, received) = upstream();
    let gateway = gateway(&upstream, SETTINGS);
    let http = gateway.http;
    // What every gateway needs is there before the measurement.
    blocking(move || upload(http, 1 << 20)).await;
    blocking(move || download(http, 1 << 20, Duration::ZERO)).await;
    received.store(0, Ordering::SeqCst);
    grows_little(&gateway, "upload", blocking(move || upload(http, GIB))).await;
    assert_eq!(received.load(Ordering::SeqCst), GIB);
    grows_little(&gateway, "download", blocking(move || download(http, GIB, Duration::ZERO))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn load_a_gibibyte_passes_both_ways_over_http_2() {
    let (upstream, received) = upstream();
    let gateway = gateway(&upstream, SETTINGS);
    let mut sender = connect_http2(gateway.http).await;
    upload_http2(&mut sender, 1 << 20).await;
    download_http2(&mut sender, 1 << 20).await;
    received.store(0, Ordering::SeqCst);
    grows_little(&gateway, "upload", upload_http2(&mut sender, GIB)).await;
    assert_eq!(received.load(Ordering::SeqCst), GIB);
    grows_little(&gateway, "download", download_http2(&mut sender, GIB)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn load_a_slow_reader_slows_its_upstream_down_and_costs_no_memory() {
    let (upstream, _) = upstream();
    let gateway = gateway(&upstream, SETTINGS);
    let http = gateway.http;
    blocking(move || download(http, 1 << 20, Duration::ZERO)).await;
    let slow = blocking(move || download(http, 64 << 20, Duration::from_millis(5)));
    grows_little(&gateway, "slow download", slow).await;
}

type Sender = h2::client::SendRequest<Bytes>;

async fn upload_http2(sender: &mut Sender, length: u64) {
    let request = Request::post("http://site/files/up").header("content-length", length).body(()).unwrap();
    let mut ready = sender.clone().ready().await.unwrap();
    let (answer, mut stream) = ready.send_request(request, false).unwrap();
    let piece = Bytes::from(vec![b'a'; 64 * 1024]);
    let mut left = length;
    while left > 0 {
        stream.reserve_capacity(piece.len());
        let room = std::future::poll_fn(|context| stream.poll_capacity(context)).await.unwrap().unwrap();
        let part = piece.len().min(room).min(usize::try_from(left).unwrap());
        left -= part as u64;
        stream.send_data(piece.slice(..part), left == 0).unwrap();
    }
    assert_eq!(answer.await.unwrap().status(), 200);
}

async fn download_http2(sender: &mut Sender, length: u64) {
    let request = Request::get(format!("http://site/files/down/{length}")).body(()).unwrap();
    let mut ready = sender.clone().ready().await.unwrap();
    let (answer, _) = ready.send_request(request, true).unwrap();
    let mut body = answer.await.unwrap().into_body();
    let mut got = 0;
    while let Some(piece) = body.data().await {
        let piece = piece.unwrap();
        body.flow_control().release_capacity(piece.len()).unwrap();
        got += piece.len() as u64;
    }
    assert_eq!(got, length);
}
