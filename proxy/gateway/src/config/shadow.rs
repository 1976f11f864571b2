//! Settings of shadow comparison: what all routes share, and what each sets for itself.

use std::{collections::BTreeMap, time::Duration};

use comparison::{Rules, RulesConfig};
use dry_run::{Key, MIN_SECRET_BYTES};
use http::Method;
use layered_config::{ByteSize, HumanDuration, Report, Secret, Validate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{MismatchesConfig, RouteConfig};

/// Copies that come later than this would be compared with another moment.
const MOST_GATHERED: Duration = Duration::from_millis(100);

/// What all shadowed routes share. It bounds what copies may cost, whatever the other side does.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ShadowConfig {
    /// The most copies that are being sent or compared at once. One more is dropped, never queued.
    pub max_concurrent: u32,
    /// The most of them that are at one upstream, so that a slow one leaves room for the others.
    pub max_concurrent_per_upstream: u32,
    /// The most memory for all copies and answers together, those of requests in flight included.
    pub max_bytes: ByteSize,
    /// The threads that send, receive and compare. They are no others than these, so this is how many CPUs shadowing
    /// can use at most.
    pub threads: usize,
    /// How much those threads give way to others on a busy machine: 0, not at all, to 19.
    pub nice: u8,
    /// The share of copies without a body, in percent, that legacy is asked once more, to learn which parts of its
    /// answers differ by themselves.
    pub noise_percent: f64,
    /// What proves dry runs: the same as the services have, at least 32 bytes.
    pub dry_run_secret: Secret,
    /// What is kept of answers that differ.
    pub mismatches: MismatchesConfig,
    /// How long copies are gathered before they are sent together, which costs less CPU for each.
    pub gather: HumanDuration,
    /// After how many copies in a row that had no answer to be compared (not reached, broken off, over time, too
    /// large) the other side of a route is left alone for `rest`.
    pub rest_after: u32,
    /// How long, up to a fifth less by chance, so that gateways do not come back together; then one copy finds out
    /// whether the side is there again. A copy that ran out of time keeps its place at its upstream for a part of it, by
    /// chance, so that the next ones do not come all at once. `0s`: neither.
    pub rest: HumanDuration,
    /// How often a service that has not agreed to dry runs is asked, and one that has is asked again.
    pub dry_run_interval: HumanDuration,
}

impl Default for ShadowConfig {
    fn default() -> Self {
        Self {
            max_concurrent: 128,
            max_concurrent_per_upstream: 64,
            max_bytes: ByteSize::from_mib(64),
            threads: 1,
            nice: 10,
            noise_percent: 2.0,
            dry_run_secret: Secret::default(),
            mismatches: MismatchesConfig::default(),
            gather: HumanDuration::from_millis(2),
            rest_after: 10,
            rest: HumanDuration::from_secs(1),
            dry_run_interval: HumanDuration::from_secs(30),
        }
    }
}

/// How one route is shadowed. How much of it is, says the rollout document.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RouteShadowConfig {
    /// What is sampled: keys, so that a key is always or never shadowed, or requests.
    pub sample: Sample,
    /// The methods that are copied as they are. They must be safe: a copy is carried out.
    pub methods: Vec<String>,
    /// Whether requests of all other methods are copied as dry runs, to a side that has agreed to them.
    pub dry_run: bool,
    /// The longest body of a request that is copied, and of each of its two answers.
    pub body_limit: ByteSize,
    /// The longest that sending a copy and receiving its answer may take.
    pub timeout: HumanDuration,
    /// What counts as the same answer.
    pub compare: RulesConfig,
}

/// What is sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Sample {
    /// Keys.
    #[default]
    Key,
    /// Requests.
    Request,
}

impl Default for RouteShadowConfig {
    fn default() -> Self {
        Self {
            sample: Sample::Key,
            methods: vec!["GET".to_owned(), "HEAD".to_owned()],
            dry_run: false,
            body_limit: ByteSize::from_kib(256),
            timeout: HumanDuration::from_secs(2),
            compare: RulesConfig::default(),
        }
    }
}

impl Validate for ShadowConfig {
    fn validate(&self, report: &mut Report) {
        for (key, number) in [
            ("max_concurrent", self.max_concurrent),
            ("max_concurrent_per_upstream", self.max_concurrent_per_upstream),
            ("rest_after", self.rest_after),
            ("threads", u32::try_from(self.threads).unwrap_or(u32::MAX)),
        ] {
            if number == 0 {
                report.problem(key, "nothing could be shadowed", "write 1 or more, or set no route's share");
            }
        }
        report.nested("mismatches", |report| self.mismatches.validate(report));
        if self.nice > 19 {
            report.problem("nice", "no thread can give way more than 19", "write a number from 0 to 19");
        }
        if !(0.0..=100.0).contains(&self.noise_percent) {
            report.problem("noise_percent", "it is no share", "write a number from 0 to 100");
        }
        if self.gather.get() > MOST_GATHERED {
            let fix = "write at most \"100ms\"";
            report.problem("gather", "copies would come long after their requests", fix);
        }
        if self.dry_run_interval.get().is_zero() {
            report.problem("dry_run_interval", "it must not be zero", "write a duration such as \"30s\"");
        }
        if !self.dry_run_secret.is_empty() && self.dry_run_key().is_none() {
            let fix =
                format!("write {MIN_SECRET_BYTES} random bytes or more, such as the output of `openssl rand -hex 32`");
            report.problem("dry_run_secret", "it is too short to prove anything", fix);
        }
    }
}

