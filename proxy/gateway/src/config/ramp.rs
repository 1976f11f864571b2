//! Settings of a route's ramp: its steps, and what must hold before the next.

use std::net::IpAddr;

use judgement::{NoDataPolicy, RampPlan, Step};
use layered_config::{HumanDuration, Report};
use reqwest::Url;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rollout::Weight;

/// More steps than this are no ramp but a mistake.
const MAX_STEPS: usize = 100;

/// How a route's weight is raised.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RampConfig {
    /// The steps, each with a higher percentage than the one before.
    pub steps: Vec<RampStepConfig>,
    /// How long the weight of a step holds when the gateway that conducts the ramp is not heard of.
    #[serde(default = "lease")]
    pub lease: HumanDuration,
    /// What to do where legacy gives no baseline, as at 100 %: `hold`, or `absolute` to count the candidate's requests alone.
    #[serde(default)]
    pub no_data: NoDataConfig,
    /// The share of requests whose shape must have been compared by the shadow, from 0 to 1; 0 asks for none.
    #[serde(default)]
    pub coverage: f64,
    /// How often a shape must have been compared to count.
    #[serde(default = "comparisons_per_shape")]
    pub comparisons_per_shape: u64,
    /// Outside checks, asked once a step has passed everything else.
    #[serde(default)]
    pub gates: Vec<RampGateConfig>,
}

/// One step.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RampStepConfig {
    /// The share of keys on the candidate, in percent.
    pub percent: f64,
    /// It lasts at least so long.
    #[serde(default = "step_time")]
    pub time: HumanDuration,
    /// And until at least so many requests of the candidate were compared with legacy's.
    #[serde(default = "step_requests")]
    pub requests: u64,
    /// Whether somebody must approve before it ends.
    #[serde(default)]
    pub approval: bool,
}

/// What to do where legacy gives no baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NoDataConfig {
    /// Wait for somebody to promote it.
    #[default]
    Hold,
    /// Count the candidate's requests; only the absolute bounds judge them.
    Absolute,
}

/// An outside check: it is sent what is known as JSON, and answers `{"verdict": "pass"}`, `"hold"` or `"fail"`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RampGateConfig {
    /// What it is called.
    pub name: String,
    /// Where it is: https, or http on loopback unless `allow_http` is set.
    pub url: String,
    /// The longest it may take.
    #[serde(default = "gate_timeout")]
    pub timeout: HumanDuration,
    /// The pause between two times it is asked.
    #[serde(default = "gate_interval")]
    pub interval: HumanDuration,
    /// Whether http to another machine is meant.
    #[serde(default)]
    pub allow_http: bool,
}

fn lease() -> HumanDuration {
    HumanDuration::from_secs(30)
}

fn comparisons_per_shape() -> u64 {
    3
}

fn step_time() -> HumanDuration {
    HumanDuration::from_secs(600)
}

fn step_requests() -> u64 {
    1_000
}

fn gate_timeout() -> HumanDuration {
    HumanDuration::from_secs(5)
}

fn gate_interval() -> HumanDuration {
    HumanDuration::from_secs(10)
}

impl RampConfig {
    /// Reports what is wrong with the plan.
    pub(super) fn validate(&self, report: &mut Report) {
        if self.steps.is_empty() || self.steps.len() > MAX_STEPS {
            report.problem("steps", "a ramp has from 1 to 100 steps", "write steps such as { percent = 5 }");
        }
        let mut before = 0.0;
        for (index, step) in self.steps.iter().enumerate() {
            let key = format!("steps[{index}].percent");
            if let Err(problem) = Weight::from_percent(step.percent) {
                report.problem(&key, problem.to_string(), "write a number up to 100, such as 5 or 0.5");
            } else if step.percent <= before {
                report.problem(&key, "a step is higher than the one before, and above 0", "put the steps in order");
            }
            before = step.percent;
        }
        if self.lease.get().as_secs() == 0 {
            report.problem("lease", "it is shorter than a second", "write a duration such as \"30s\"");
        }
        if !(0.0..=1.0).contains(&self.coverage) {
            report.problem("coverage", "it is no share", "write a number from 0 to 1, such as 0.95");
        }
        for (index, gate) in self.gates.iter().enumerate() {
            report.nested(&format!("gates[{index}]"), |report| gate.validate(report));
        }
    }

    /// The plan of settings that have been checked.
    pub(crate) fn plan(&self) -> RampPlan {
        let steps = self.steps.iter().map(|step| Step {
            weight: Weight::from_percent(step.percent).unwrap_or_default().points(),
            least_time: step.time.get(),
            least_requests: step.requests,
            approval: step.approval,
        });
        RampPlan {
            steps: steps.collect(),
            lease: self.lease.get(),
            no_data: match self.no_data {
                NoDataConfig::Hold => NoDataPolicy::Hold,
                NoDataConfig::Absolute => NoDataPolicy::Absolute,
            },
            coverage: self.coverage,
            comparisons_per_shape: self.comparisons_per_shape,
        }
    }
}

impl RampGateConfig {
    fn validate(&self, report: &mut Report) {
        if self.name.is_empty() || self.name.chars().any(char::is_control) {
            report.problem("name", "it is no name", "write what the check is called, such as \"smoke tests\"");
        }
        match self.url.parse::<Url>() {
            Ok(url) if url.scheme() == "https" => {}
            Ok(url) if url.scheme() == "http" && (self.allow_http || is_loopback(&url)) => {}
            Ok(_) => {
                let fix = "write an https:// address, or set `allow_http` if the network in between is trusted";
                report.problem("url", "anyone on the way could let the ramp pass", fix);
            }
            Err(_) => report.problem("url", "it is no address", "write https://HOST/PATH"),
        }
        for (key, duration) in [("timeout", self.timeout), ("interval", self.interval)] {
            if duration.get().is_zero() {
                report.problem(key, "it must not be zero", "write a duration such as \"5s\"");
            }
        }
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
