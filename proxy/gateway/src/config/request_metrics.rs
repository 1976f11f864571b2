//! Settings of what is counted of each request.

use schemars::JsonSchema;
use serde::Deserialize;

/// Whether requests are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RequestMetricsConfig {
    /// Whether requests, their errors, how long they take and how many are under way are counted, by route and side.
    /// Without it `/metrics`, status and console do not have them, and whether legacy is still asked for something has
    /// to be known otherwise. Guard, ramps, limits and shadow count for themselves and go on.
    pub enabled: bool,
}

impl Default for RequestMetricsConfig {
    fn default() -> Self {
        Self { enabled: true }
    }
}
