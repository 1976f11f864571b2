use layered_config::{Report, Validate};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::resilience::BudgetSettings;

/// How much may be sent to an upstream again, by all routes together, so that repetitions cannot make an
/// outage worse.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetryBudgetConfig {
    /// Repetitions for each request, on average.
    pub ratio: f64,
    /// Repetitions in a second that are allowed in any case, for upstreams with few requests.
    pub min_per_second: u32,
    /// The most that are saved up.
    pub burst: u32,
}

impl Default for RetryBudgetConfig {
    fn default() -> Self {
        Self { ratio: 0.2, min_per_second: 10, burst: 50 }
    }
}

impl RetryBudgetConfig {
    pub(crate) fn settings(&self) -> BudgetSettings {
        BudgetSettings { ratio: self.ratio, min_per_second: self.min_per_second, burst: self.burst }
    }
}

impl Validate for RetryBudgetConfig {
    fn validate(&self, report: &mut Report) {
        if !(0.0..=10.0).contains(&self.ratio) {
            report.problem("ratio", "it is no ratio from 0 to 10", "write a number such as 0.2");
        }
        if self.burst == 0 {
            report.problem("burst", "nothing could be saved up, so nothing repeated", "write 1 or more");
        }
    }
}
