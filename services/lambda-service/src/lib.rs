//! The lambda service: functions, their invocation on warm workers, and the history of both.
//!
//! It answers the same `/api/v1` contract as the monolith it takes over from, on the monolith's own
//! database (through views) or on its own, and never knows which. A call goes
//! `api` → `invocation` → `pool` → `executor`, and its row through `recorder` to `store`:
//!
//! | module | what it is |
//! |---|---|
//! | [`api`] | routes, and the one match from errors to the contract |
//! | [`cache`] | functions, kept for a moment between calls |
//! | [`invocation`] | one call from lookup to answer |
//! | [`events`] | calls that are accepted now and made later: intake, queue, worker |
//! | [`cron`] | what is due becomes events |
//! | [`webhooks`] | whose request it is, and how often it counts |
//! | [`dry_runs`] | calls that leave no trace |
//! | [`pool`] | which worker runs it; how many there are |
//! | [`executor`] | the port to what runs code, and sandbox and Docker behind it |
//! | [`recorder`] | executions: journal, batches, the writer |
//! | [`store`] | SQL |
//! | [`code`] | sources and packages by digest |
//! | [`dependencies`] | what must be there before the service is ready |

pub mod api;
pub mod cache;
pub mod code;
mod config;
pub mod cron;
pub mod dependencies;
pub mod dry_runs;
pub mod events;
pub mod executor;
mod function;
pub mod invocation;
pub mod metrics;
pub mod pool;
pub mod recorder;
pub mod store;
pub mod webhooks;

use std::sync::Arc;

use anyhow::Context;
use axum::Router;
pub use config::{
    BuildsConfig, CodeConfig, Config, ExecutorKind, FunctionPoolConfig, LegacyConfig, PackagesConfig, PoolConfig,
    PrewarmedConfig, PrewarmedList, RecorderConfig,
};
pub use function::{Function, Version};
use objects::Objects;
use service::{Admin, Lifecycle, ServiceConfig};

use crate::{
    api::Api,
    cache::Functions,
    code::CodeStore,
    cron::CronStart,
    dry_runs::DryRuns,
    executor::{AnyExecutor, Assembly, Backend},
    invocation::Invoker,
    pool::{Pool, Purpose},
    recorder::Recorder,
    store::Store,
    webhooks::Receipt,
};

/// How often the functions with `least` workers are looked at.
const PROVISION_INTERVAL: std::time::Duration = std::time::Duration::from_secs(2);

/// Builds the service: its routes, and the tasks that `life` owns.
///
/// # Errors
/// When the journal cannot be opened or an address cannot be read. What is merely away is waited
/// for.
pub async fn build(config: Config, life: Lifecycle) -> anyhow::Result<Router> {
    let store = Store::new(&config.database)?;
    let code = CodeStore::open(Objects::connect(&config.objects), &config.code);
    let code = Arc::new(code.context("the folder for packages cannot be used")?);
    let recorder = Recorder::open(config.recorder.settings()).context("the journal cannot be opened")?;
    let backend = Backend::prepare(&life, &config, Assembly::new(Arc::clone(&code), config.runtimes.clone()));
    let new_pool = |purpose, pool: &PoolConfig| {
        let executor = backend.executor(pool.sandbox_wait.get());
        Pool::new(purpose, executor, pool.limits(), pool.policies(), pool.queue_wait.get(), pool.idle_ttl.get())
    };
    let pool = new_pool(Purpose::Live, &config.pool);
    let (functions, keeper) = Functions::new(&config.cache, store.clone(), !config.database.migrate)
        .context("the address of `cache.redis` cannot be read")?;
    if let Some(keeper) = keeper {
        let stop = life.shutdown();
        life.spawn("cache_link", async move { keeper.run(stop).await });
    }
    let dry_runs = config.dry_run.verifier()?.map(|verifier| {
        let pool = new_pool(Purpose::DryRun, &config.dry_run.pool);
        DryRuns { verifier, functions: Arc::clone(&functions), pool }
    });

    let builds = config.builds.webhook().context("`builds.secret` is none")?;
    let is_paused_at_first = config.cron.initially == CronStart::Paused;
    let prepared = dependencies::watch_database(&life, store.clone(), &config.database, is_paused_at_first);
    dependencies::watch_objects(&life, Arc::clone(&code), config.database.probe_interval.get());
    spawn_provision(&life, &pool, &store);
    spawn_recorder(&life, &recorder, &store);
    spawn_idle_stop(&life, "idle_workers", &pool, config.pool.idle_ttl.get());
    drain_in_order(&life, &pool, &recorder, &store, &config);
    if let Some(dry_runs) = &dry_runs {
        spawn_idle_stop(&life, "idle_dry_run_workers", &dry_runs.pool, config.dry_run.pool.idle_ttl.get());
        let pool = dry_runs.pool.clone();
        life.on_drain("dry_run_pool", || async move { pool.close().await });
    }

    let flush_timeout = config.recorder.flush_timeout.get();
    let invoker = Arc::new(Invoker { store, functions, pool, recorder, record_deadline: flush_timeout });
    let intake = events::start(&life, &invoker, &config.events, &config.cron, prepared);
    let api = Api {
        invoker,
        dry_runs,
        code,
        builds,
        body_limit_bytes: config.http().body_limit.bytes(),
        flush_timeout,
        legacy_runtimes: config.legacy.runtimes,
        intake,
        receipt: Receipt::new(config.webhooks, config.events.max_retries),
        max_event_retries: config.events.max_retries,
        max_event_payload_bytes: config.events.max_payload.bytes(),
        admin: Admin::new(&config.admin),
    };
    Ok(api::router(Arc::new(api))?)
}

