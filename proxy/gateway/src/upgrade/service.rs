//! Upgrades when asked to, one at a time.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use pingora::{
    server::ShutdownWatch,
    services::{ServiceReadyNotifier, background::BackgroundService},
};
use sd_notify::NotifyState;
use tokio::{
    signal::unix::SignalKind,
    sync::{Notify, mpsc, oneshot},
};

use super::{Held, Program, UpgradeError, successor};
use crate::signals::Signals;

/// How an upgrade ended: with the id of the process that has taken over, or why it did not.
type Outcome = Result<u32, UpgradeError>;

/// Asks for upgrades from within the process.
#[derive(Clone)]
pub(crate) struct UpgradeRequests(mpsc::Sender<oneshot::Sender<Outcome>>);

impl UpgradeRequests {
    /// Upgrades. With the answer `Ok` this process has begun to drain.
    pub(crate) async fn upgrade(&self) -> Outcome {
        let (answer, outcome) = oneshot::channel();
        self.0.send(answer).await.map_err(|_| UpgradeError::ShuttingDown)?;
        outcome.await.unwrap_or(Err(UpgradeError::ShuttingDown))
    }
}

/// Starts a successor when asked to.
pub(crate) struct Upgrader {
    program: Program,
    deadline: Duration,
    listeners: Arc<Held>,
    requests: Mutex<Option<mpsc::Receiver<oneshot::Sender<Outcome>>>>,
    upgraded: Arc<Notify>,
}

impl Upgrader {
    /// Wakes `upgraded` when a successor has taken over.
    pub(crate) fn new(
        program: Program,
        deadline: Duration,
        listeners: Arc<Held>,
        upgraded: Arc<Notify>,
    ) -> (Self, UpgradeRequests) {
        let (requests, received) = mpsc::channel(1);
        let received = Mutex::new(Some(received));
        (Self { program, deadline, listeners, requests: received, upgraded }, UpgradeRequests(requests))
    }

    async fn upgrade(&self) -> Outcome {
        tracing::info!(program = %self.program.path.display(), "upgrading");
        let outcome = successor::start(&self.program, &self.listeners, self.deadline).await;
        match &outcome {
            Ok(id) => {
                tracing::info!(successor = id, "the successor is ready; draining");
                if let Err(error) = sd_notify::notify(false, &[NotifyState::MainPid(*id)]) {
                    tracing::warn!(%error, "systemd does not hear which process serves now");
                }
                self.upgraded.notify_one();
            }
            Err(error) => {
                let cause = std::error::Error::source(error).map(ToString::to_string);
                tracing::error!(%error, cause, "not upgraded; this process goes on");
            }
        }
        outcome
    }
}

#[async_trait]
impl BackgroundService for Upgrader {
    async fn start_with_ready_notifier(&self, mut shutdown: ShutdownWatch, ready: ServiceReadyNotifier) {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut requests) = requests else { return };
        let mut user2 = Signals::listen(SignalKind::user_defined2());
        // Until here the signal would have ended the process.
        ready.notify_ready();
        let upgrades = async {
            loop {
                let asked = tokio::select! {
                    () = user2.next() => None,
                    Some(answer) = requests.recv() => Some(answer),
                };
                let outcome = self.upgrade().await;
                let done = outcome.is_ok();
                if let Some(answer) = asked {
                    let _ = answer.send(outcome);
                }
                if done {
                    return;
                }
            }
        };
        tokio::select! {
            () = upgrades => {}
            // A successor that is not ready ends with this.
            _ = shutdown.wait_for(|stop| *stop) => {}
        }
    }
}
