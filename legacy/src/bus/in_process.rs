//! The bus within this process: events wait in the monolith's own database, so that accepting one
//! means that it is not lost, and are worked off by whichever replica leases them first.
//!
//! A lease is renewed while its event is worked on; when a process dies, its events are delivered
//! again once their leases run out.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use domain::{Event, EventId};
use layered_config::{HumanDuration, Report, Validate};
use schemars::JsonSchema;
use serde::Deserialize;
use service::{Backoff, ReadinessHandle};
use tokio::{
    sync::Notify,
    task::{self, JoinError, JoinSet},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use uuid::Uuid;

use super::{BusConfig, CountError, EventBus, Processor, PublishError, Settlement};
use crate::store::{Store, StoreError};

/// Settings of the in-process bus.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct InProcessConfig {
    /// The most events that may wait; what exceeds it is refused.
    pub capacity: u32,
    /// How often the database is asked for events that this process did not publish itself, or that
    /// have waited out their delay.
    pub poll_interval: HumanDuration,
    /// How long after the death of a process its events are delivered again.
    pub lease: HumanDuration,
}

impl Default for InProcessConfig {
    fn default() -> Self {
        Self { capacity: 10_000, poll_interval: HumanDuration::from_millis(500), lease: HumanDuration::from_secs(30) }
    }
}

impl Validate for InProcessConfig {
    fn validate(&self, report: &mut Report) {
        if self.capacity == 0 {
            report.problem("capacity", "no event would ever be accepted", "allow at least 1");
        }
        if self.poll_interval.get().is_zero() {
            report.problem("poll_interval", "it must not be zero", "write e.g. \"500ms\"");
        }
        if self.lease.get() < Duration::from_secs(1) {
            report.problem("lease", "an event would be delivered twice while it is worked on", "write at least \"1s\"");
        }
    }
}

#[derive(Debug)]
pub(super) struct InProcessBus {
    store: Store,
    config: InProcessConfig,
    concurrency: usize,
    redelivery_delay: Duration,
    published: Notify,
    /// Who leases: new with every start, so that a restarted process does not renew the leases of
    /// its former life.
    holder: Uuid,
}

impl InProcessBus {
    pub(super) fn new(config: &BusConfig, store: Store) -> Self {
        Self {
            store,
            config: config.in_process.clone(),
            concurrency: usize::from(config.concurrency),
            redelivery_delay: config.redelivery_delay.get(),
            published: Notify::new(),
            holder: Uuid::now_v7(),
        }
    }

    /// Starts as many waiting events as there is room for.
    async fn start_waiting(&self, running: &mut Running, processor: &Arc<dyn Processor>) -> Result<(), StoreError> {
        let room = self.concurrency.saturating_sub(running.tasks.len());
        let limit = i64::try_from(room).unwrap_or(i64::MAX);
        let leased = self.store.lease_events(self.holder, self.config.lease.get(), limit).await?;
        for (id, body) in leased {
            let delivery = Delivery {
                id,
                store: self.store.clone(),
                holder: self.holder,
                redelivery_delay: self.redelivery_delay,
            };
            let span = tracing::info_span!("event", event.id = %id);
            running.start(id, delivery.work_off(body, Arc::clone(processor)).instrument(span));
        }
        Ok(())
    }
}

/// The events being worked on. Only their leases are renewed: one that could not be settled must
/// run out, or it would never be delivered again.
#[derive(Default)]
struct Running {
    tasks: JoinSet<()>,
    events: HashMap<task::Id, EventId>,
}

impl Running {
    fn start(&mut self, id: EventId, work: impl Future<Output = ()> + Send + 'static) {
        let task = self.tasks.spawn(work);
        self.events.insert(task.id(), id);
    }

    /// The next one to end; `None` when there are none.
    async fn ended(&mut self) -> Option<()> {
        let task = match self.tasks.join_next_with_id().await? {
            Ok((task, ())) => task,
            Err(panicked) => {
                tracing::error!(error = %panicked, "working on an event panicked; it is delivered again");
                JoinError::id(&panicked)
            }
        };
        self.events.remove(&task);
        Some(())
    }
}

#[async_trait]
impl EventBus for InProcessBus {
    async fn publish(&self, event: &Event) -> Result<(), PublishError> {
        let body = serde_json::to_string(event).expect("an event is plain data");
        let accepted = self
            .store
            .journal_event(event.id, &body, i64::from(self.config.capacity))
            .await
            .map_err(PublishError::Journal)?;
        if !accepted {
            return Err(PublishError::Full { capacity: self.config.capacity });
        }
        self.published.notify_one();
        Ok(())
    }

    async fn consume(&self, processor: Arc<dyn Processor>, stop: CancellationToken, readiness: ReadinessHandle) {
        let mut running = Running::default();
        let renewal = self.config.lease.get() / 3;
        let mut renew_at = Instant::now() + renewal;
        let mut ask_at = Instant::now();
        let mut backoff = Backoff::new(self.config.poll_interval.get(), Duration::from_secs(10));
        while !(stop.is_cancelled() && running.tasks.is_empty()) {
            let ask = !stop.is_cancelled() && running.tasks.len() < self.concurrency;
            let held: Vec<EventId> = running.events.values().copied().collect();
            tokio::select! {
                () = stop.cancelled(), if !stop.is_cancelled() => {}
                // A slot came free: more may wait for it.
                Some(()) = running.ended() => ask_at = Instant::now(),
                () = self.published.notified(), if ask => ask_at = Instant::now(),
                () = sleep_until(renew_at), if !held.is_empty() => {
                    renew_at = Instant::now() + renewal;
                    if let Err(error) = self.store.renew_event_leases(self.holder, &held, self.config.lease.get()).await {
                        tracing::warn!(error = &error as &dyn std::error::Error, "event leases could not be renewed");
                    }
                }
                () = sleep_until(ask_at), if ask => {
                    let pause = match self.start_waiting(&mut running, &processor).await {
                        Ok(()) => {
                            readiness.ready();
                            backoff.reset();
                            self.config.poll_interval.get()
                        }
                        Err(error) => {
                            readiness.not_ready("the journal of events cannot be read");
                            tracing::warn!(error = &error as &dyn std::error::Error, "waiting events could not be read");
                            backoff.next_delay()
                        }
                    };
                    ask_at = Instant::now() + pause;
                }
            }
        }
    }

    async fn unsettled(&self) -> Result<u64, CountError> {
        self.store.count_events().await.map_err(CountError::Journal)
    }
}

/// One leased event.
struct Delivery {
    id: EventId,
    store: Store,
    holder: Uuid,
    redelivery_delay: Duration,
}

impl Delivery {
    async fn work_off(self, body: String, processor: Arc<dyn Processor>) {
        let settlement = match serde_json::from_str::<Event>(&body) {
            Ok(event) => processor.process(&event).await,
            Err(error) => {
                tracing::error!(%error, "a journalled event cannot be read; it is dropped");
                Settlement::Done
            }
        };
        let settled = match settlement {
            Settlement::Done | Settlement::DeadLetter => self.store.forget_event(self.id, self.holder).await,
            Settlement::Redeliver(event) => {
                let body = serde_json::to_string(&event).expect("an event is plain data");
                self.store.requeue_event(self.id, self.holder, &body, self.redelivery_delay).await
            }
        };
        if let Err(error) = settled {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "an event could not be settled; it is delivered again when its lease runs out"
            );
        }
    }
}
