use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use crate::background;

/// A request that reached the stub.
#[derive(Clone, Debug)]
pub struct RecordedRequest {
    /// Its method.
    pub method: Method,
    /// Its path and query, as sent.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its whole body.
    pub body: Bytes,
    /// When its head had arrived.
    pub arrived: Instant,
}

/// What the stub answers.
#[derive(Clone, Debug)]
pub struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    after: Duration,
    cut: bool,
}

impl Answer {
    /// An answer with a status and a body.
    ///
    /// # Panics
    /// The number is no HTTP status.
    #[must_use]
    pub fn new(status: u16, body: impl Into<Bytes>) -> Self {
        Self {
            status: StatusCode::from_u16(status).expect("the script names an HTTP status"),
            headers: HeaderMap::new(),
            body: body.into(),
            after: Duration::ZERO,
            cut: false,
        }
    }

    /// An answer whose body is JSON text.
    #[must_use]
    pub fn json(status: u16, body: impl Into<Bytes>) -> Self {
        Self::new(status, body).header("content-type", "application/json")
    }

    /// No answer: the connection is closed once the request has been read.
    #[must_use]
    pub fn cut() -> Self {
        Self { cut: true, ..Self::new(200, "") }
    }

    /// The same answer with one more header.
    ///
    /// # Panics
    /// The name or value is no header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_str(value).expect("the script gives a header value");
        self.headers.append(HeaderName::from_static(name), value);
        self
    }

    /// The same answer, this much later.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.after = delay;
        self
    }
}

type Script = Arc<dyn Fn(&RecordedRequest) -> Answer + Send + Sync>;

struct State {
    script: Mutex<Script>,
    requests: Mutex<Vec<RecordedRequest>>,
}

/// An HTTP/1.1 server that answers by script and records every request.
pub struct StubUpstream {
    address: SocketAddr,
    state: Arc<State>,
    server: Option<JoinHandle<()>>,
}

impl StubUpstream {
    /// Starts a stub on a free port; `script` is asked for each request.
    pub async fn start(script: impl Fn(&RecordedRequest) -> Answer + Send + Sync + 'static) -> Self {
        let state = Arc::new(State { script: Mutex::new(Arc::new(script)), requests: Mutex::new(Vec::new()) });
        let mut stub = Self { address: (Ipv4Addr::LOCALHOST, 0).into(), state, server: None };
        stub.listen().await;
        stub
    }

    /// Answers by another script from now on.
    pub fn set(&self, script: impl Fn(&RecordedRequest) -> Answer + Send + Sync + 'static) {
        *lock(&self.state.script) = Arc::new(script);
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its base URL with `path` behind it.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Everything it was asked since the start or the last [`StubUpstream::forget`], in order of arrival
    /// of the whole request.
    #[must_use]
    pub fn requests(&self) -> Vec<RecordedRequest> {
        lock(&self.state.requests).clone()
    }

    /// How many requests that were.
    #[must_use]
    pub fn count(&self) -> usize {
        lock(&self.state.requests).len()
    }

    /// Forgets what it was asked.
    pub fn forget(&self) {
        lock(&self.state.requests).clear();
    }

    /// Refuses connections and breaks the open ones, as a killed server does.
    pub async fn take_down(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
            let _ = server.await;
        }
    }

    /// Listens again on the same port.
    pub async fn bring_back(&mut self) {
        self.take_down().await;
        self.listen().await;
    }

    async fn listen(&mut self) {
        let (address, state) = (self.address, Arc::clone(&self.state));
        let (address, server) = background::run(async move {
            let listener = TcpListener::bind(address).await.expect("the stub's port can be bound");
            let address = listener.local_addr().expect("a bound listener has an address");
            (address, background::spawn(serve(listener, state)))
        })
        .await;
        self.address = address;
        self.server = Some(server);
    }
}

impl Drop for StubUpstream {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            server.abort();
        }
    }
}

impl std::fmt::Debug for StubUpstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StubUpstream")
            .field("address", &self.address)
            .field("requests", &self.count())
            .finish_non_exhaustive()
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    // Aborting this task drops the set, and with it every connection.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((socket, _)) = listener.accept() => {
                let state = Arc::clone(&state);
                let service = service_fn(move |request| respond(request, Arc::clone(&state)));
                connections.spawn(async move {
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// The request was cut off while it was read, or the script said to cut it.
#[derive(Debug)]
struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection is cut")
    }
}

impl std::error::Error for Cut {}

async fn respond(
    request: http::Request<hyper::body::Incoming>,
    state: Arc<State>,
) -> Result<Response<Full<Bytes>>, Cut> {
    let arrived = Instant::now();
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
    let path = head.uri.path_and_query().map_or_else(|| head.uri.path().to_owned(), ToString::to_string);
    let recorded = RecordedRequest { method: head.method, path, headers: head.headers, body, arrived };
    lock(&state.requests).push(recorded.clone());
    let script = Arc::clone(&lock(&state.script));
    let answer = script(&recorded);
    tokio::time::sleep(answer.after).await;
    if answer.cut {
        return Err(Cut);
    }
    let mut response = Response::new(Full::new(answer.body));
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    Ok(response)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
