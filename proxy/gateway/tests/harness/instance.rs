//! One instance of an upstream, which misbehaves on demand and counts what reaches it.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response,
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::oneshot,
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};
use xxhash_rust::xxh3::xxh3_64;

/// What an instance does with a request, health probes excepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Answers with this status.
    Answer(u16),
    /// Answers with 200 after this long.
    After(Duration),
    /// Reads the request and never answers.
    Hang,
    /// Reads the request and closes the connection.
    Reset,
    /// Answers with gRPC's status UNAVAILABLE, in the header.
    GrpcUnavailable,
}

/// How it is spoken to.
#[derive(Clone)]
pub enum Wire {
    Http1,
    H2c,
    /// What ALPN agrees on.
    Tls(Arc<ServerConfig>),
}

#[derive(Default)]
struct Counts {
    connections: AtomicUsize,
    requests: AtomicUsize,
    body_bytes: AtomicUsize,
    in_flight: AtomicUsize,
    highest: AtomicUsize,
}

struct State {
    behaviour: Mutex<Behaviour>,
    last_body: Mutex<Bytes>,
    counts: Counts,
}

pub struct Instance {
    pub address: SocketAddr,
    wire: Wire,
    state: Arc<State>,
    /// Dropping the sender ends it.
    serving: Option<(oneshot::Sender<Infallible>, JoinHandle<()>)>,
}

impl Instance {
    pub fn start(behaviour: Behaviour) -> Self {
        Self::speaking(Wire::Http1, behaviour)
    }

    pub fn speaking(wire: Wire, behaviour: Behaviour) -> Self {
        let state = Arc::new(State {
            behaviour: Mutex::new(behaviour),
            last_body: Mutex::default(),
            counts: Counts::default(),
        });
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut instance = Self { address, wire, state, serving: None };
        instance.revive();
        instance
    }

    pub fn set(&self, behaviour: Behaviour) {
        *self.state.behaviour.lock().unwrap() = behaviour;
    }

    /// Ends the listener and every connection; on return they have ended.
    pub async fn kill(&mut self) {
        if let Some((stop, serving)) = self.serving.take() {
            drop(stop);
            serving.await.unwrap();
        }
    }

    /// Serves again at the same address.
    pub fn revive(&mut self) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(self.address).unwrap();
        let listener = socket.listen(1_024).unwrap();
        self.address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(serve(listener, self.wire.clone(), self.state.clone(), stopped));
        self.serving = Some((stop, serving));
    }

    pub fn connections(&self) -> usize {
        self.state.counts.connections.load(Ordering::Acquire)
    }

    /// Requests that arrived whole, but for health probes.
    pub fn requests(&self) -> usize {
        self.state.counts.requests.load(Ordering::Acquire)
    }

    pub fn body_bytes(&self) -> usize {
        self.state.counts.body_bytes.load(Ordering::Acquire)
    }

    /// Length and hash of the latest body.
    pub fn last_body(&self) -> (usize, u64) {
        let body = self.state.last_body.lock().unwrap();
        (body.len(), xxh3_64(&body))
    }

    pub fn in_flight(&self) -> usize {
        self.state.counts.in_flight.load(Ordering::Acquire)
    }

    /// The most requests that were in flight at once.
    pub fn highest(&self) -> usize {
        self.state.counts.highest.load(Ordering::Acquire)
    }
}

async fn serve(listener: TcpListener, wire: Wire, state: Arc<State>, mut stopped: oneshot::Receiver<Infallible>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                state.counts.connections.fetch_add(1, Ordering::AcqRel);
                connections.spawn(connection(stream, wire.clone(), state.clone()));
            }
            Some(_) = connections.join_next() => {}
            _ = &mut stopped => break,
        }
    }
    connections.shutdown().await;
}

async fn connection(stream: TcpStream, wire: Wire, state: Arc<State>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| answer(request, state.clone()));
    let http2 = http2::Builder::new(TokioExecutor::new());
    let _ = match wire {
        Wire::Http1 => http1::Builder::new().serve_connection(TokioIo::new(stream), service).await,
        Wire::H2c => http2.serve_connection(TokioIo::new(stream), service).await,
        Wire::Tls(config) => {
            let Ok(stream) = TlsAcceptor::from(config).accept(stream).await else { return };
            if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                http2.serve_connection(TokioIo::new(stream), service).await
            } else {
                http1::Builder::new().serve_connection(TokioIo::new(stream), service).await
            }
        }
    };
}

/// Counts a request as in flight while it lives.
struct Served<'a>(&'a Counts);

impl<'a> Served<'a> {
    fn begin(counts: &'a Counts) -> Self {
        let now = counts.in_flight.fetch_add(1, Ordering::AcqRel) + 1;
        counts.highest.fetch_max(now, Ordering::AcqRel);
        Self(counts)
    }
}

impl Drop for Served<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

async fn answer(request: Request<Incoming>, state: Arc<State>) -> io::Result<Response<Full<Bytes>>> {
    if request.uri().path() == "/health" {
        return Ok(Response::new(Full::from("ok")));
    }
    let _served = Served::begin(&state.counts);
    let version = request.version();
    let body = request.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
    state.counts.body_bytes.fetch_add(body.len(), Ordering::AcqRel);
    *state.last_body.lock().unwrap() = body;
    state.counts.requests.fetch_add(1, Ordering::AcqRel);
    let behaviour = *state.behaviour.lock().unwrap();
    let status = match behaviour {
        Behaviour::Answer(status) => status,
        Behaviour::After(pause) => {
            tokio::time::sleep(pause).await;
            200
        }
        Behaviour::Hang => match std::future::pending::<Infallible>().await {},
        Behaviour::Reset => return Err(io::Error::other("told to")),
        Behaviour::GrpcUnavailable => 200,
    };
    let mut answer = Response::builder().status(status).header("x-version", format!("{version:?}"));
    if behaviour == Behaviour::GrpcUnavailable {
        answer = answer.header("content-type", "application/grpc").header("grpc-status", "14");
    }
    Ok(answer.body(Full::from(format!("answered {status}"))).unwrap())
}
