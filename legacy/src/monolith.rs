//! Puts the monolith together: its parts, its tasks, and what its readiness depends on.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::Router;
use objects::Objects;
use service::{Admin, Backoff, Lifecycle, ReadinessHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    api::{self, Api},
    bus,
    config::Config,
    events::EventProcessor,
    executor::{self, Executor},
    invoker::Invoker,
    scheduler::Scheduler,
    store::Store,
};

/// How often a dependency that answers is asked again.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// How long one check may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// Builds the monolith's routes and starts its tasks. Dependencies may be away: what they are
/// needed for fails meanwhile, and `/readyz` says so.
///
/// # Errors
/// When the settings name something that cannot work on this machine, such as a sandbox without
/// `bwrap`.
pub async fn build(config: Config, life: Lifecycle) -> anyhow::Result<Router> {
    let store = Store::new(&config.database)?;
    let objects = Objects::connect(&config.objects);
    let executor_config = config.executor.clone();
    let executor = tokio::task::spawn_blocking(move || executor::open(&executor_config))
        .await
        .context("trying the executor out panicked")??;
    let invoker = Arc::new(Invoker::new(&config.executor, store.clone(), objects.clone(), Arc::clone(&executor)));
    let bus = bus::open(&config.bus, store.clone());

    let stop = life.shutdown();
    let migrated = CancellationToken::new();
    life.spawn("database", {
        let (store, readiness) = (store.clone(), life.readiness("database"));
        let (stop, migrated) = (stop.clone(), migrated.clone());
        async move {
            let prepare = || async {
                if migrated.is_cancelled() {
                    return store.ping().await;
                }
                store.migrate().await?;
                migrated.cancel();
                Ok(())
            };
            watch(readiness, "the database cannot be reached", &stop, prepare).await;
        }
    });
    life.spawn("objects", {
        let (objects, readiness, stop) = (objects.clone(), life.readiness("objects"), stop.clone());
        async move { watch(readiness, "the bucket cannot be reached", &stop, || objects.ensure_bucket()).await }
    });
    life.spawn("executor", {
        let (executor, readiness, stop) = (Arc::clone(&executor), life.readiness("executor"), stop.clone());
        async move { watch(readiness, "functions cannot be run", &stop, || executor.check()).await }
    });
    let processor = Arc::new(EventProcessor::new(store.clone(), Arc::clone(&invoker), stop.clone()));
    spawn_consumer(&life, Arc::clone(&bus), processor, executor, migrated.clone());
    if config.scheduler.enabled {
        let scheduler = Scheduler::new(&config.scheduler, store.clone(), Arc::clone(&bus));
        life.spawn("scheduler", async move {
            if stop.run_until_cancelled(migrated.cancelled()).await.is_some() {
                scheduler.run(stop).await;
            }
        });
    } else {
        tracing::info!("the scheduler is paused: this replica fires no cron triggers");
    }
    let body_limit_bytes = config.http.body_limit.bytes();
    let (flush_timeout, admin) = (config.bus.flush_timeout.get(), Admin::new(&config.admin));
    Ok(api::router(Api { store, objects, invoker, bus, body_limit_bytes, flush_timeout, admin }))
}

/// The task that works off events, and closes the executor when nothing can call a function any
/// more: no request (the hook runs after the last) and no event.
fn spawn_consumer(
    life: &Lifecycle,
    bus: Arc<dyn bus::EventBus>,
    processor: Arc<EventProcessor>,
    executor: Arc<dyn Executor>,
    migrated: CancellationToken,
) {
    let (stop, readiness) = (life.shutdown(), life.readiness("bus"));
    let requests_done = CancellationToken::new();
    life.on_drain("requests", {
        let requests_done = requests_done.clone();
        move || async move { requests_done.cancel() }
    });
    life.spawn("events", async move {
        if stop.run_until_cancelled(migrated.cancelled()).await.is_some() {
            bus.consume(processor, stop, readiness).await;
        }
        requests_done.cancelled().await;
        executor.close().await;
    });
}

/// Asks a dependency until `stop` whether it is there, often while it is not.
async fn watch<F, E>(
    readiness: ReadinessHandle,
    missing: &'static str,
    stop: &CancellationToken,
    mut check: impl FnMut() -> F,
) where
    F: Future<Output = Result<(), E>>,
    E: std::error::Error + 'static,
{
    let mut backoff = Backoff::default();
    let forever = async {
        loop {
            let pause = match tokio::time::timeout(CHECK_TIMEOUT, check()).await {
                Ok(Ok(())) => {
                    readiness.ready();
                    backoff.reset();
                    CHECK_INTERVAL
                }
                Ok(Err(error)) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "{missing}");
                    readiness.not_ready(missing);
                    backoff.next_delay()
                }
                Err(_) => {
                    tracing::warn!(timeout_ms = CHECK_TIMEOUT.as_millis(), "{missing}");
                    readiness.not_ready(missing);
                    backoff.next_delay()
                }
            };
            tokio::time::sleep(pause).await;
        }
    };
    stop.run_until_cancelled(forever).await;
}
