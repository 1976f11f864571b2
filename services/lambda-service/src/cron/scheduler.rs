//! The task that fires triggers.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use domain::{Event, EventType};
use schedule::{MissedRuns, Schedule, ScheduleError, firing_id};
use serde_json::{json, value::to_raw_value};
use service::Backoff;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{CronConfig, metrics};
use crate::store::{DueTrigger, Fired, Firing, RawEvent, Store, StoreError};

/// How often what was fired long ago is forgotten.
const FORGETTING: Duration = Duration::from_secs(60 * 60);

/// Fires triggers until it is stopped.
pub(crate) struct Scheduler {
    store: Store,
    config: CronConfig,
    max_retries: u32,
    /// Rung when an event was accepted.
    bell: Arc<Notify>,
}

impl Scheduler {
    pub(crate) const fn new(store: Store, config: CronConfig, max_retries: u32, bell: Arc<Notify>) -> Self {
        Self { store, config, max_retries, bell }
    }

    /// Runs until `stop`; a firing under way is finished first.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let poll_interval = self.config.poll_interval.get();
        let mut backoff = Backoff::new(poll_interval, Duration::from_secs(30).max(poll_interval));
        let mut forget_at = tokio::time::Instant::now();
        while !stop.is_cancelled() {
            let pause = match self.fire().await {
                Ok(fired) => {
                    backoff.reset();
                    if fired.triggers > 0 {
                        continue;
                    }
                    // On time, and not a moment before: the database's clock says what is due.
                    fired.next_in.map_or(poll_interval, |next| (next + Duration::from_millis(1)).min(poll_interval))
                }
                Err(error) => {
                    let pause = backoff.next_delay();
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, pause_ms = pause.as_millis(), "triggers could not be fired; they stay due");
                    pause
                }
            };
            if forget_at <= tokio::time::Instant::now() {
                forget_at += FORGETTING;
                self.forget().await;
            }
            stop.run_until_cancelled(tokio::time::sleep(pause)).await;
        }
    }

    async fn fire(&self) -> Result<Fired, StoreError> {
        let decide = |trigger: &DueTrigger, now| self.decide(trigger, now);
        let fired = self.store.fire_due_triggers(i64::from(self.config.batch), decide).await?;
        metrics::firings("fired", fired.events);
        metrics::firings("repeated", fired.repeated);
        if fired.events > 0 {
            tracing::debug!(triggers = fired.triggers, events = fired.events, "cron triggers fired");
            self.bell.notify_one();
        }
        Ok(fired)
    }

    /// What to do about a trigger that is due. One that cannot be read is taken out of the schedule, or it would be
    /// due for ever.
    fn decide(&self, trigger: &DueTrigger, now: DateTime<Utc>) -> Firing {
        let tolerance = TimeDelta::from_std(self.config.tolerance.get()).unwrap_or(TimeDelta::MAX);
        match firing(trigger, now, self.config.missed_runs.0, tolerance, self.max_retries) {
            Ok(firing) => {
                for (due_at, _) in &firing.events {
                    metrics::lateness((now - due_at).as_seconds_f64().max(0.0));
                }
                firing
            }
            Err(error) => {
                metrics::firings("unreadable", 1);
                let error = &error as &dyn std::error::Error;
                tracing::error!(trigger_id = %trigger.id, error, "a trigger was taken out of the schedule");
                Firing { events: Vec::new(), next_run_at: None }
            }
        }
    }

    async fn forget(&self) {
        if let Err(error) = self.store.forget_old_firings(i32::from(self.config.firings_kept_days)).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "old firings could not be forgotten");
        }
    }
}

fn firing(
    trigger: &DueTrigger,
    now: DateTime<Utc>,
    usual: MissedRuns,
    tolerance: TimeDelta,
    max_retries: u32,
) -> Result<Firing, ScheduleError> {
    let schedule = Schedule::parse(&trigger.cron_expression, &trigger.timezone)?;
    let due = trigger.missed_runs.unwrap_or(usual).due(&schedule, trigger.due_at, now, tolerance);
    let events = due.firings.into_iter().map(|due_at| (due_at, event(trigger, due_at, max_retries))).collect();
    Ok(Firing { events, next_run_at: due.next })
}

fn event(trigger: &DueTrigger, due_at: DateTime<Utc>, max_retries: u32) -> RawEvent {
    // As the monolith words it.
    let payload = json!({"trigger_id": trigger.id, "trigger_name": trigger.name, "scheduled_at": due_at});
    let payload = to_raw_value(&payload).expect("plain data");
    let id = firing_id(trigger.id, due_at);
    Event { id, max_retries, ..Event::new(EventType::Cron, trigger.function_id, payload) }
}

#[cfg(test)]
mod tests {
    use domain::{FunctionId, TriggerId};

    use super::*;

    fn trigger(expression: &str, missed_runs: Option<MissedRuns>) -> DueTrigger {
        DueTrigger {
            id: TriggerId::generate(),
            function_id: FunctionId::generate(),
            name: "nightly".to_owned(),
            cron_expression: expression.to_owned(),
            timezone: "UTC".to_owned(),
            due_at: "2026-01-01T00:00:00Z".parse().expect("a time"),
            missed_runs,
        }
    }

    #[test]
    fn a_firing_is_an_event_that_both_sides_call_the_same() {
        let due = trigger("0 0 * * * *", None);
        let now = "2026-01-01T00:00:00.5Z".parse().expect("a time");
        let fired = firing(&due, now, MissedRuns::Once, TimeDelta::seconds(60), 7).expect("it can be read");
        let [(due_at, event)] = fired.events.as_slice() else { panic!("one firing: {fired:?}") };
        assert_eq!((*due_at, event.id), (due.due_at, firing_id(due.id, due.due_at)));
        assert_eq!((event.event_type, event.function_id, event.max_retries), (EventType::Cron, due.function_id, 7));
        let payload: serde_json::Value = serde_json::from_str(event.payload.get()).expect("JSON");
        let expected = json!({"trigger_id": due.id, "trigger_name": "nightly", "scheduled_at": "2026-01-01T00:00:00Z"});
        assert_eq!(payload, expected);
        assert_eq!(fired.next_run_at, "2026-01-01T01:00:00Z".parse().ok());
    }

    #[test]
    fn a_triggers_own_policy_goes_before_the_services() {
        let now = "2026-01-01T03:00:01Z".parse().expect("a time");
        for (own, events) in [(None, 1), (Some(MissedRuns::All(10)), 4), (Some(MissedRuns::Skip), 1)] {
            let due = trigger("0 0 * * * *", own);
            let fired = firing(&due, now, MissedRuns::Once, TimeDelta::seconds(60), 3).expect("it can be read");
            assert_eq!(fired.events.len(), events, "{own:?}");
        }
        assert!(firing(&trigger("nonsense", None), now, MissedRuns::Once, TimeDelta::zero(), 3).is_err());
    }
}
