//! Fires due cron triggers.
//!
//! - **Once among replicas.** A due trigger is claimed with `for update skip locked` and stays
//!   locked until its event is accepted by the bus and its next time is written; another replica
//!   passes it by.
//! - **Never lost.** When the bus refuses the event, or this process dies, the claim's transaction
//!   ends without a change: the trigger is still due. Should it die between acceptance and commit,
//!   the trigger fires again with the *same* event id, which the consumer recognises.
//! - **Missed runs** (the scheduler was paused or down) are made up for by one firing, at once, and
//!   not by one each; the event says for when it was due.
//! - **Paused** by an operator or a cutover, in the database, so for every replica and over restarts: once the
//!   pause is answered, no firing is under way and none begins.

use std::{sync::Arc, time::Duration};

use chrono::Utc;
use domain::{Event, EventType};
use layered_config::{HumanDuration, Report, Validate};
use schedule::{Schedule, firing_id};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use service::Backoff;
use tokio_util::sync::CancellationToken;

use crate::{
    bus::{EventBus, PublishError},
    store::{Store, StoreError, TriggerClaim},
};

/// Whether and how often due triggers are looked for.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SchedulerConfig {
    /// `false` pauses all cron triggers of this replica.
    pub enabled: bool,
    /// How long nothing due means sleep; also how late a trigger may fire.
    pub poll_interval: HumanDuration,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self { enabled: true, poll_interval: HumanDuration::from_secs(1) }
    }
}

impl Validate for SchedulerConfig {
    fn validate(&self, report: &mut Report) {
        let interval = self.poll_interval.get();
        if interval.is_zero() || interval > Duration::from_secs(60) {
            report.problem("poll_interval", "it must be more than 0 and at most 1m", "write e.g. \"1s\"");
        }
    }
}

/// Why a round of firing stopped.
#[derive(Debug, thiserror::Error)]
enum FiringError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Publish(#[from] PublishError),
}

/// The one task that fires triggers.
pub(crate) struct Scheduler {
    store: Store,
    bus: Arc<dyn EventBus>,
    poll_interval: Duration,
}

impl Scheduler {
    pub(crate) fn new(config: &SchedulerConfig, store: Store, bus: Arc<dyn EventBus>) -> Self {
        Self { store, bus, poll_interval: config.poll_interval.get() }
    }

    /// Runs until `stop`; a firing under way is finished first.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut backoff = Backoff::new(self.poll_interval, Duration::from_secs(30).max(self.poll_interval));
        while !stop.is_cancelled() {
            let pause = match self.fire_next_due().await {
                Ok(true) => {
                    backoff.reset();
                    continue;
                }
                Ok(false) => {
                    backoff.reset();
                    self.poll_interval
                }
                Err(error) => {
                    let pause = backoff.next_delay();
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
                        "cron triggers could not be fired; they stay due"
                    );
                    pause
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Fires the trigger that is due longest; `false` when none is due.
    async fn fire_next_due(&self) -> Result<bool, FiringError> {
        let now = Utc::now();
        let Some(claim) = self.store.claim_due_trigger(now).await? else { return Ok(false) };
        match Schedule::parse(&claim.cron_expression, &claim.timezone) {
            Ok(schedule) => {
                self.bus.publish(&firing(&claim)).await?;
                tracing::debug!(trigger.id = %claim.id, function.id = %claim.function_id, due_at = %claim.due_at, "cron trigger fired");
                claim.settle(now, schedule.next_after(now)).await?;
            }
            Err(error) => {
                tracing::error!(
                    trigger.id = %claim.id,
                    error = &error as &dyn std::error::Error,
                    "a cron trigger was taken out of the schedule"
                );
                claim.unschedule().await?;
            }
        }
        Ok(true)
    }
}

fn firing(claim: &TriggerClaim) -> Event {
    let payload = json!({"trigger_id": claim.id, "trigger_name": claim.name, "scheduled_at": claim.due_at});
    Event { id: firing_id(claim.id, claim.due_at), ..Event::new(EventType::Cron, claim.function_id, payload) }
}