impl ShadowConfig {
    /// What dry runs are signed with, if a secret is set that can be used.
    pub(crate) fn dry_run_key(&self) -> Option<Key> {
        Key::new(self.dry_run_secret.expose().as_bytes()).ok()
    }

    /// Reports what is wrong with the routes' own settings.
    pub(super) fn check_routes(&self, routes: &[RouteConfig], report: &mut Report) {
        for (index, route) in routes.iter().enumerate() {
            let Some(shadow) = &route.shadow else { continue };
            report.nested(&format!("routes[{index}].shadow"), |report| {
                if route.legacy.is_none() || route.candidate.is_none() {
                    let fix = "remove the table, or give the route both `legacy` and `candidate`";
                    report.problem("", "the route has one side only, so there is nothing to compare", fix);
                }
                if shadow.dry_run && self.dry_run_secret.is_empty() {
                    let fix = "set shadow.dry_run_secret, best by GATEWAY__SHADOW__DRY_RUN_SECRET";
                    report.problem("dry_run", "there is no secret that could prove a dry run", fix);
                }
                shadow.validate(report);
                if shadow.body_limit.bytes() > self.max_bytes.bytes() {
                    let fix = "write less, or raise shadow.max_bytes";
                    report.problem("body_limit", "it is more than shadow.max_bytes for all copies together", fix);
                }
            });
        }
    }
}

impl RouteShadowConfig {
    /// The methods that are copied as they are. What is not valid is left out; [`Validate`] reports it.
    pub(crate) fn safe_methods(&self) -> Vec<Method> {
        self.methods.iter().filter_map(|text| safe_method(text)).collect()
    }
}

impl Validate for RouteShadowConfig {
    fn validate(&self, report: &mut Report) {
        for (index, text) in self.methods.iter().enumerate() {
            if safe_method(text).is_none() {
                let fix = "write GET, HEAD or OPTIONS; a request that changes something is copied with dry_run = true";
                report.problem(&format!("methods[{index}]"), "a copy of it would be carried out", fix);
            }
        }
        if self.methods.is_empty() && !self.dry_run {
            report.problem("methods", "nothing could be shadowed", "write [\"GET\", \"HEAD\"], or remove the table");
        }
        if self.timeout.get().is_zero() {
            report.problem("timeout", "it must not be zero", "write a duration such as \"2s\"");
        }
        for problem in Rules::compile(&self.compare).err().unwrap_or_default() {
            report.problem(&format!("compare.{}", problem.key), problem.message, problem.fix);
        }
        if self.body_limit.bytes() == 0 {
            report.problem("body_limit", "no body would fit", "write a size such as \"256KiB\"");
        }
    }
}

/// A method that changes nothing (RFC 9110, section 9.2.1) and may be copied.
fn safe_method(text: &str) -> Option<Method> {
    text.parse::<Method>().ok().filter(|method| [Method::GET, Method::HEAD, Method::OPTIONS].contains(method))
}

/// Each route's own settings, by the route's name.
pub(crate) fn shadowed_routes(routes: &[RouteConfig]) -> BTreeMap<&str, &RouteShadowConfig> {
    routes.iter().filter_map(|route| Some((route.name.as_str(), route.shadow.as_ref()?))).collect()
}

#[cfg(test)]
mod tests {
    use layered_config::load_str;

    use crate::config::Config;

    const START: &str = "admin.token = \"0123456789abcdef\"\nupstreams.old.address = \"127.0.0.1:1\"\n\
                         [[routes]]\nname = \"a\"\npath = \"/a\"\nlegacy = \"old\"\n[shadow]\n";

    #[test]
    fn each_bad_setting_of_shadowing_is_shown_where_it_is_with_its_fix() {
        for (line, place, fix) in [
            ("max_concurrent = 0", "shadow.max_concurrent", "1 or more"),
            ("rest_after = 0", "shadow.rest_after", "1 or more"),
            ("threads = 0", "shadow.threads", "1 or more"),
            ("nice = 20", "shadow.nice", "0 to 19"),
            ("noise_percent = 101", "shadow.noise_percent", "0 to 100"),
            ("gather = \"1s\"", "shadow.gather", "100ms"),
            ("dry_run_interval = \"0s\"", "shadow.dry_run_interval", "30s"),
            ("dry_run_secret = \"short\"", "shadow.dry_run_secret", "openssl rand"),
        ] {
            let problems = load_str::<Config>("gateway.toml", &format!("{START}{line}\n")).unwrap_err().to_string();
            assert!(problems.contains(place) && problems.contains(fix), "{line}: {problems}");
        }
        load_str::<Config>("gateway.toml", START).unwrap();
    }
}
