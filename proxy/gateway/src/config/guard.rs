//! Settings of a route's guard: how much worse its candidate may be.

use judgement::Bounds;
use layered_config::{HumanDuration, Report};
use schemars::JsonSchema;
use serde::Deserialize;

/// How much worse a route's candidate may be before the gateway sends everything back to legacy by
/// itself. Margins and rates are shares from 0 to 1.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GuardConfig {
    /// The chance of a false alarm over a whole ramp.
    pub alpha: f64,
    /// How many gateways serve the route; each tests by itself, and they share `alpha`.
    pub gateways: u32,
    /// The share of requests that the candidate may fail beyond what legacy fails.
    pub error_margin: f64,
    /// The share of requests that the candidate may fail, whatever legacy does.
    pub error_rate: f64,
    /// The share of requests that the candidate may refuse with a 4xx beyond what legacy refuses.
    pub refusal_margin: f64,
    /// The share of answers, beyond one half, that may be slower than legacy's median.
    pub median_margin: f64,
    /// The share of answers, beyond one twentieth, that may be slower than legacy's 95th percentile.
    pub tail_margin: f64,
    /// The share of compared answers that may differ.
    pub mismatch_rate: f64,
    /// How many failed or refused requests of one key count within `key_window`; 0 for all of them.
    pub bad_per_key: u32,
    /// See `bad_per_key`.
    pub key_window: HumanDuration,
    /// How long ago the request of legacy may have ended that one of the candidate is compared with.
    pub fresh: HumanDuration,
}

impl Default for GuardConfig {
    fn default() -> Self {
        let bounds = Bounds::default();
        Self {
            alpha: bounds.alpha,
            gateways: bounds.guards,
            error_margin: bounds.error_margin,
            error_rate: bounds.error_rate,
            refusal_margin: bounds.refusal_margin,
            median_margin: bounds.median_margin,
            tail_margin: bounds.tail_margin,
            mismatch_rate: bounds.mismatch_rate,
            bad_per_key: bounds.bad_per_key,
            key_window: HumanDuration::from_secs(10),
            fresh: HumanDuration::from_secs(10),
        }
    }
}

impl GuardConfig {
    /// Reports what is wrong with the bounds.
    pub(super) fn validate(&self, report: &mut Report) {
        for problem in self.bounds().problems() {
            let key = if problem.name == "guards" { "gateways" } else { problem.name };
            let fix = match key {
                "key_window" | "fresh" => "write a duration such as \"10s\"".to_owned(),
                "gateways" => "write how many gateways serve this route".to_owned(),
                _ => format!("write a number {}; the default suits most routes", problem.must_be),
            };
            report.problem(key, format!("it must be {}", problem.must_be), fix);
        }
    }

    /// The bounds, as far as they make sense.
    pub(crate) fn bounds(&self) -> Bounds {
        Bounds {
            alpha: self.alpha,
            guards: self.gateways,
            error_margin: self.error_margin,
            error_rate: self.error_rate,
            refusal_margin: self.refusal_margin,
            median_margin: self.median_margin,
            tail_margin: self.tail_margin,
            mismatch_rate: self.mismatch_rate,
            bad_per_key: self.bad_per_key,
            key_window: self.key_window.get(),
            fresh: self.fresh.get(),
        }
    }
}
