//! What must be there before a service takes traffic.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::Backoff;

/// `None` is ready; otherwise the reason why not.
type Checks = BTreeMap<&'static str, Option<String>>;

/// Every named condition of a service.
#[derive(Debug, Clone, Default)]
pub(crate) struct Readiness(Arc<Mutex<Checks>>);

/// Says whether one named condition holds. A new one does not.
#[derive(Debug, Clone)]
pub struct ReadinessHandle {
    name: &'static str,
    all: Readiness,
}

impl Readiness {
    pub(crate) fn handle(&self, name: &'static str) -> ReadinessHandle {
        let handle = ReadinessHandle { name, all: self.clone() };
        handle.not_ready("starting");
        handle
    }

    /// Name and reason of each condition that does not hold.
    pub(crate) fn missing(&self) -> BTreeMap<&'static str, String> {
        let checks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        checks.iter().filter_map(|(name, reason)| Some((*name, reason.clone()?))).collect()
    }

    fn set(&self, name: &'static str, state: Option<String>) -> bool {
        let mut checks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let was_ready = checks.get(name).is_some_and(Option::is_none);
        let changed = was_ready != state.is_none();
        checks.insert(name, state);
        changed
    }
}

impl ReadinessHandle {
    /// The condition holds.
    pub fn ready(&self) {
        if self.all.set(self.name, None) {
            tracing::info!(check = self.name, "ready");
        }
    }

    /// The condition does not hold, for this reason, which `/readyz` shows to anybody: no secrets.
    pub fn not_ready(&self, reason: impl Into<String>) {
        let reason = reason.into();
        if self.all.set(self.name, Some(reason.clone())) {
            tracing::warn!(check = self.name, reason, "not ready");
        }
    }

    /// Probes for ever: until it works, then at the interval, and keeps the condition true to it.
    pub async fn watch<F>(&self, interval: Duration, mut probe: impl FnMut() -> F)
    where
        F: Future<Output = anyhow::Result<()>>,
    {
        loop {
            self.until_ok(&mut probe).await;
            self.ready();
            tokio::time::sleep(interval).await;
        }
    }

    /// Tries until it works, with backoff, and says why it does not. The reason is logged where it
    /// changes the condition, once, and not at every attempt. What is made holds only once
    /// [`ReadinessHandle::ready`] says so.
    pub async fn until_ok<T, F>(&self, mut attempt: impl FnMut() -> F) -> T
    where
        F: Future<Output = anyhow::Result<T>>,
    {
        let mut backoff = Backoff::default();
        loop {
            match attempt().await {
                Ok(value) => return value,
                Err(error) => self.not_ready(format!("{error:#}")),
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }
}
