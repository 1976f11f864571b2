//! The lambda service: functions, their invocation on warm workers, and the history of both.
//!
//! It answers the same `/api/v1` contract as the monolith it takes over from, on the monolith's own
//! database (through views) or on its own, and never knows which. A call goes
//! `api` → `invocation` → `pool` → `executor`, and its row through `recorder` to `store`:
//!
//! | module | what it is |
//! |---|---|
//! | [`api`] | routes, and the one match from errors to the contract |
//! | [`invocation`] | one call from lookup to answer |
//! | [`dry_runs`] | calls that leave no trace |
//! | [`pool`] | which worker runs it; how many there are |
//! | [`executor`] | the port to what runs code, and the sandbox behind it |
//! | [`recorder`] | executions: journal, batches, the writer |
//! | [`store`] | SQL |
//! | [`code`] | source by digest |
//! | [`dependencies`] | what must be there before the service is ready |

pub mod api;
pub mod code;
mod config;
pub mod dependencies;
pub mod dry_runs;
pub mod executor;
mod function;
pub mod invocation;
pub mod metrics;
pub mod pool;
pub mod recorder;
pub mod store;

use std::sync::Arc;

use anyhow::Context;
use axum::Router;
pub use config::{CodeConfig, Config, DatabaseConfig, LegacyConfig, PoolConfig, RecorderConfig};
pub use function::{Function, Version};
use objects::Objects;
use service::{Lifecycle, ServiceConfig};
use tokio::sync::SetOnce;

use crate::{
    api::Api,
    code::CodeStore,
    dry_runs::DryRuns,
    executor::SandboxExecutor,
    invocation::Invoker,
    pool::{Pool, Purpose},
    recorder::Recorder,
    store::Store,
};

/// Builds the service: its routes, and the tasks that `life` owns.
///
/// # Errors
/// When the journal cannot be opened or an address cannot be read. What is merely away is waited
/// for.
pub async fn build(config: Config, life: Lifecycle) -> anyhow::Result<Router> {
    let store = Store::new(&config.database)?;
    let code = Arc::new(CodeStore::new(Objects::connect(&config.objects), config.code.cache.as_usize()));
    let sandbox = Arc::new(SetOnce::new());
    let recorder = Recorder::open(config.recorder.settings()).context("the journal cannot be opened")?;
    let new_pool = |purpose, config: &PoolConfig| {
        let executor = SandboxExecutor::new(Arc::clone(&code), Arc::clone(&sandbox), config.sandbox_wait.get());
        Pool::new(purpose, executor, config.limits(), config.queue_wait.get(), config.idle_ttl.get())
    };
    let pool = new_pool(Purpose::Live, &config.pool);
    let dry_runs = config.dry_run.verifier()?.map(|verifier| {
        let pool = new_pool(Purpose::DryRun, &config.dry_run.pool);
        DryRuns { verifier, store: store.clone(), pool }
    });

    dependencies::watch_database(&life, store.clone(), &config.database);
    dependencies::watch_objects(&life, Arc::clone(&code), config.database.probe_interval.get());
    dependencies::prepare_sandbox(&life, config.sandbox.clone(), sandbox);
    spawn_recorder(&life, &recorder, &store);
    spawn_idle_stop(&life, "idle_workers", &pool, config.pool.idle_ttl.get());
    drain_in_order(&life, &pool, &recorder, &store, &config);
    if let Some(dry_runs) = &dry_runs {
        spawn_idle_stop(&life, "idle_dry_run_workers", &dry_runs.pool, config.dry_run.pool.idle_ttl.get());
        let pool = dry_runs.pool.clone();
        life.on_drain("dry_run_pool", || async move { pool.close().await });
    }

    let flush_timeout = config.recorder.flush_timeout.get();
    Ok(api::router(Arc::new(Api {
        invoker: Invoker { store, pool, recorder, record_deadline: flush_timeout },
        dry_runs,
        code,
        body_limit_bytes: config.http().body_limit.bytes(),
        flush_timeout,
        legacy_runtimes: config.legacy.runtimes,
    })))
}

fn spawn_recorder(life: &Lifecycle, recorder: &Recorder, store: &Store) {
    let (recorder, store) = (recorder.clone(), store.clone());
    life.spawn("recorder", async move { recorder.run(&store).await });
}

/// Looks for idle workers ten times in the time that they may idle.
fn spawn_idle_stop(life: &Lifecycle, name: &'static str, pool: &Pool<SandboxExecutor>, idle_ttl: std::time::Duration) {
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
fn drain_in_order(life: &Lifecycle, pool: &Pool<SandboxExecutor>, recorder: &Recorder, store: &Store, config: &Config) {
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
