//! What the service needs to be ready: the database, the object store, a working sandbox.
//!
//! Each has an owned task that tries until it is there, with backoff, and says on `/readyz` what is
//! missing. The database and the object store are asked again now and then, so that a balancer
//! learns when they go; the requests themselves find out sooner and answer 503.

use std::{future::Future, sync::Arc, time::Duration};

use anyhow::Context;
use sandbox::{Sandbox, SandboxConfig};
use service::{Backoff, Lifecycle, ReadinessHandle};
use tokio::sync::SetOnce;

use crate::{code::CodeStore, config::DatabaseConfig, store::Store};

/// Keeps the `database` check of `/readyz` true to life, after making the tables if told to.
pub fn watch_database(life: &Lifecycle, store: Store, config: &DatabaseConfig) {
    let ready = life.readiness("database");
    let shutdown = life.shutdown();
    let (schema, migrate, interval) = (config.schema.clone(), config.migrate, config.probe_interval.get());
    life.spawn("database", async move {
        let watching = async {
            if migrate {
                until_ok(&ready, || {
                    let (store, schema) = (store.clone(), schema.clone());
                    async move { store.migrate(&schema).await.context("the tables could not be made") }
                })
                .await;
            }
            watch(&ready, interval, || {
                let store = store.clone();
                async move { store.probe().await.context("functions and invocations cannot be read") }
            })
            .await;
        };
        shutdown.run_until_cancelled(watching).await;
    });
}

/// Keeps the `objects` check of `/readyz` true to life.
pub fn watch_objects(life: &Lifecycle, code: Arc<CodeStore>, interval: Duration) {
    let ready = life.readiness("objects");
    let shutdown = life.shutdown();
    life.spawn("objects", async move {
        let watching = watch(&ready, interval, || {
            let code = Arc::clone(&code);
            async move { code.probe().await.context("the bucket cannot be used") }
        });
        shutdown.run_until_cancelled(watching).await;
    });
}

/// Tries until the machine can run sandboxes, then puts one into `sandbox`.
pub fn prepare_sandbox(life: &Lifecycle, config: SandboxConfig, sandbox: Arc<SetOnce<Sandbox>>) {
    let ready = life.readiness("sandbox");
    let shutdown = life.shutdown();
    life.spawn("sandbox", async move {
        let probing = until_ok(&ready, || {
            let config = config.clone();
            async move { Ok(tokio::task::spawn_blocking(move || Sandbox::new(config)).await??) }
        });
        let Some(made) = shutdown.run_until_cancelled(probing).await else { return };
        tracing::info!(isolation = made.describe(), "sandbox ready");
        sandbox.set(made).expect("only this task sets it, once");
        ready.ready();
    });
}

/// Probes for ever: until it works, then at the interval.
async fn watch<F>(ready: &ReadinessHandle, interval: Duration, mut probe: impl FnMut() -> F)
where
    F: Future<Output = anyhow::Result<()>>,
{
    loop {
        until_ok(ready, &mut probe).await;
        ready.ready();
        tokio::time::sleep(interval).await;
    }
}

/// Tries until it works, and says why it does not. The reason is logged where it changes the
/// readiness, once, and not at every attempt.
async fn until_ok<T, F>(ready: &ReadinessHandle, mut attempt: impl FnMut() -> F) -> T
where
    F: Future<Output = anyhow::Result<T>>,
{
    let mut backoff = Backoff::default();
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(error) => ready.not_ready(format!("{error:#}")),
        }
        tokio::time::sleep(backoff.next_delay()).await;
    }
}
