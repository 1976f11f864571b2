//! Reads certificate files again when they change.

use std::{collections::BTreeSet, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use notify::{RecommendedWatcher, RecursiveMode};
use pingora::{server::ShutdownWatch, services::background::BackgroundService};
use tokio::{signal::unix::SignalKind, sync::mpsc, time};

use super::{CertificateError, Certificates, certificates::Reloaded, metrics::ListenerTlsMetrics};
use crate::{control::on_blocking_thread, signals::Signals};

/// A renewal writes two files or more; reading waits for a pause of this length.
const SETTLE: Duration = Duration::from_millis(100);

/// Reads the certificate files of one listener again: when told of a change, on SIGHUP, and every
/// so often to be sure.
pub(crate) struct Reload {
    certificates: Arc<Certificates>,
    metrics: ListenerTlsMetrics,
    poll_interval: Duration,
}

impl Reload {
    pub(crate) fn new(certificates: Arc<Certificates>, metrics: ListenerTlsMetrics, poll_interval: Duration) -> Self {
        metrics.in_force(&certificates);
        Self { certificates, metrics, poll_interval }
    }

    async fn reload(&self, reported: &mut Option<String>) {
        let certificates = self.certificates.clone();
        match on_blocking_thread(move || certificates.reload()).await {
            Ok(Reloaded::Unchanged) => {}
            Ok(Reloaded::Replaced) => {
                *reported = None;
                self.metrics.reloaded(&self.certificates);
                tracing::info!(expires_s = ?self.certificates.expiries_s(), "new certificates are in force");
            }
            Err(error) => self.refused(&error, reported),
        }
    }

    /// A file that stays unreadable is reported once, not at each look.
    fn refused(&self, error: &CertificateError, reported: &mut Option<String>) {
        let text = error.to_string();
        if reported.as_ref() != Some(&text) {
            self.metrics.reload_refused();
            tracing::error!(error = %text, "the certificate files changed and cannot be used; the old ones stay in force");
            *reported = Some(text);
        }
    }
}

#[async_trait]
impl BackgroundService for Reload {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let (changed, mut changes) = mpsc::channel(1);
        let _watchers = watch_folders(&self.certificates, &changed);
        let mut hangup = Signals::listen(SignalKind::hangup());
        let mut poll = time::interval(self.poll_interval);
        poll.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        let mut reported = None;
        loop {
            tokio::select! {
                _ = shutdown.changed() => return,
                () = hangup.next() => {}
                Some(()) = changes.recv() => {
                    while time::timeout(SETTLE, changes.recv()).await.is_ok_and(|change| change.is_some()) {}
                }
                _ = poll.tick() => {}
            }
            self.reload(&mut reported).await;
        }
    }
}

/// Watches the folders, and takes any change in them as one: renewals replace files, and Kubernetes
/// replaces a link to the folder that the files are in.
fn watch_folders(certificates: &Certificates, changed: &mpsc::Sender<()>) -> Vec<RecommendedWatcher> {
    let folder = |path: &Path| match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => Path::new(".").to_owned(),
    };
    let files = certificates.configs().iter().flat_map(|pair| [&pair.certificate, &pair.key]);
    let folders: BTreeSet<_> = files.map(|file| folder(file)).collect();
    let watch = |folder: &Path| {
        let changed = changed.clone();
        let notice = move |event: notify::Result<notify::Event>| {
            // Reading the files is an access of its own and must not lead to the next reading.
            if event.map_or(true, |event| !event.kind.is_access()) {
                let _ = changed.try_send(());
            }
        };
        let mut watcher = notify::recommended_watcher(notice)?;
        notify::Watcher::watch(&mut watcher, folder, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    };
    let watched = folders.iter().filter_map(|folder| {
        let warn = |error: &notify::Error| {
            tracing::warn!(%error, folder = %folder.display(), "no file notifications; the certificates are polled");
        };
        watch(folder).inspect_err(warn).ok()
    });
    watched.collect()
}
