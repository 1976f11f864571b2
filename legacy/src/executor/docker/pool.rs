//! The containers: each is idle, or leased to one call, or on its way from the one to the other.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use domain::Runtime;
use tokio::sync::OnceCell;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use super::{ContainerApi, ExecutorError};

#[derive(Debug)]
pub(super) struct Pool {
    api: ContainerApi,
    idle: Mutex<HashMap<Runtime, Vec<String>>>,
    prepared: OnceCell<()>,
    /// Containers on their way back, or out.
    returns: TaskTracker,
}

/// One container, for one call. When it is dropped without [`Lease::end`] the call was given up, and
/// the container is removed.
#[derive(Debug)]
pub(super) struct Lease {
    pool: Arc<Pool>,
    runtime: Runtime,
    container: String,
    is_warm: bool,
    exec_id: Option<String>,
    reusable: bool,
}

impl Pool {
    pub(super) fn new(api: ContainerApi) -> Self {
        Self { api, idle: Mutex::default(), prepared: OnceCell::new(), returns: TaskTracker::new() }
    }

    pub(super) const fn api(&self) -> &ContainerApi {
        &self.api
    }

    /// Once: removes what a former life left behind, and starts the first containers.
    pub(super) async fn prepare(&self) -> Result<(), ExecutorError> {
        self.prepared
            .get_or_try_init(|| async {
                for container in self.api.pooled().await? {
                    self.api.remove(&container).await;
                }
                for runtime in self.api.config().images.keys() {
                    for _ in 0..self.api.config().warm {
                        let container = self.api.create(*runtime).await?;
                        self.idle().entry(*runtime).or_default().push(container);
                    }
                }
                Ok(())
            })
            .await
            .copied()
    }

    /// A container for one call: an idle one, or a new one.
    pub(super) async fn take(self: &Arc<Self>, runtime: Runtime) -> Result<Lease, ExecutorError> {
        self.prepare().await?;
        let idle = self.idle().get_mut(&runtime).and_then(Vec::pop);
        let (container, is_warm) = match idle {
            Some(container) => (container, true),
            None => (self.api.create(runtime).await?, false),
        };
        Ok(Lease { pool: Arc::clone(self), runtime, container, is_warm, exec_id: None, reusable: false })
    }

    /// Waits for what is on its way, and removes every container.
    pub(super) async fn close(&self) {
        self.returns.close();
        self.returns.wait().await;
        let idle = mem::take(&mut *self.idle());
        for container in idle.into_values().flatten() {
            self.api.remove(&container).await;
        }
    }

    fn idle(&self) -> MutexGuard<'_, HashMap<Runtime, Vec<String>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a container back once its call's process has ended and left nothing behind.
    async fn put_back(&self, runtime: Runtime, container: String, exec_id: &str) {
        if self.api.exit_code(exec_id).await.is_some() && self.api.is_idle(&container).await {
            self.idle().entry(runtime).or_default().push(container);
        } else {
            self.api.remove(&container).await;
        }
    }
}

impl Lease {
    pub(super) fn container(&self) -> &str {
        &self.container
    }

    pub(super) const fn is_warm(&self) -> bool {
        self.is_warm
    }

    /// The call's process was started.
    pub(super) fn started(&mut self, exec_id: String) {
        self.exec_id = Some(exec_id);
    }

    /// The call is over; `in_order` when its process ends by itself.
    pub(super) fn end(mut self, in_order: bool) {
        self.reusable = in_order;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let (pool, runtime) = (Arc::clone(&self.pool), self.runtime);
        let container = mem::take(&mut self.container);
        let exec_id = self.exec_id.take().filter(|_| self.reusable);
        let span = tracing::info_span!("container", container.id = container);
        self.pool.returns.spawn(
            async move {
                match exec_id {
                    Some(exec_id) => pool.put_back(runtime, container, &exec_id).await,
                    None => pool.api.remove(&container).await,
                }
            }
            .instrument(span),
        );
    }
}
