//! What the service needs to be ready: the database, the object store, a working sandbox.
//!
//! Each has an owned task that tries until it is there, with backoff, and says on `/readyz` what is
//! missing. The database and the object store are asked again now and then, so that a balancer
//! learns when they go; the requests themselves find out sooner and answer 503.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use database::DatabaseConfig;
use sandbox::{Sandbox, SandboxConfig};
use service::Lifecycle;
use tokio::sync::SetOnce;
use tokio_util::sync::CancellationToken;

use crate::{
    code::CodeStore,
    executor::{ContainersConfig, Engine, Reserve, Starter},
    store::{Control, Store},
};

/// How often Docker is asked whether it is still there.
const DOCKER_PROBE_INTERVAL: Duration = Duration::from_secs(5);

/// Keeps the `database` check of `/readyz` true to life, after making the tables if told to, or else those that
/// stand beside views. What is given back is cancelled once they are there.
pub fn watch_database(
    life: &Lifecycle,
    store: Store,
    config: &DatabaseConfig,
    cron_is_paused_at_first: bool,
) -> CancellationToken {
    let ready = life.readiness("database");
    let shutdown = life.shutdown();
    let (config, interval) = (config.clone(), config.probe_interval.get());
    let prepared = CancellationToken::new();
    let tables_are_there = prepared.clone();
    life.spawn("database", async move {
        let watching = async {
            ready
                .until_ok(|| {
                    let (store, config) = (store.clone(), config.clone());
                    async move { prepare(&store, &config, cron_is_paused_at_first).await }
                })
                .await;
            tables_are_there.cancel();
            ready
                .watch(interval, || {
                    let store = store.clone();
                    async move { store.probe().await.context("functions and invocations cannot be read") }
                })
                .await;
        };
        shutdown.run_until_cancelled(watching).await;
    });
    prepared
}

async fn prepare(store: &Store, config: &DatabaseConfig, cron_is_paused_at_first: bool) -> anyhow::Result<()> {
    if config.migrate {
        store.migrate(config).await.context("the tables could not be made")?;
    } else {
        // Without the views there is no schema to make anything in, and they are what is missing.
        store.probe().await.context("functions and invocations cannot be read")?;
        store.make_tables_beside_views().await.context("the tables beside the views could not be made")?;
    }
    if cron_is_paused_at_first {
        let paused = store.pause_from_the_start(Control::Cron, "`cron.initially` is \"paused\"").await;
        paused.context("the schedule could not be paused")?;
    }
    Ok(())
}

/// Keeps the `objects` check of `/readyz` true to life.
pub fn watch_objects(life: &Lifecycle, code: Arc<CodeStore>, interval: Duration) {
    let ready = life.readiness("objects");
    let shutdown = life.shutdown();
    life.spawn("objects", async move {
        let watching = ready.watch(interval, || {
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
        let probing = ready.until_ok(|| {
            let config = config.clone();
            async move { Ok(tokio::task::spawn_blocking(move || Sandbox::new(config)).await??) }
        });
        let Some(made) = shutdown.run_until_cancelled(probing).await else { return };
        tracing::info!(isolation = made.describe(), "sandbox ready");
        sandbox.set(made).expect("only this task sets it, once");
        ready.ready();
    });
}

/// Tries until Docker is there, then puts this life's part of it into `engine`, and keeps the `docker` check of `/readyz`
/// true to life.
pub(crate) fn prepare_docker(life: &Lifecycle, config: ContainersConfig, engine: Arc<SetOnce<Engine>>) {
    let ready = life.readiness("docker");
    let shutdown = life.shutdown();
    let made = Arc::clone(&engine);
    life.spawn("docker", async move {
        let watching = async {
            let prepared = ready.until_ok(|| Engine::prepare(config.clone())).await;
            let daemon = prepared.household().daemon().clone();
            tracing::info!(socket = %daemon.socket().display(), "Docker is there");
            made.set(prepared).expect("only this task sets it, once");
            ready.watch(DOCKER_PROBE_INTERVAL, || async { Ok(daemon.ping().await?) }).await;
        };
        shutdown.run_until_cancelled(watching).await;
    });
    life.on_drain("containers", move || async move {
        if let Some(engine) = engine.get() {
            engine.household().close().await;
        }
    });
}

/// Keeps interpreters waiting, once there is what starts them, and ends them with the service.
pub fn keep_reserve<S: Starter>(life: &Lifecycle, reserve: Arc<Reserve<S>>, starter: Arc<SetOnce<S>>) {
    let shutdown = life.shutdown();
    life.spawn("prewarmed_workers", async move {
        let keeping = async { reserve.keep(starter.wait().await).await };
        shutdown.run_until_cancelled(keeping).await;
        reserve.close();
    });
}
