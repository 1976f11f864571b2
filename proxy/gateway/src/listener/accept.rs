//! Accepting connections, and taking each to the point where pingora can serve it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use pingora::{apps::ServerApp, listeners::tls::Acceptor, protocols::Stream, proxy::HttpProxy, server::ShutdownWatch};
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    time,
};

use super::{
    Bound,
    client_stream::ClientStream,
    head_deadline::{Connection, HeadDeadlines},
    metrics::{ConnectionMetrics, OpenConnection, Places},
};
use crate::gateway::Gateway;

/// Without file descriptors every accept fails at once. Trying again waits this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The longest queue that a listener empties before it is closed. It is as long as the system lets
/// a queue of the standard library's listeners be.
const LAST_ACCEPTS: usize = 4_096;

/// One public listener and what is spoken on it.
pub(crate) struct Endpoint {
    pub(crate) bound: Bound,
    pub(crate) tls: Option<Arc<ServerConfig>>,
    /// Whether HTTP/2 may begin without TLS.
    pub(crate) h2c: bool,
    /// The longest a client may take until it speaks HTTP.
    pub(crate) handshake_timeout: Duration,
}

/// What the connections of all endpoints share.
pub(super) struct Shared {
    pub(super) proxy: Arc<HttpProxy<Gateway>>,
    pub(super) places: Places,
    pub(super) metrics: ConnectionMetrics,
    pub(super) head_deadlines: HeadDeadlines,
    /// Turns true when clients are to be told that the gateway is going.
    pub(super) drain: ShutdownWatch,
}

impl Endpoint {
    /// Accepts until told to stop; then what is queued already, and closes the listener.
    pub(super) async fn accept(self, shared: Arc<Shared>, mut stop: ShutdownWatch) {
        let listener = match TcpListener::from_std(self.bound.into_listener()) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "a listener is not served"),
        };
        let greeting = Arc::new(Greeting {
            tls: self.tls.map(Acceptor::from_server_config),
            h2c: self.h2c,
            timeout: self.handshake_timeout,
        });
        loop {
            // Clients wait in the system's queue while there is no room.
            let next = async { (shared.places.take().await, listener.accept().await) };
            let (place, accepted) = tokio::select! {
                next = next => next,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            match accepted {
                Ok((tcp, peer)) => spawn(tcp, peer, shared.places.open(place), &greeting, &shared),
                Err(error) => {
                    shared.metrics.accepts_failed.inc();
                    tracing::warn!(%error, "a connection could not be accepted");
                    time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        for _ in 0..LAST_ACCEPTS {
            let queued = async { (shared.places.take().await, listener.accept().await) };
            let Ok((place, Ok((tcp, peer)))) = time::timeout(Duration::ZERO, queued).await else { return };
            spawn(tcp, peer, shared.places.open(place), &greeting, &shared);
        }
    }
}

fn spawn(tcp: TcpStream, peer: SocketAddr, open: OpenConnection, greeting: &Arc<Greeting>, shared: &Arc<Shared>) {
    let (greeting, shared) = (greeting.clone(), shared.clone());
    // pingora's choice of a thread: any, when work stealing is off.
    pingora_runtime::current_handle().spawn(async move {
        let stream = match ClientStream::new(tcp, peer, open) {
            Ok(stream) => greeting.greet(stream, &shared.metrics).await,
            Err(_) => return,
        };
        if let Some(stream) = stream {
            Connection::new(shared.clone()).process_new(stream, &shared.drain).await;
        }
    });
}

/// What happens on a connection before HTTP.
struct Greeting {
    tls: Option<Acceptor>,
    h2c: bool,
    timeout: Duration,
}

impl Greeting {
    async fn greet(&self, mut stream: ClientStream, metrics: &ConnectionMetrics) -> Option<Stream> {
        let Some(tls) = &self.tls else {
            if self.h2c {
                time::timeout(self.timeout, stream.detect_http2()).await.ok()?.ok()?;
            }
            return Some(Box::new(stream));
        };
        match time::timeout(self.timeout, tls.tls_handshake(stream)).await {
            Ok(Ok(stream)) => Some(Box::new(stream)),
            Ok(Err(error)) => {
                metrics.handshakes_failed.inc();
                tracing::debug!(%error, "a TLS handshake failed");
                None
            }
            Err(_) => {
                metrics.handshakes_timed_out.inc();
                None
            }
        }
    }
}
