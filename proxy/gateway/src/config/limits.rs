//! Settings of the limits.

use std::collections::BTreeMap;

use layered_config::{Report, Validate};
use serde::Deserialize;

use super::RouteConfig;
use crate::limit::{Counts, MAX_BURST, Policies, Policy, Quota, Rate};

/// How many requests are let through.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// The policies, by the name that routes and the rollout document use.
    pub policies: BTreeMap<String, PolicyConfig>,
}

/// One policy. The rollout document may say other numbers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyConfig {
    /// What has a budget of its own: `key`, `route`, `client` or `identity`.
    pub counts: Counts,
    /// How fast used budget comes back: `"100/s"`, `"600/min"`, `"1000/h"`, `"5000/d"`.
    pub rate: Rate,
    /// How many requests may come at once; one second of the rate unless given.
    pub burst: Option<u32>,
}

impl LimitsConfig {
    /// The policies of settings that have been checked, in the order of their names.
    pub(crate) fn policies(&self) -> Policies {
        let policies = self.policies.iter().filter_map(|(name, policy)| {
            let quota = Quota::new(policy.rate, policy.burst).ok()?;
            Some(Policy { name: name.clone(), counts: policy.counts, quota })
        });
        Policies::new(policies.collect())
    }

    /// Reports the policies that routes name and nobody has described.
    pub(super) fn check_routes(&self, routes: &[RouteConfig], report: &mut Report) {
        for (index, route) in routes.iter().enumerate() {
            for (place, name) in route.limits.iter().enumerate() {
                let key = format!("routes[{index}].limits[{place}]");
                if !self.policies.contains_key(name) {
                    let known: Vec<&str> = self.policies.keys().map(String::as_str).collect();
                    let fix = match known.as_slice() {
                        [] => format!("add a table [limits.policies.{name}]"),
                        known => format!("add [limits.policies.{name}], or name one of: {}", known.join(", ")),
                    };
                    report.problem(&key, format!("there is no limit policy `{name}`"), fix);
                } else if route.limits[..place].contains(name) {
                    report.problem(&key, "the route lists this policy twice", "remove one of them");
                }
            }
        }
    }
}

impl Validate for LimitsConfig {
    fn validate(&self, report: &mut Report) {
        let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        for (name, policy) in &self.policies {
            let key = format!("policies.\"{}\"", name.replace('"', ""));
            if name.is_empty() || name.len() > 64 || !name.chars().all(bare) {
                let fix = "write up to 64 letters, digits, dashes and underscores";
                report.problem(&key, "it is not usable as a name in headers and metrics", fix);
            }
            if Quota::new(policy.rate, policy.burst).is_err() {
                let fix = format!("write a number from 1 to {MAX_BURST}, or leave it out for one second of the rate");
                report.problem(&format!("{key}.burst"), "the burst is 0 or too large", fix);
            }
        }
    }
}
