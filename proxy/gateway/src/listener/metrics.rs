//! What is counted of connections.

use std::sync::Arc;

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::metrics::names;

/// The metrics of all public listeners.
pub(crate) struct ConnectionMetrics {
    open: IntGauge,
    pub(super) handshakes_failed: IntCounter,
    pub(super) handshakes_timed_out: IntCounter,
    pub(super) heads_timed_out: IntCounter,
    pub(super) accepts_failed: IntCounter,
}

impl ConnectionMetrics {
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let open = IntGauge::new(names::CONNECTIONS_OPEN, "Client connections, on all public listeners")?;
        let handshakes = IntCounterVec::new(
            Opts::new(names::TLS_HANDSHAKES_FAILED, "Connections that ended before TLS was agreed on, by cause"),
            &["cause"],
        )?;
        let heads_timed_out = IntCounter::new(
            names::REQUEST_HEADS_TIMED_OUT,
            "Connections that were closed because the head of a request was not complete in time",
        )?;
        let accepts_failed = IntCounter::new(
            names::ACCEPTS_FAILED,
            "Connections that the system could not give, most often for want of file descriptors",
        )?;
        registry.register(Box::new(open.clone()))?;
        registry.register(Box::new(handshakes.clone()))?;
        registry.register(Box::new(heads_timed_out.clone()))?;
        registry.register(Box::new(accepts_failed.clone()))?;
        Ok(Self {
            open,
            handshakes_failed: handshakes.with_label_values(&["refused"]),
            handshakes_timed_out: handshakes.with_label_values(&["timeout"]),
            heads_timed_out,
            accepts_failed,
        })
    }
}

/// How many client connections may be open at once, and how many are.
#[derive(Clone)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    all: u32,
    gauge: IntGauge,
}

/// One open connection.
#[derive(Debug)]
pub(super) struct OpenConnection {
    _place: OwnedSemaphorePermit,
    gauge: IntGauge,
}

impl Places {
    pub(super) fn new(limit: u32, metrics: &ConnectionMetrics) -> Self {
        Self { free: Arc::new(Semaphore::new(limit as usize)), all: limit, gauge: metrics.open.clone() }
    }

    /// Waits until there is room for one more connection.
    pub(super) async fn take(&self) -> OwnedSemaphorePermit {
        self.free.clone().acquire_owned().await.expect("the semaphore is never closed")
    }

    /// A connection in its place.
    pub(super) fn open(&self, place: OwnedSemaphorePermit) -> OpenConnection {
        self.gauge.inc();
        OpenConnection { _place: place, gauge: self.gauge.clone() }
    }

    /// Waits until no connection is left. No new one finds room any more.
    pub(super) async fn all_left(&self) {
        let _ = self.free.acquire_many(self.all).await;
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}
