//! Settings of cron triggers.

use std::{borrow::Cow, time::Duration};

use layered_config::{HumanDuration, Report, Validate};
use schedule::MissedRuns;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};

/// Cron triggers.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CronConfig {
    /// `false`: this replica fires no triggers. They are fired by others, or when it is `true` again.
    pub enabled: bool,
    /// Whether the schedule runs before anybody has paused or resumed it: `"running"`, or `"paused"` where another
    /// system fires these triggers until a cutover resumes it here.
    pub initially: CronStart,
    /// What becomes of missed runs: `"skip"`, `"once"` (one stands for all, as with the monolith) or `"all:N"` (each
    /// of the latest N). A trigger may have a policy of its own.
    pub missed_runs: MissedRunsSetting,
    /// A firing that is late by no more than this was not missed.
    pub tolerance: HumanDuration,
    /// How often triggers are looked for that another replica, or the monolith, has made; the known ones fire on
    /// time.
    pub poll_interval: HumanDuration,
    /// Triggers that are fired in one transaction.
    pub batch: u16,
    /// How long it is remembered that a firing was fired.
    pub firings_kept_days: u16,
}

/// Whether the schedule runs before anybody has paused or resumed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CronStart {
    /// It does.
    Running,
    /// It does not.
    Paused,
}

/// A policy for missed runs, as it is written in settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MissedRunsSetting(pub MissedRuns);

impl<'de> Deserialize<'de> for MissedRunsSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Self).map_err(de::Error::custom)
    }
}

impl JsonSchema for MissedRunsSetting {
    fn schema_name() -> Cow<'static, str> {
        "MissedRuns".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "title": "\"skip\", \"once\" or \"all:N\"",
            "type": "string",
            "pattern": "^(skip|once|all:[0-9]+)$"
        })
    }
}

impl Default for CronConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            initially: CronStart::Running,
            missed_runs: MissedRunsSetting(MissedRuns::Once),
            tolerance: HumanDuration::from_secs(60),
            poll_interval: HumanDuration::from_secs(1),
            batch: 16,
            firings_kept_days: 7,
        }
    }
}

impl Validate for CronConfig {
    fn validate(&self, report: &mut Report) {
        let poll_interval = self.poll_interval.get();
        if poll_interval.is_zero() || poll_interval > Duration::from_secs(60) {
            report.problem("poll_interval", "it must be more than 0 and at most 1m", "write e.g. \"1s\"");
        }
        if self.tolerance.get() > Duration::from_secs(24 * 60 * 60) {
            report.problem("tolerance", "a run that is a day late was missed", "write at most \"1day\"");
        }
        report.at_least_one("batch", u64::from(self.batch));
        report.at_least_one("firings_kept_days", u64::from(self.firings_kept_days));
    }
}
