//! The admin API's connections over TLS.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::serve::Listener;
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
    time,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// The most handshakes at once. Operators are few; more are somebody who keeps connections open.
const MOST_HANDSHAKES: usize = 64;

/// How long accepting pauses when the system has no connection to give, such as for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

type Connection = (TlsStream<TcpStream>, SocketAddr);

/// Connections whose handshake is done. A client that is slow with its handshake holds up nobody.
pub(super) struct TlsListener {
    address: SocketAddr,
    ready: mpsc::Receiver<Connection>,
    /// Ends with the listener.
    _accepting: JoinSet<()>,
}

impl TlsListener {
    pub(super) fn new(
        listener: TcpListener,
        config: Arc<ServerConfig>,
        handshake_timeout: Duration,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (done, ready) = mpsc::channel(1);
        let mut accepting = JoinSet::new();
        accepting.spawn(accept_all(listener, TlsAcceptor::from(config), handshake_timeout, done));
        Ok(Self { address, ready, _accepting: accepting })
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> Connection {
        match self.ready.recv().await {
            Some(connection) => connection,
            // The task that accepts ends with this listener alone.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

async fn accept_all(listener: TcpListener, acceptor: TlsAcceptor, limit: Duration, done: mpsc::Sender<Connection>) {
    let places = Arc::new(Semaphore::new(MOST_HANDSHAKES));
    let mut handshakes = JoinSet::new();
    loop {
        let place = places.clone().acquire_owned().await.expect("nobody closes the semaphore");
        while handshakes.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, peer)) => {
                handshakes.spawn(shake_hands(acceptor.clone(), stream, peer, limit, done.clone(), place));
            }
            Err(error) => {
                tracing::warn!(%error, "the admin API cannot accept connections");
                time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn shake_hands(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    peer: SocketAddr,
    limit: Duration,
    done: mpsc::Sender<Connection>,
    _place: OwnedSemaphorePermit,
) {
    match time::timeout(limit, acceptor.accept(stream)).await {
        // An error is the end of the listener.
        Ok(Ok(stream)) => drop(done.send((stream, peer)).await),
        Ok(Err(error)) => tracing::debug!(%peer, %error, "no TLS with a caller of the admin API"),
        Err(_) => tracing::debug!(%peer, "a caller of the admin API did not finish the TLS handshake"),
    }
}
