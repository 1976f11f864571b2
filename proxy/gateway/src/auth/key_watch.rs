//! The service that keeps keys up to date.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use pingora::{
    server::ShutdownWatch,
    services::{ServiceReadyNotifier, background::BackgroundService},
};
use tokio::{sync::mpsc, task::JoinSet, time};

use super::Authenticator;
use crate::control::on_blocking_thread;

/// Fetches published keys and looks at key files, until the gateway stops.
pub(crate) struct KeyWatch {
    auth: Arc<Authenticator>,
    poll_interval: Duration,
}

impl KeyWatch {
    /// Looks at files this often.
    pub(crate) fn new(auth: Arc<Authenticator>, poll_interval: Duration) -> Self {
        Self { auth, poll_interval }
    }

    async fn poll_files(auth: Arc<Authenticator>, poll_interval: Duration) {
        loop {
            time::sleep(poll_interval).await;
            let auth = auth.clone();
            on_blocking_thread(move || auth.reload()).await;
        }
    }
}

#[async_trait]
impl BackgroundService for KeyWatch {
    async fn start_with_ready_notifier(&self, mut shutdown: ShutdownWatch, ready: ServiceReadyNotifier) {
        let mut tasks = JoinSet::new();
        let (first_done, mut all_done) = mpsc::channel(1);
        self.auth.keep_fetched(&mut tasks, &first_done);
        drop(first_done);
        tasks.spawn(Self::poll_files(self.auth.clone(), self.poll_interval));
        // The first requests should not have to be refused for keys that are on their way. Nothing is
        // sent; the channel closes when every issuer has been asked once, and that takes at most the
        // longest `jwks_timeout`.
        all_done.recv().await;
        ready.notify_ready();
        let _ = shutdown.wait_for(|stopping| *stopping).await;
        tasks.shutdown().await;
    }
}
