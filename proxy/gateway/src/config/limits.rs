//! Settings of the limits.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use layered_config::{HumanDuration, Report, Secret, Validate};
use redis::TlsCertificates;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::RouteConfig;
use crate::limit::{Counts, MAX_BURST, MAX_POLICIES, Policies, Policy, Quota, Rate};

/// How many requests are let through.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Where budgets are kept: `local`, in this process, or `redis`, shared by several gateways.
    pub store: LimitStore,
    /// The most keys that have a budget of their own in this process, for each policy.
    pub max_keys: usize,
    /// How Redis is reached, where it keeps the budgets.
    pub redis: RedisConfig,
    /// The policies, by the name that routes and the rollout document use.
    pub policies: BTreeMap<String, PolicyConfig>,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self { store: LimitStore::Local, max_keys: 100_000, redis: RedisConfig::default(), policies: BTreeMap::new() }
    }
}

/// Where budgets are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LimitStore {
    /// In this process.
    Local,
    /// In Redis.
    Redis,
}

/// How Redis is reached, and what holds without it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RedisConfig {
    /// `redis://:PASSWORD@HOST:PORT/DATABASE`, or `rediss://` for TLS. One primary; not the nodes of a
    /// Redis Cluster.
    pub url: Secret,
    /// With `rediss://`: the authorities that its certificate is checked against, as PEM; the system's
    /// unless given. Read when the gateway starts.
    pub ca_file: Option<PathBuf>,
    /// The longest a request waits for Redis, all in all.
    pub timeout: HumanDuration,
    /// The longest a connection may take to be made. No request waits for that.
    pub connect_timeout: HumanDuration,
    /// What holds while Redis does not answer: `local`, each gateway keeps to budgets of its own;
    /// `allow`, nothing is limited; `deny`, what has a limit is answered with 503.
    pub when_unavailable: WhenUnavailable,
    /// How many gateways share the budgets. Without Redis each keeps to that part of them; 1 gives
    /// each gateway all of them.
    pub gateways: u32,
    /// What the names of keys in Redis start with.
    pub prefix: String,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            url: Secret::default(),
            ca_file: None,
            timeout: HumanDuration::from_millis(20),
            connect_timeout: HumanDuration::from_secs(1),
            when_unavailable: WhenUnavailable::Local,
            gateways: 1,
            prefix: "limit".to_owned(),
        }
    }
}

/// What holds while Redis does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WhenUnavailable {
    /// Budgets of this gateway's own.
    Local,
    /// No limits.
    Allow,
    /// 503 for what has a limit.
    Deny,
}

/// One policy. The rollout document may say other numbers.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
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
    /// Names every file from the folder of the configuration file.
    pub(super) fn relative_to(&mut self, folder: &Path) {
        self.redis.ca_file = self.redis.ca_file.take().map(|file| folder.join(file));
    }

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
            if route.limits.len() > MAX_POLICIES {
                let message = format!("a request would have to pass more than {MAX_POLICIES} policies");
                report.problem(&format!("routes[{index}].limits"), message, "remove some of them");
            }
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

impl RedisConfig {
    /// A client of this URL; it does not connect yet.
    pub(crate) fn client(&self) -> redis::RedisResult<redis::Client> {
        let Some(file) = &self.ca_file else { return redis::Client::open(self.url.expose()) };
        let authorities = TlsCertificates { client_tls: None, root_cert: Some(fs::read(file)?) };
        redis::Client::build_with_tls(self.url.expose(), authorities)
    }

    fn validate_ca_file(&self, report: &mut Report) {
        let Some(file) = &self.ca_file else { return };
        if !self.url.expose().starts_with("rediss://") {
            let fix = "write the URL with rediss://, or remove ca_file";
            report.problem("ca_file", "the connection is not encrypted, so no certificate is checked", fix);
        }
        let pem = fs::read(file).map_err(|error| format!("{} cannot be read: {error}", file.display()));
        let problem = pem.and_then(|pem| match CertificateDer::pem_slice_iter(&pem).next() {
            Some(Ok(_)) => Ok(()),
            _ => Err(format!("{} holds no certificate in PEM", file.display())),
        });
        if let Err(problem) = problem {
            report.problem("ca_file", problem, "name a PEM file with the authority that signed Redis's certificate");
        }
    }
}

impl Validate for RedisConfig {
    fn validate(&self, report: &mut Report) {
        let fix = "write a URL such as \"redis://:PASSWORD@127.0.0.1:6379/0\", or set GATEWAY__LIMITS__REDIS__URL";
        if self.url.is_empty() {
            report.problem("url", "it is required with store = \"redis\" and not set", fix);
        } else if redis::Client::open(self.url.expose()).is_err() {
            report.problem("url", "it is no URL of a Redis that can be spoken to", fix);
        }
        self.validate_ca_file(report);
        for (key, duration) in [("timeout", self.timeout), ("connect_timeout", self.connect_timeout)] {
            if duration.get().is_zero() {
                report.problem(key, "it must not be zero", "write a duration such as \"20ms\"");
            }
        }
        if self.gateways == 0 {
            report.problem("gateways", "there is at least this one", "write how many gateways share the limits");
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/".contains(c);
        if self.prefix.is_empty() || self.prefix.len() > 64 || !self.prefix.chars().all(plain) {
            let fix = "write up to 64 letters, digits and any of - _ . : /";
            report.problem("prefix", "it is not usable in names of keys", fix);
        }
    }
}

impl Validate for LimitsConfig {
    fn validate(&self, report: &mut Report) {
        if self.store == LimitStore::Redis {
            report.nested("redis", |report| self.redis.validate(report));
        }
        if self.max_keys == 0 {
            report.problem("max_keys", "no key would have a budget of its own", "write a number such as 100000");
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bad_setting_is_named_with_its_line() {
        let text = "store = \"redis\"\nmax_keys = 0\n[redis]\nurl = \"http://user:hunter2@there\"\ntimeout = \"0ms\"\n\
                    gateways = 0\nprefix = \"a{b}\"\n[policies.\"a b\"]\ncounts = \"key\"\nrate = \"1/s\"\n\
                    [policies.b]\ncounts = \"key\"\nrate = \"1/s\"\nburst = 0\n";
        let problems = layered_config::load_str::<LimitsConfig>("limits.toml", text).expect_err("nothing is right");
        let said = problems.summary();
        for expected in ["2:12", "4:7", "5:11", "6:12", "7:10", "8:11", "14:9"] {
            assert!(said.contains(&format!("limits.toml:{expected}")), "{expected} is missing in {said}");
        }
        assert!(!problems.to_string().contains("hunter2") && !said.contains("hunter2"), "secrets are not shown");
        let defaults = layered_config::load_str::<LimitsConfig>("limits.toml", "").expect("all have defaults");
        assert_eq!((defaults.store, defaults.max_keys), (LimitStore::Local, 100_000));
    }
}
