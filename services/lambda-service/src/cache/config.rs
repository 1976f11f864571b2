//! Settings of the cache of functions.

use std::time::Duration;

use layered_config::{HumanDuration, Report, Secret, Validate};
use schemars::JsonSchema;
use serde::Deserialize;

/// Where functions are kept between calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CacheKind {
    /// Nowhere: every call reads its function from the database.
    None,
    /// In each replica. A change through one replica is seen by the others after `ttl`.
    Local,
    /// In Redis, for all replicas, which forget a changed function together.
    Redis,
}

/// How functions are kept between calls.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CacheConfig {
    /// `none`, `local` or `redis`. Left out it is `local`, and `none` where the tables are another system's
    /// (`database.migrate = false`), which changes them without a word.
    pub kind: Option<CacheKind>,
    /// The longest that a function is kept: so long may a call see it as it was before a change that this service was
    /// not told of.
    pub ttl: HumanDuration,
    /// The most functions that a replica keeps (`local`).
    pub max_functions: u64,
    /// The Redis that replicas share.
    pub redis: RedisConfig,
}

/// How Redis is reached.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RedisConfig {
    /// `redis://:PASSWORD@HOST:PORT/DATABASE`, or `rediss://` for TLS. One primary; not the nodes of a Redis Cluster.
    pub url: Secret,
    /// The longest that a call waits for Redis before it asks the database.
    pub timeout: HumanDuration,
    /// The longest a connection may take to be made. No call waits for that.
    pub connect_timeout: HumanDuration,
    /// What the names of keys start with.
    pub prefix: String,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self { kind: None, ttl: HumanDuration::from_secs(1), max_functions: 10_000, redis: RedisConfig::default() }
    }
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            url: Secret::default(),
            timeout: HumanDuration::from_millis(20),
            connect_timeout: HumanDuration::from_secs(1),
            prefix: "lambda".to_owned(),
        }
    }
}

impl CacheConfig {
    /// What holds where the tables are another system's, or not.
    pub(super) fn kind_where(&self, is_shared: bool) -> CacheKind {
        self.kind.unwrap_or(if is_shared { CacheKind::None } else { CacheKind::Local })
    }
}

impl Validate for CacheConfig {
    fn validate(&self, report: &mut Report) {
        if !(Duration::from_millis(1)..=Duration::from_secs(3600)).contains(&self.ttl.get()) {
            let problem = "it is not between a millisecond and an hour";
            report.problem("ttl", problem, "write e.g. \"1s\", or kind = \"none\" to keep nothing");
        }
        if self.kind == Some(CacheKind::Redis) {
            report.nested("redis", |report| self.redis.validate(report));
        }
    }
}

impl Validate for RedisConfig {
    fn validate(&self, report: &mut Report) {
        let fix = "write redis://:PASSWORD@HOST:PORT/DATABASE";
        if self.url.is_empty() {
            report.problem("url", "it is required with kind = \"redis\" and not set", fix);
        } else if redis::Client::open(self.url.expose()).is_err() {
            report.problem("url", "it is no URL of a Redis that can be spoken to", fix);
        }
        for (key, duration) in [("timeout", self.timeout), ("connect_timeout", self.connect_timeout)] {
            if duration.get().is_zero() {
                report.problem(key, "nothing happens in no time", "write e.g. \"20ms\"");
            }
        }
    }
}
