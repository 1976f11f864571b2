//! SIGHUP opens the file of the access log anew: whoever keeps old logs moves the file away, and then says so.

use async_trait::async_trait;
use pingora::{
    server::ShutdownWatch,
    services::{ServiceReadyNotifier, background::BackgroundService},
};
use tokio::signal::unix::SignalKind;

use crate::{access_log::AccessLog, signals::Signals};

/// Passes the signal on to the log.
pub(crate) struct LogRotation(pub(crate) AccessLog);

#[async_trait]
impl BackgroundService for LogRotation {
    /// Goes on while the process drains, as the log does.
    async fn start_with_ready_notifier(&self, _shutdown: ShutdownWatch, ready: ServiceReadyNotifier) {
        let mut hangup = Signals::listen(SignalKind::hangup());
        ready.notify_ready();
        loop {
            hangup.next().await;
            self.0.reopen();
        }
    }
}
