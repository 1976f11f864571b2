//! What is said when this process accepts connections.

use std::path::PathBuf;

use sd_notify::NotifyState;

use super::{Predecessor, pid_file::write_pid};

/// Those who wait for this process.
pub(crate) struct Readiness {
    pub(crate) predecessor: Option<Predecessor>,
    pub(crate) pid_file: Option<PathBuf>,
}

impl Readiness {
    /// Tells them. The predecessor comes last: when it goes, the file names this process already.
    pub(crate) fn announce(self) {
        if let Some(path) = &self.pid_file
            && let Err(error) = write_pid(path)
        {
            tracing::error!(%error, path = %path.display(), "the pid file is not written");
        }
        if let Err(error) = sd_notify::notify(false, &[NotifyState::Ready]) {
            tracing::warn!(%error, "systemd does not hear that the gateway is ready");
        }
        if let Some(predecessor) = self.predecessor
            && let Err(error) = predecessor.ready()
        {
            // It is gone, and its listeners are here: this process serves as if it had been started.
            tracing::warn!(%error, "the predecessor did not wait");
        }
    }
}
