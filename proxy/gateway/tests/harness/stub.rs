//! An upstream that records what reaches it and can be killed like a process.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, Method, Uri},
    response::{IntoResponse, Response},
};
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpSocket},
    runtime::{Builder, Runtime},
    sync::watch,
};
use xxhash_rust::xxh3::xxh3_64;

/// One request as it arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    pub at: Instant,
    pub uri: String,
    pub headers: HeaderMap,
    pub body_length: usize,
    pub body_hash: u64,
}

pub struct Stub {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

struct Shared {
    name: &'static str,
    seen: Mutex<Vec<Seen>>,
    /// Requests with `x-test-hold` wait while this is true.
    held: watch::Sender<bool>,
}

impl Stub {
    pub fn start(name: &'static str) -> Self {
        let shared = Arc::new(Shared { name, seen: Mutex::default(), held: watch::channel(true).0 });
        let mut stub = Self { address: SocketAddr::from(([127, 0, 0, 1], 0)), shared, runtime: None };
        stub.restart();
        stub
    }

    /// Serves again at the same address.
    pub fn restart(&mut self) {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on_elsewhere(bind(self.address));
        self.address = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer).layer(DefaultBodyLimit::disable()).with_state(self.shared.clone());
        runtime.spawn(async move { axum::serve(listener, router).await });
        self.runtime = Some(runtime);
    }

    /// Ends every connection and the listener; on return they have ended.
    pub fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A runtime must not be waited for from within another.
            std::thread::spawn(move || runtime.shutdown_timeout(Duration::from_secs(5))).join().unwrap();
        }
    }

    /// Requests that arrived, but for health probes.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    pub fn release_held(&self) {
        self.shared.held.send_replace(false);
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.kill();
    }
}

trait BlockOnElsewhere {
    fn block_on_elsewhere<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T;
}

impl BlockOnElsewhere for Runtime {
    /// A test's own runtime must not block, so the work runs on this one and a channel waits.
    fn block_on_elsewhere<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let (done, result) = std::sync::mpsc::channel();
        self.spawn(async move { done.send(work.await) });
        result.recv().unwrap()
    }
}

async fn bind(address: SocketAddr) -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket.listen(1_024).unwrap()
}

async fn answer(
    State(stub): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if uri.path() == "/health" {
        return "ok".into_response();
    }
    let seen = Seen {
        at: Instant::now(),
        uri: uri.to_string(),
        headers: headers.clone(),
        body_length: body.len(),
        body_hash: xxh3_64(&body),
    };
    stub.seen.lock().unwrap().push(seen);
    if headers.contains_key("x-test-hold") {
        let _ = stub.held.subscribe().wait_for(|held| !held).await;
    }
    let forged = [("x-served-by", "forged"), ("x-request-id", "forged")];
    (forged, Json(json!({ "stub": stub.name, "method": method.as_str(), "length": body.len() }))).into_response()
}
