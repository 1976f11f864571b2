//! Starts what works on events, and what fires triggers, as tasks of the service.

use std::sync::Arc;

use service::{Lifecycle, ReadinessHandle};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{
    EventWorker, EventsConfig, Intake, QueueKind,
    queue::{DatabaseQueue, EventQueue, RabbitmqEvents, RabbitmqQueue, Relay, Share},
};
use crate::{
    cron::{CronConfig, Scheduler},
    executor::Executor,
    invocation::Invoker,
};

/// Starts the tasks; they begin when `prepared` is cancelled: the tables are there.
///
/// Events in flight at SIGTERM have [`EventsConfig::drain`] to end, before the pool on which they run is closed.
pub(crate) fn start<E: Executor>(
    life: &Lifecycle,
    invoker: &Arc<Invoker<E>>,
    config: &EventsConfig,
    cron: &CronConfig,
    prepared: CancellationToken,
) -> Intake {
    let bell = Arc::new(Notify::new());
    let intake = Intake::new(invoker.store.clone(), config.capacity, Arc::clone(&bell));
    let stop = life.shutdown();
    {
        let (intake, stop, prepared) = (intake.clone(), stop.clone(), prepared.clone());
        life.spawn("event_count", async move {
            if stop.run_until_cancelled(prepared.cancelled()).await.is_some() {
                intake.watch(stop).await;
            }
        });
    }
    if cron.enabled {
        let scheduler = Scheduler::new(invoker.store.clone(), cron.clone(), config.max_retries, Arc::clone(&bell));
        let (stop, prepared) = (stop.clone(), prepared.clone());
        life.spawn("cron", async move {
            if stop.run_until_cancelled(prepared.cancelled()).await.is_some() {
                scheduler.run(stop).await;
            }
        });
    } else {
        tracing::info!("this replica fires no cron triggers");
    }
    match config.queue {
        QueueKind::Database => {
            let queue = |share| DatabaseQueue::new(share, config.poll_interval.get(), bell);
            work(life, config, invoker, queue, prepared);
        }
        QueueKind::Rabbitmq => {
            let events = RabbitmqEvents::new(&config.rabbitmq, &config.exchange);
            let (poll_interval, announce_again) = (config.poll_interval.get(), config.announce_again.get());
            let relay = Relay::new(events.clone(), invoker.store.clone(), bell, poll_interval, announce_again);
            {
                let prepared = prepared.clone();
                life.spawn("event_relay", async move {
                    if stop.run_until_cancelled(prepared.cancelled()).await.is_some() {
                        relay.run(stop).await;
                    }
                });
            }
            work(life, config, invoker, |share| RabbitmqQueue::new(events, share), prepared);
        }
    }
    intake
}

/// Works on events, unless this replica only accepts them.
fn work<E: Executor, Q: EventQueue>(
    life: &Lifecycle,
    config: &EventsConfig,
    invoker: &Arc<Invoker<E>>,
    queue: impl FnOnce(Share) -> Q,
    prepared: CancellationToken,
) {
    if config.concurrency == 0 {
        tracing::info!("this replica accepts events and works on none");
        return;
    }
    let share =
        Share { most: usize::from(config.concurrency), per_function: usize::from(config.concurrency_per_function) };
    let worker = Arc::new(EventWorker::new(Arc::clone(invoker), config.worker()));
    consume(life, queue(share), worker, config.drain.get(), prepared);
}

fn consume<E: Executor>(
    life: &Lifecycle,
    queue: impl EventQueue,
    worker: Arc<EventWorker<E>>,
    drain: std::time::Duration,
    prepared: CancellationToken,
) {
    let (stop, ready): (_, ReadinessHandle) = (life.shutdown(), life.readiness("events"));
    let (hurry, ended) = (CancellationToken::new(), CancellationToken::new());
    let guard = ended.clone().drop_guard();
    {
        let hurry = hurry.clone();
        life.spawn("events", async move {
            let _ended = guard;
            if stop.run_until_cancelled(prepared.cancelled()).await.is_some() {
                queue.consume(worker, stop, hurry, ready).await;
            }
        });
    }
    // The hook that is registered last runs first: before the pool is closed.
    life.on_drain("events", move || async move {
        if tokio::time::timeout(drain, ended.cancelled()).await.is_err() {
            hurry.cancel();
            ended.cancelled().await;
        }
    });
}
