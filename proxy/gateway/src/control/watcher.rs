//! Follows the rollout document's file, a shared store, and the signals: SIGHUP reads the file again, SIGUSR1 takes
//! every route back to legacy when all else is gone.

use std::{path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use notify::{RecommendedWatcher, RecursiveMode};
use pingora::{
    server::ShutdownWatch,
    services::{ServiceReadyNotifier, background::BackgroundService},
};
use tokio::{signal::unix::SignalKind, sync::mpsc, time};

use super::{Authorship, Control, follower::Follower, store::SETTLE};
use crate::{
    config::{RolloutConfig, StoreKind},
    signals::Signals,
};

/// Reads the file again when it changes. Notifications make it quick; polling makes it sure, because
/// notifications get lost on network file systems and in containers.
pub struct Watcher {
    control: Arc<Control>,
    poll_interval: Duration,
    follower: Option<Follower>,
}

impl Watcher {
    /// Watches the file of this control, and its store where that is a shared one.
    #[must_use]
    pub fn new(control: Arc<Control>, config: &RolloutConfig) -> Self {
        let poll_interval = config.poll_interval.get();
        let follower = (config.store == StoreKind::Postgres).then(|| Follower {
            control: control.clone(),
            config: config.postgres.clone(),
            poll_interval,
        });
        Self { control, poll_interval, follower }
    }

    async fn follow(&self) {
        match &self.follower {
            Some(follower) => follower.run().await,
            None => std::future::pending().await,
        }
    }

    async fn reload(&self) {
        let control = self.control.clone();
        on_blocking_thread(move || control.reload()).await;
    }

    async fn roll_back_all(&self) {
        let control = self.control.clone();
        let by = Authorship::new("SIGUSR1", "signal", "signal");
        on_blocking_thread(move || drop(control.roll_back_all(&by))).await;
    }
}

#[async_trait]
impl BackgroundService for Watcher {
    /// Goes on while the process drains, until its runtime ends: a rollback must also reach the
    /// requests that begin on connections still open.
    async fn start_with_ready_notifier(&self, _shutdown: ShutdownWatch, ready: ServiceReadyNotifier) {
        tokio::select! {
            () = self.watch(ready) => {}
            () = self.follow() => {}
        }
    }
}

impl Watcher {
    async fn watch(&self, ready: ServiceReadyNotifier) {
        let (changed, mut changes) = mpsc::channel(1);
        let _watch = watch_folder(self.control.path(), changed);
        let mut hangup = Signals::listen(SignalKind::hangup());
        let mut user1 = Signals::listen(SignalKind::user_defined1());
        // Until here either signal would have ended the process, so nobody is told it listens before.
        ready.notify_ready();
        let mut poll = time::interval(self.poll_interval);
        poll.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = user1.next() => self.roll_back_all().await,
                () = hangup.next() => self.reload().await,
                Some(()) = changes.recv() => {
                    while time::timeout(SETTLE, changes.recv()).await.is_ok_and(|change| change.is_some()) {}
                    self.reload().await;
                }
                _ = poll.tick() => self.reload().await,
            }
        }
    }
}

/// Watches the folder, not the file: an editor replaces the file, and with it what was watched.
fn watch_folder(file: &Path, changed: mpsc::Sender<()>) -> Option<RecommendedWatcher> {
    let name = file.file_name().map(ToOwned::to_owned);
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let notice = move |event: notify::Result<notify::Event>| {
        let ours = |event: notify::Event| {
            !event.kind.is_access() && event.paths.iter().any(|path| path.file_name() == name.as_deref())
        };
        // Errors such as an overflow may hide a change, so they count as one.
        if event.map_or(true, ours) {
            // A full channel holds a notice that has not been acted on: one is enough.
            let _ = changed.try_send(());
        }
    };
    let watcher = notify::recommended_watcher(notice).and_then(|mut watcher| {
        notify::Watcher::watch(&mut watcher, folder, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    });
    watcher.map_err(|error| tracing::warn!(%error, "no file notifications; the rollout file is polled")).ok()
}

/// Files are read, written and synced off the runtime's threads.
pub(crate) async fn on_blocking_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
