//! Signals, where the system lets the gateway hear them.

use std::future::pending;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// One kind of signal.
pub(crate) struct Signals(Option<Signal>);

impl Signals {
    /// Hears this signal from now on. Only call it in a runtime.
    pub(crate) fn listen(kind: SignalKind) -> Self {
        Self(signal(kind).map_err(|error| tracing::error!(%error, ?kind, "this signal is not heard")).ok())
    }

    /// Waits for the next one; for ever when signals of this kind are not heard.
    pub(crate) async fn next(&mut self) {
        match &mut self.0 {
            Some(signal) => {
                signal.recv().await;
            }
            None => pending().await,
        }
    }
}
