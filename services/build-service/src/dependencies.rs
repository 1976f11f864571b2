//! What the service needs to be ready: its database, its object store and, to build, a sandbox.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use database::DatabaseConfig;
use objects::Objects;
use sandbox::{Sandbox, SandboxConfig};
use service::Lifecycle;
use tokio::sync::SetOnce;

use crate::store::Store;

/// Keeps the `database` check of `/readyz` true to life, after making the tables if told to.
pub fn watch_database(life: &Lifecycle, store: Store, config: &DatabaseConfig) {
    let (ready, shutdown, config) = (life.readiness("database"), life.shutdown(), config.clone());
    life.spawn("database", async move {
        let watching = async {
            if config.migrate {
                ready.until_ok(|| async { store.migrate(&config).await.context("the tables could not be made") }).await;
            }
            let probe = || async { store.probe().await.context("builds cannot be read") };
            ready.watch(config.probe_interval.get(), probe).await;
        };
        shutdown.run_until_cancelled(watching).await;
    });
}

/// Keeps the `objects` check of `/readyz` true to life.
pub fn watch_objects(life: &Lifecycle, objects: Objects, interval: Duration) {
    let (ready, shutdown) = (life.readiness("objects"), life.shutdown());
    life.spawn("objects", async move {
        let probe = || async { objects.ensure_bucket().await.context("the bucket cannot be used") };
        shutdown.run_until_cancelled(ready.watch(interval, probe)).await;
    });
}

/// Tries until the machine can run sandboxes, then puts one into `sandbox`.
pub fn prepare_sandbox(life: &Lifecycle, config: SandboxConfig, sandbox: Arc<SetOnce<Sandbox>>) {
    let (ready, shutdown) = (life.readiness("sandbox"), life.shutdown());
    life.spawn("sandbox", async move {
        let probing = ready.until_ok(|| {
            let config = config.clone();
            async move { Ok(tokio::task::spawn_blocking(move || Sandbox::new(config)).await??) }
        });
        let Some(made) = shutdown.run_until_cancelled(probing).await else { return };
        sandbox.set(made).expect("only this task sets it, once");
        ready.ready();
    });
}
