//! Whether the gateway is on its way out, as connections and requests see it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Set once, when the drain begins. From then on answers ask clients to close their connections.
#[derive(Debug, Clone, Default)]
pub(crate) struct Draining(Arc<AtomicBool>);

impl Draining {
    pub(crate) fn begin(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