fn spawn_recorder(life: &Lifecycle, recorder: &Recorder, store: &Store) {
    let (recorder, store) = (recorder.clone(), store.clone());
    life.spawn("recorder", async move { recorder.run(&store).await });
}

/// Sees to it that functions have the workers that the settings promise them, at the version that they are now.
fn spawn_provision(life: &Lifecycle, pool: &Pool<AnyExecutor>, store: &Store) {
    let (pool, store, shutdown) = (pool.clone(), store.clone(), life.shutdown());
    let names: Vec<String> = pool.provisioned().map(str::to_owned).collect();
    if names.is_empty() {
        return;
    }
    let mut ticks = tokio::time::interval(PROVISION_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    life.spawn("provisioned_workers", async move {
        let ticking = async {
            loop {
                ticks.tick().await;
                for name in &names {
                    match store.function_named(name).await {
                        Ok(Some(function)) => pool.ensure(&Arc::new(function)),
                        Ok(None) => {}
                        Err(error) => {
                            tracing::debug!(%error, name, "a function with `least` workers was not looked up");
                        }
                    }
                }
            }
        };
        shutdown.run_until_cancelled(ticking).await;
    });
}

/// Looks for idle workers ten times in the time that they may idle.
fn spawn_idle_stop(life: &Lifecycle, name: &'static str, pool: &Pool<AnyExecutor>, idle_ttl: std::time::Duration) {
    let (pool, shutdown) = (pool.clone(), life.shutdown());
    let mut ticks = tokio::time::interval((idle_ttl / 10).max(std::time::Duration::from_millis(10)));
    life.spawn(name, async move {
        let ticking = async {
            loop {
                ticks.tick().await;
                pool.stop_idle();
            }
        };
        shutdown.run_until_cancelled(ticking).await;
    });
}

/// Once the last request was answered: workers, then the history they left, then the connections.
/// Hooks run in the reverse order of their registration.
fn drain_in_order(life: &Lifecycle, pool: &Pool<AnyExecutor>, recorder: &Recorder, store: &Store, config: &Config) {
    let store = store.clone();
    life.on_drain("store", || async move { store.close().await });
    let (recorder, deadline) = (recorder.clone(), config.recorder.flush_timeout.get());
    life.on_drain("recorder", move || async move {
        let left = recorder.close(deadline).await;
        if left > 0 {
            tracing::warn!(rows = left, "executions stay in the journal for the next start");
        }
    });
    let pool = pool.clone();
    life.on_drain("pool", || async move { pool.close().await });
}
