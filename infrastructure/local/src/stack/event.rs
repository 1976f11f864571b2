use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;

/// What happens to the parts of a stack, for whoever shows it to a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A file of the data folder was edited there, so what the stack comes with now did not take its place.
    Outdated {
        /// The file.
        file: String,
        /// Where the stack's is, to compare.
        shipped: PathBuf,
    },
    /// A part is being started.
    Starting {
        /// The part.
        part: String,
    },
    /// A part is ready.
    Ready {
        /// The part.
        part: String,
        /// How long that took.
        took: Duration,
    },
    /// A part has replaced itself: its process has ended, and another one serves.
    Replaced {
        /// The part.
        part: String,
        /// The id of the process that serves.
        pid: u32,
    },
    /// A part ended by itself, or hung while starting, and is started again.
    Restarting {
        /// The part.
        part: String,
        /// How it ended.
        reason: String,
        /// The pause before its next start.
        after: Duration,
    },
    /// A part has stopped, as asked.
    Stopped {
        /// The part.
        part: String,
        /// Whether it was killed because it missed its deadline.
        killed: bool,
    },
}

/// Where events go, if anybody listens.
#[derive(Clone, Debug, Default)]
pub(super) struct Events(pub(super) Option<mpsc::UnboundedSender<Event>>);

impl Events {
    pub(super) fn emit(&self, event: Event) {
        if let Some(listener) = &self.0 {
            // A listener that is gone has seen enough.
            let _ = listener.send(event);
        }
    }
}
