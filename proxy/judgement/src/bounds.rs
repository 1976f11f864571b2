//! How much worse a candidate may be.

use std::time::Duration;

/// How much worse a candidate may be, and how sure one has to be that it is.
///
/// Every margin is in points of a share: 0.005 is half a percentage point.
#[derive(Debug, Clone, PartialEq)]
pub struct Bounds {
    /// The chance of a false alarm over all metrics, steps and looks.
    pub alpha: f64,
    /// How many guards share `alpha`: as many as gateways serve the route.
    pub guards: u32,
    /// The share of requests that the candidate may fail beyond what legacy fails.
    pub error_margin: f64,
    /// The share of requests that the candidate may fail, whatever legacy does.
    pub error_rate: f64,
    /// The share of requests that the candidate may refuse (4xx) beyond what legacy refuses.
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
    pub key_window: Duration,
    /// A request is paired with one of the other side that ended at most so long before.
    pub fresh: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            alpha: 0.01,
            guards: 1,
            error_margin: 0.002,
            error_rate: 0.2,
            refusal_margin: 0.05,
            median_margin: 0.1,
            tail_margin: 0.03,
            mismatch_rate: 0.0002,
            bad_per_key: 5,
            key_window: Duration::from_secs(10),
            fresh: Duration::from_secs(10),
        }
    }
}

/// A bound that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoundProblem {
    /// Its name in [`Bounds`].
    pub name: &'static str,
    /// What it must be.
    pub must_be: &'static str,
}

impl Bounds {
    /// Every bound that cannot be.
    #[must_use]
    pub fn problems(&self) -> Vec<BoundProblem> {
        let mut problems = Vec::new();
        let mut check = |fine: bool, name, must_be| {
            if !fine {
                problems.push(BoundProblem { name, must_be });
            }
        };
        check(self.alpha > 0.0 && self.alpha <= 0.1, "alpha", "above 0 and at most 0.1");
        check((1..=1000).contains(&self.guards), "guards", "from 1 to 1000");
        for (name, margin) in [
            ("error_margin", self.error_margin),
            ("refusal_margin", self.refusal_margin),
            ("median_margin", self.median_margin),
            ("tail_margin", self.tail_margin),
        ] {
            check((0.0..0.5).contains(&margin), name, "from 0 to below 0.5");
        }
        for (name, rate) in [("error_rate", self.error_rate), ("mismatch_rate", self.mismatch_rate)] {
            check(rate > 0.0 && rate < 1.0, name, "above 0 and below 1");
        }
        check(!self.key_window.is_zero(), "key_window", "above 0");
        check(!self.fresh.is_zero(), "fresh", "above 0");
        problems
    }
}
