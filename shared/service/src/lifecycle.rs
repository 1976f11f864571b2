//! What a service owns while it runs: tasks, readiness, and what to do before it ends.

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::{FutureExt, future::BoxFuture};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

use crate::{ReadinessHandle, readiness::Readiness};

type DrainHook = (&'static str, Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>);

/// Handle to the life of the service; cheap to clone.
#[derive(Clone, Default)]
pub struct Lifecycle {
    shutdown: CancellationToken,
    tasks: TaskTracker,
    pub(crate) readiness: Readiness,
    hooks: Arc<Mutex<Vec<DrainHook>>>,
    failed: Arc<AtomicBool>,
}

impl Lifecycle {
    /// Cancelled when the service begins to end: take no new work, finish what was begun.
    #[must_use]
    pub fn shutdown(&self) -> CancellationToken {
        self.shutdown.clone()
    }

    /// A named condition for `/readyz`, not ready until the handle says so.
    #[must_use]
    pub fn readiness(&self, name: &'static str) -> ReadinessHandle {
        self.readiness.handle(name)
    }

    /// Runs a task that the service owns: it is waited for on drain, within the deadline. A task
    /// that panics ends the service, because half a service is worse than a restart.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let (shutdown, failed) = (self.shutdown.clone(), Arc::clone(&self.failed));
        let guarded = async move {
            if AssertUnwindSafe(task).catch_unwind().await.is_err() {
                tracing::error!(task = name, "a task panicked; ending the service");
                failed.store(true, Ordering::Relaxed);
                shutdown.cancel();
            }
        };
        self.tasks.spawn(guarded.instrument(tracing::info_span!(telemetry::BACKGROUND_SPAN, task = name)));
    }

    /// Runs `hook` after the last request was answered and before the process ends, within the
    /// drain deadline. Hooks run one after the other, the last registered first.
    pub fn on_drain<F>(&self, name: &'static str, hook: impl FnOnce() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let hook: DrainHook = (name, Box::new(move || hook().boxed()));
        self.hooks.lock().unwrap_or_else(PoisonError::into_inner).push(hook);
    }

    pub(crate) async fn run_hooks(&self) {
        let hooks = std::mem::take(&mut *self.hooks.lock().unwrap_or_else(PoisonError::into_inner));
        for (name, hook) in hooks.into_iter().rev() {
            hook().instrument(tracing::info_span!("drain", task = name)).await;
        }
    }

    pub(crate) async fn join_tasks(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Whether a task of the service panicked.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }
}
