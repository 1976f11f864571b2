//! The public listener: bound before pingora starts, drained before the process ends.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::fd::IntoRawFd,
    sync::{Arc, mpsc},
    time::Duration,
};

use async_trait::async_trait;
use pingora::{
    proxy::HttpProxy,
    server::{Fds, ListenFds, ShutdownWatch},
    services::{Service as PingoraService, ServiceReadyNotifier, ServiceWithDependents, listening::Service},
};
use tokio::time;

use crate::{gateway::Gateway, request_context::InFlightCount};

/// A connection that was accepted last may hold a request that nobody has read yet; the drain looks
/// again after this long.
const SETTLE: Duration = Duration::from_millis(50);

/// A listener that pingora is to accept from.
///
/// Binding here and not in pingora, which retries for half a minute and then panics, gives an error
/// that a person can act on, and the port that the system chose for port 0.
pub(crate) struct Bound {
    listener: TcpListener,
    pub(crate) address: SocketAddr,
}

impl Bound {
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Self { address: listener.local_addr()?, listener })
    }

    pub(crate) fn into_listener(self) -> TcpListener {
        self.listener
    }
}

/// pingora's proxy service on a bound listener. When it has stopped accepting and the last request
/// has been answered, it says so.
pub(crate) struct DrainingProxy {
    proxy: Service<HttpProxy<Gateway>>,
    bound: Option<Bound>,
    admin_address: SocketAddr,
    in_flight: InFlightCount,
    drained: mpsc::Sender<()>,
}

impl DrainingProxy {
    pub(crate) fn new(
        mut proxy: Service<HttpProxy<Gateway>>,
        bound: Bound,
        admin_address: SocketAddr,
        in_flight: InFlightCount,
        drained: mpsc::Sender<()>,
    ) -> Self {
        proxy.add_tcp(&bound.address.to_string());
        Self { proxy, bound: Some(bound), admin_address, in_flight, drained }
    }
}

#[async_trait]
impl ServiceWithDependents for DrainingProxy {
    async fn start_service(
        &mut self,
        _fds: Option<ListenFds>,
        shutdown: ShutdownWatch,
        listeners_per_fd: usize,
        ready: ServiceReadyNotifier,
    ) {
        let Some(bound) = self.bound.take() else { return };
        // pingora takes a listener out of this table when it finds the address there. From here on
        // the descriptor is pingora's.
        let mut table = Fds::new();
        table.add(bound.address.to_string(), bound.listener.into_raw_fd());
        ready.notify_ready();
        tracing::info!(addr = %bound.address, admin_addr = %self.admin_address, "listening");
        let table: ListenFds = Arc::new(table.into());
        PingoraService::start_service(&mut self.proxy, Some(table), shutdown, listeners_per_fd).await;
        loop {
            self.in_flight.none_left().await;
            time::sleep(SETTLE).await;
            if self.in_flight.get() == 0 {
                break;
            }
        }
        // Nobody listens any more when the drain deadline is over.
        let _ = self.drained.send(());
    }

    fn name(&self) -> &str {
        "gateway"
    }

    fn threads(&self) -> Option<usize> {
        None
    }
}
