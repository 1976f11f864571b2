use layered_config::{HumanDuration, Report, Validate};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::upstream::{CircuitSettings, FailureShare};

/// The circuit breaker of a whole upstream. Without this table there is none.
///
/// An open breaker sends the candidate's requests to legacy, where the route allows it, and answers 503
/// otherwise. On an upstream with nothing behind it, think twice: the breaker spares clients the wait
/// and the upstream the load, and turns an upstream that fails in part into one that fails altogether
/// for as long as it is open.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerConfig {
    /// It opens after this many failures in a row; never for that when 0.
    pub consecutive_failures: u32,
    /// It opens when this share of the latest requests failed, in percent; never for that when 0.
    pub failure_percent: f64,
    /// With fewer requests than this among the latest, their share says nothing.
    pub min_requests: u32,
    /// Which requests are the latest.
    pub window: HumanDuration,
    /// How long it is open the first time; twice as long each time after.
    pub open_for: HumanDuration,
    /// The longest it is open; once it has stayed closed for that long, times begin from the first.
    pub open_for_max: HumanDuration,
    /// How many requests are then let through to see whether they succeed. All must.
    pub trials: u32,
}

/// When an address that fails is left out for a while. Of one address, none is ever left out.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EjectionConfig {
    /// It is left out after this many failures in a row; never when 0.
    pub consecutive_failures: u32,
    /// How long, the first time; twice as long each time after.
    pub eject_for: HumanDuration,
    /// The longest it is left out; once it has stayed in for that long, times begin from the first.
    pub eject_for_max: HumanDuration,
    /// How many requests it then gets to show that it is well. All must succeed.
    pub trials: u32,
    /// The most addresses that are left out at once, in percent, rounded down: when all seem to fail,
    /// it is not the addresses, and the rest would not bear the load.
    pub max_ejected_percent: u32,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            consecutive_failures: 10,
            failure_percent: 50.0,
            min_requests: 20,
            window: HumanDuration::from_secs(10),
            open_for: HumanDuration::from_secs(5),
            open_for_max: HumanDuration::from_secs(60),
            trials: 1,
        }
    }
}

impl Default for EjectionConfig {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            eject_for: HumanDuration::from_secs(10),
            eject_for_max: HumanDuration::from_secs(300),
            trials: 1,
            max_ejected_percent: 50,
        }
    }
}

impl BreakerConfig {
    pub(crate) fn settings(&self) -> CircuitSettings {
        let share = FailureShare {
            share: self.failure_percent / 100.0,
            min_requests: self.min_requests,
            window: self.window.get(),
        };
        CircuitSettings {
            consecutive_failures: self.consecutive_failures,
            share: (self.failure_percent > 0.0).then_some(share),
            open_for: self.open_for.get(),
            open_for_max: self.open_for_max.get(),
            trials: self.trials,
        }
    }
}

impl EjectionConfig {
    pub(crate) fn settings(&self) -> CircuitSettings {
        CircuitSettings {
            consecutive_failures: self.consecutive_failures,
            share: None,
            open_for: self.eject_for.get(),
            open_for_max: self.eject_for_max.get(),
            trials: self.trials,
        }
    }

    /// The most that may be left out of so many.
    pub(crate) fn max_ejected(&self, addresses: usize) -> usize {
        addresses * usize::try_from(self.max_ejected_percent).unwrap_or(100) / 100
    }
}

impl Validate for BreakerConfig {
    fn validate(&self, report: &mut Report) {
        if !(0.0..=100.0).contains(&self.failure_percent) {
            report.problem("failure_percent", "it is no percentage", "write a number from 0 to 100");
        } else if self.consecutive_failures == 0 && self.failure_percent == 0.0 {
            let fix = "set this or `failure_percent`, or remove the table";
            report.problem("consecutive_failures", "the breaker would never open", fix);
        }
        if self.min_requests == 0 {
            report.problem("min_requests", "a share of no requests says nothing", "write 1 or more");
        }
        if self.window.get().is_zero() {
            report.problem("window", "it must not be zero", "write a duration such as \"10s\"");
        }
        validate_times(report, ("open_for", self.open_for), ("open_for_max", self.open_for_max), self.trials);
    }
}

impl Validate for EjectionConfig {
    fn validate(&self, report: &mut Report) {
        if self.max_ejected_percent >= 100 {
            let fix = "write less than 100: a request must have somewhere to go";
            report.problem("max_ejected_percent", "every address might be left out", fix);
        }
        validate_times(report, ("eject_for", self.eject_for), ("eject_for_max", self.eject_for_max), self.trials);
    }
}

fn validate_times(
    report: &mut Report,
    (key, first): (&str, HumanDuration),
    (max_key, longest): (&str, HumanDuration),
    trials: u32,
) {
    if first.get().is_zero() {
        report.problem(key, "it must not be zero", "write a duration such as \"5s\"");
    }
    if longest < first {
        report.problem(max_key, format!("it is shorter than `{key}`"), format!("write {first} or more"));
    }
    if trials == 0 {
        report.problem("trials", "it would never recover", "write 1 or more");
    }
}
