//! The build service: it takes packages, queues and builds them, and tells whoever wants to know.
//!
//! One binary with two roles. A **master** serves clients: `api` → `intake` → `store`; it tells receivers
//! (`webhooks`) and looks after jobs that nobody works on (`watch`). A **worker** hears of jobs from the
//! `queue`, takes them under leases and builds them (`worker`). Any number of each work side by side; they
//! meet in the database and the object store only.
//!
//! | module | what it is |
//! |---|---|
//! | `api` | routes, and the one match from errors to problems |
//! | `intake` | a request becomes a package in the object store, or is refused and leaves nothing |
//! | `creation` | a request with inline code becomes a function while its client waits |
//! | `store` | SQL; each transition is one transaction |
//! | `queue` | the port between masters and workers |
//! | `worker` | a lease becomes an artifact, or a failure that its author understands |
//! | `webhooks` | transitions become signed messages |
//! | `folder` | room on disk that goes with its process |

mod api;
mod config;
mod creation;
mod dependencies;
mod folder;
mod intake;
mod job;
mod metrics;
mod queue;
mod store;
mod watch;
mod webhooks;
mod worker;

use std::sync::Arc;

use anyhow::{Context as _, bail};
use axum::Router;
pub use config::{
    Config, CreationConfig, ImagesConfig, PackagesConfig, QueueConfig, QueueKind, ReceiverConfig, Role, WebhooksConfig,
    WorkerConfig,
};
use objects::Objects;
use sandbox::Sandbox;
use service::Lifecycle;
use tokio::sync::{Notify, SetOnce};

use crate::{
    api::Api,
    creation::Creator,
    folder::Folder,
    intake::Intake,
    queue::{DatabaseQueue, JobQueue, RabbitmqJobs, RabbitmqQueue, Relay},
    store::Store,
    watch::Watch,
    webhooks::{Connection, Registrar, Sender},
    worker::{Builder, Worker},
};

/// Builds the service: its routes, and the tasks that `life` owns.
///
/// # Errors
/// When the work folder cannot be used or an address cannot be read. What is merely away is waited for.
pub async fn build(config: Config, life: Lifecycle) -> anyhow::Result<Router> {
    let broker = (config.queue.kind == QueueKind::Rabbitmq).then(|| RabbitmqJobs::new(&config.queue.rabbitmq));
    let receivers = config.webhooks.receivers.keys().cloned().collect();
    let store = Store::new(&config.database, broker.is_some(), receivers)?;
    let objects = Objects::connect(&config.objects);
    let folder = Folder::open(&config.work_folder)
        .with_context(|| format!("`work_folder` = {} cannot be used", config.work_folder.display()))?;
    let bell = Arc::new(Notify::new());

    dependencies::watch_database(&life, store.clone(), &config.database);
    dependencies::watch_objects(&life, objects.clone(), config.database.probe_interval.get());
    if config.role.is_worker() {
        // Said at once: later it would be every build's failure.
        if let Some(barrier) = sandbox::barrier(folder.path()) {
            let (folder, barrier) = (config.work_folder.display(), barrier.display());
            bail!(
                "`work_folder` = {folder}: handlers are checked by users who may not pass through {barrier}; chmod o+x that or name another folder"
            );
        }
        let sandbox = Arc::new(SetOnce::new());
        dependencies::prepare_sandbox(&life, config.sandbox.clone(), Arc::clone(&sandbox));
        let (limits, runtimes) = (config.packages.limits.clone(), config.runtimes.clone());
        let images = config.images.clone();
        let builder = Builder::new(objects.clone(), folder.clone(), limits, runtimes, Arc::clone(&sandbox), images);
        let worker = Worker::new(store.clone(), builder, config.worker.clone(), Arc::clone(&bell));
        let queue = open_queue(&store, &config, broker.clone());
        spawn_worker(&life, worker, queue, sandbox, &config);
    }
    if !config.role.is_master() {
        return Ok(Router::new());
    }
    spawn_watch(&life, &store, &config, &bell);
    let connection = Connection::open(&config.webhooks).context("no webhook can be sent")?;
    let sender = Sender::new(&config.webhooks, connection.clone(), store.clone(), Arc::clone(&bell));
    let creator = Creator::new(
        store.clone(),
        objects.clone(),
        Registrar::new(connection, &config.webhooks),
        config.creation.deadline.get(),
        config.worker.max_attempts,
        Arc::clone(&bell),
    );
    let (stop, interval) = (life.shutdown(), config.worker.poll_interval.get());
    let looking = creator.clone().look_after(interval, stop);
    life.spawn("creations", looking);
    if let Some(jobs) = broker {
        let relay = Relay::new(jobs, store.clone(), Arc::clone(&bell), config.worker.poll_interval.get());
        let stop = life.shutdown();
        life.spawn("relay", async move { relay.run(stop).await });
    }
    let stop = life.shutdown();
    life.spawn("webhooks", async move { sender.run(stop).await });
    let has_secret = !config.webhooks.secret.is_empty();
    let intake = Intake::new(&config.packages, config.runtimes, objects, folder, has_secret, config.images.is_some());
    let body_limit_bytes = config.http.body_limit.bytes();
    Ok(api::router(Arc::new(Api { store, intake, creator, body_limit_bytes, bell }))?)
}

/// The queue that the settings ask for.
fn open_queue(store: &Store, config: &Config, broker: Option<RabbitmqJobs>) -> Box<dyn JobQueue> {
    let concurrency = config.worker.concurrency;
    match broker {
        Some(jobs) => Box::new(RabbitmqQueue::new(jobs, concurrency)),
        None => {
            Box::new(DatabaseQueue::new(store.clone(), usize::from(concurrency), config.worker.poll_interval.get()))
        }
    }
}

/// Builds run on for a while after a stop; then their jobs are given back. No job is taken before there is a
/// sandbox to check it in.
fn spawn_worker(
    life: &Lifecycle,
    worker: Worker,
    queue: Box<dyn JobQueue>,
    sandbox: Arc<SetOnce<Sandbox>>,
    config: &Config,
) {
    let (ready, stop, drain) = (life.readiness("queue"), life.shutdown(), config.worker.drain.get());
    let hurry = worker.hurry();
    life.spawn("builds", async move {
        if stop.run_until_cancelled(sandbox.wait()).await.is_none() {
            return;
        }
        let consuming = queue.consume(Arc::new(worker), stop.clone(), ready);
        let time_is_over = async {
            stop.cancelled().await;
            tokio::time::sleep(drain).await;
            hurry.cancel();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = consuming => {}
            () = time_is_over => {}
        }
    });
}

fn spawn_watch(life: &Lifecycle, store: &Store, config: &Config, bell: &Arc<Notify>) {
    let watch = Watch {
        store: store.clone(),
        max_attempts: config.worker.max_attempts,
        announce_again: (config.queue.kind == QueueKind::Rabbitmq).then(|| config.queue.announce_again.get()),
        idempotency_ttl: config.idempotency_ttl.get(),
        interval: config.worker.poll_interval.get(),
        bell: Arc::clone(bell),
    };
    let shutdown = life.shutdown();
    life.spawn("watch", async move {
        shutdown.run_until_cancelled(watch.run()).await;
    });
}
