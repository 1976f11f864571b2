//! The static configuration: listeners, upstreams, routes. What moves is in the rollout document.

mod admin;
mod auth;
mod guard;
mod http2;
mod jwt;
mod limits;
mod mismatches;
mod ramp;
mod request_metrics;
mod retries;
mod rollout;
mod route_parts;
mod routes;
mod shadow;
mod slices;
mod tls;
mod upgrade;
mod upstream;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use layered_config::{ByteSize, HumanDuration, Problems, Report, Sources, Validate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use telemetry::TelemetryConfig;

pub use admin::{AdminConfig, AdminRole, AdminTokenConfig};
pub use auth::{ApiKeysConfig, AuthConfig, Require, RouteAuthConfig};
pub use guard::GuardConfig;
pub use http2::Http2Config;
pub use jwt::JwtConfig;
pub use limits::{LimitStore, LimitsConfig, PolicyConfig, RedisConfig, WhenUnavailable};
pub use mismatches::{MismatchStore, MismatchesConfig};
pub use ramp::{NoDataConfig, RampConfig, RampGateConfig, RampStepConfig};
pub use request_metrics::RequestMetricsConfig;
pub use retries::RetriesConfig;
pub use rollout::{PostgresConfig, RolloutConfig, StoreKind};
pub use route_parts::{ExpectedConfig, HeaderEditsConfig};
pub use routes::RouteConfig;
pub(crate) use shadow::shadowed_routes;
pub use shadow::{RouteShadowConfig, Sample, ShadowConfig};
pub use slices::SliceConfig;
pub use tls::{CertificateConfig, TlsConfig, TlsVersion};
pub use upgrade::UpgradeConfig;
pub use upstream::{BreakerConfig, EjectionConfig, RetryBudgetConfig};
pub use upstream::{HostPort, UpstreamConfig, UpstreamHttp2Config, UpstreamProtocol, UpstreamTlsConfig};

use crate::{
    client_address,
    request_path::PathParameters,
    route_table::{RouteTable, Slice},
    sticky_writes::StickyWritesConfig,
};

/// What may wait of the access log at least.
const MIN_LOG_BUFFER_BYTES: u64 = 64 * 1024;

/// The longest that a line of the access log may wait.
const MAX_FLUSH_INTERVAL: Duration = Duration::from_secs(10);

/// Everything the gateway is configured with. Environment variables start with `GATEWAY__`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The public listener.
    pub http: HttpConfig,
    /// The admin listener.
    pub admin: AdminConfig,
    /// How callers prove who they are.
    pub auth: AuthConfig,
    /// Where the rollout document is.
    pub rollout: RolloutConfig,
    /// The access log.
    pub access_log: AccessLogConfig,
    /// What is counted of each request.
    pub request_metrics: RequestMetricsConfig,
    /// Logs and traces.
    pub telemetry: TelemetryConfig,
    /// Replacing the running process by a new one.
    pub upgrade: UpgradeConfig,
    /// The sides, by name.
    pub upstreams: BTreeMap<String, UpstreamConfig>,
    /// How many requests are let through.
    pub limits: LimitsConfig,
    /// What shadow comparison may cost.
    pub shadow: ShadowConfig,
    /// What routes with read-your-writes share.
    pub sticky_writes: StickyWritesConfig,
    /// Tables that move to a database of the candidate's own, by the name that the mapping gives them.
    pub slices: BTreeMap<String, SliceConfig>,
    /// The routes.
    pub routes: Vec<RouteConfig>,
}

/// The public listener and its limits.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Address and port; port 0 takes a free one.
    pub bind: SocketAddr,
    /// TLS. Without it clients speak plain HTTP.
    pub tls: Option<TlsConfig>,
    /// Whether clients may begin with HTTP/2 on the plain listener, without an upgrade (RFC 9113,
    /// section 3.3). Over TLS they may always.
    pub h2c: bool,
    /// The limits of HTTP/2 connections.
    pub http2: Http2Config,
    /// How many client connections may be open at once. More wait to be accepted.
    pub max_connections: u32,
    /// Worker threads.
    pub threads: usize,
    /// Whether idle workers take over tasks of busy ones. Off costs less CPU for each request.
    pub work_stealing: bool,
    /// The longest the gateway waits for requests in flight after SIGTERM.
    pub drain_deadline: HumanDuration,
    /// How long a client connection that is idle when the drain begins is kept, so that its client
    /// learns of the end from the answer to another request and not from a lost one.
    pub idle_grace: HumanDuration,
    /// The longest a request body may be.
    pub body_limit: ByteSize,
    /// The longest all header lines of a request may be together.
    pub header_limit: ByteSize,
    /// How long a client may go on sending the head of an HTTP/1 request: the first from when the connection is
    /// there, each further one on top of `keepalive_timeout`, which also ends one that sends nothing.
    pub header_timeout: HumanDuration,
    /// How long the gateway waits for the next bytes of a request that has begun.
    pub read_timeout: HumanDuration,
    /// How long the gateway waits for a client to take bytes of an answer.
    pub write_timeout: HumanDuration,
    /// How long an idle client connection is kept.
    pub keepalive_timeout: HumanDuration,
    /// How many idle upstream connections are kept, over all upstreams.
    pub upstream_pool_size: usize,
    /// How often one request may be tried: the first try, the fallback, and repeats that are safe.
    pub max_attempts: usize,
    /// Whether answers say in `x-served-by` which side they come from.
    pub served_by_header: bool,
    /// Whether names of headers are passed on, both ways, in the letters that came. HTTP gives them no meaning; for an
    /// upstream or client that does, at the cost of some CPU for each request.
    pub preserve_header_case: bool,
    /// Networks of proxies whose `X-Forwarded-For` is believed, such as `10.0.0.0/8`.
    pub trusted_proxies: Vec<String>,
    /// What a `;` in a path means: `refuse`, `ignore` or `keep`.
    pub path_parameters: PathParameters,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from(([127, 0, 0, 1], 8080)),
            tls: None,
            h2c: false,
            http2: Http2Config::default(),
            max_connections: 10_000,
            threads: 2,
            work_stealing: true,
            drain_deadline: HumanDuration::from_secs(30),
            idle_grace: HumanDuration::from_secs(1),
            body_limit: ByteSize::from_mib(64),
            header_limit: ByteSize::from_kib(64),
            header_timeout: HumanDuration::from_secs(30),
            read_timeout: HumanDuration::from_secs(60),
            write_timeout: HumanDuration::from_secs(60),
            keepalive_timeout: HumanDuration::from_secs(60),
            upstream_pool_size: 512,
            max_attempts: 5,
            served_by_header: true,
            preserve_header_case: false,
            trusted_proxies: Vec::new(),
            path_parameters: PathParameters::Refuse,
        }
    }
}

impl Validate for HttpConfig {
    fn validate(&self, report: &mut Report) {
        if self.threads == 0 {
            report.problem("threads", "nobody would serve requests", "write 1 or more");
        }
        if self.max_attempts < 2 {
            report.problem("max_attempts", "a fallback needs a second attempt", "write 2 or more");
        }
        if self.max_connections == 0 {
            report.problem("max_connections", "no client could connect", "write 1 or more");
        }
        if self.idle_grace.get() > self.drain_deadline.get() {
            report.problem("idle_grace", "it is longer than `drain_deadline`", "write at most the same duration");
        }
        if let Some(tls) = &self.tls {
            report.nested("tls", |report| tls.validate(report));
        }
        report.nested("http2", |report| self.http2.validate(report));
        for (key, duration) in [
            ("drain_deadline", self.drain_deadline),
            ("header_timeout", self.header_timeout),
            ("read_timeout", self.read_timeout),
            ("write_timeout", self.write_timeout),
        ] {
            if duration.get().is_zero() {
                report.problem(key, "it must not be zero", "write a duration such as \"30s\"");
            }
        }
        if self.keepalive_timeout.get().as_secs() == 0 {
            report.problem("keepalive_timeout", "it is shorter than a second", "write \"1s\" or more");
        }
        for (index, text) in self.trusted_proxies.iter().enumerate() {
            if client_address::network(text).is_none() {
                let fix = "write a network such as \"10.0.0.0/8\", or one address";
                report.problem(&format!("trusted_proxies[{index}]"), "it is no network", fix);
            }
        }
    }
}

/// Where the access log goes.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AccessLogConfig {
    /// `stdout`, `file` or `off`.
    pub destination: LogDestination,
    /// The file, when the destination is one; relative to the configuration file. SIGHUP opens it anew, for whoever
    /// has moved it away.
    pub file: PathBuf,
    /// How much may wait to be written; lines beyond that are dropped and counted.
    pub buffer: ByteSize,
    /// How long lines wait for more before they are written together; sooner when half the buffer is full.
    pub flush_interval: HumanDuration,
}

/// The kinds of destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogDestination {
    /// Standard output.
    Stdout,
    /// A file, appended to.
    File,
    /// Nowhere.
    Off,
}

impl Default for AccessLogConfig {
    fn default() -> Self {
        Self {
            destination: LogDestination::Stdout,
            file: PathBuf::from("access.log"),
            buffer: ByteSize::from_mib(4),
            flush_interval: HumanDuration::from_millis(20),
        }
    }
}

impl Validate for AccessLogConfig {
    fn validate(&self, report: &mut Report) {
        if self.buffer.bytes() < MIN_LOG_BUFFER_BYTES {
            report.problem("buffer", "few lines fit, so most would be lost", "write at least \"64KiB\"");
        }
        if self.flush_interval.get() > MAX_FLUSH_INTERVAL {
            let fix = "write at most \"10s\"";
            report.problem("flush_interval", "lines would come long after their requests", fix);
        }
    }
}

impl Config {
    /// Reads and checks the configuration in this file and the environment.
    ///
    /// # Errors
    /// Every problem in it.
    pub fn load(file: &Path) -> Result<Self, Problems> {
        let mut config: Self = layered_config::load(&Sources::new("GATEWAY").file(file))?;
        let folder = file.parent().unwrap_or(Path::new(""));
        config.rollout.relative_to(folder);
        config.limits.relative_to(folder);
        config.access_log.file = folder.join(&config.access_log.file);
        config.auth.resolve(folder);
        config.shadow.mismatches.relative_to(folder);
        for tls in [&mut config.http.tls, &mut config.admin.tls].into_iter().flatten() {
            tls.resolve(folder);
        }
        config.upgrade.pid_file = config.upgrade.pid_file.map(|file| folder.join(file));
        for tls in config.upstreams.values_mut().filter_map(|upstream| upstream.tls.as_mut()) {
            tls.resolve_files(folder);
        }
        Ok(config)
    }

    /// JSON Schema of the settings, for editors.
    #[must_use]
    pub fn schema() -> String {
        layered_config::schema::<Self>("settings of a gateway")
    }

    /// The names of the upstreams, in the order of their ids.
    pub(crate) fn upstream_names(&self) -> Vec<&str> {
        self.upstreams.keys().map(String::as_str).collect()
    }

    /// The route table of a configuration that has been checked.
    pub(crate) fn route_table(&self) -> RouteTable {
        self.build_table(&mut Report::default())
    }

    fn build_table(&self, report: &mut Report) -> RouteTable {
        let upstreams = self.upstream_names();
        let slices: Vec<_> =
            self.slices.iter().map(|(name, slice)| (name.as_str(), slice.upstream(&upstreams))).collect();
        let known = routes::Known { upstreams: &upstreams, slices: &slices };
        let table = routes::build(&self.routes, known, report);
        let slices = slices.iter().filter_map(|(name, own)| Some(Slice { name: (*name).to_owned(), own: (*own)? }));
        table.with_slices(slices.collect())
    }
}

impl Config {
    /// A request needs its first try, its fallback and its repetitions.
    fn validate_attempts(&self, report: &mut Report) {
        for (index, route) in self.routes.iter().enumerate() {
            let repeated = route.retries.as_ref().map_or(0, |retries| retries.attempts);
            let needed = usize::try_from(repeated).unwrap_or(usize::MAX).saturating_add(2);
            if repeated > 0 && needed > self.http.max_attempts {
                let message = format!(
                    "with the first try and a fallback that is more than http.max_attempts = {}",
                    self.http.max_attempts
                );
                let fix = format!("write http.max_attempts = {needed}, or fewer attempts here");
                report.problem(&format!("routes[{index}].retries.attempts"), message, fix);
            }
        }
    }
}

impl Validate for Config {
    fn validate(&self, report: &mut Report) {
        report.nested("http", |report| self.http.validate(report));
        report.nested("admin", |report| self.admin.validate(report));
        report.nested("auth", |report| self.auth.validate(report));
        report.nested("rollout", |report| self.rollout.validate(report));
        report.nested("upgrade", |report| self.upgrade.validate(report));
        report.nested("telemetry", |report| self.telemetry.validate(report));
        for (name, upstream) in &self.upstreams {
            report.nested(&format!("upstreams.{name:?}"), |report| upstream.validate(report));
        }
        report.nested("access_log", |report| self.access_log.validate(report));
        report.nested("limits", |report| self.limits.validate(report));
        report.nested("sticky_writes", |report| self.sticky_writes.validate(report));
        self.limits.check_routes(&self.routes, report);
        self.auth.check_routes(&self.routes, report);
        report.nested("shadow", |report| self.shadow.validate(report));
        self.shadow.check_routes(&self.routes, report);
        self.shadow.mismatches.check_database(&self.rollout, report);
        self.validate_attempts(report);
        for (name, slice) in &self.slices {
            report.nested(&format!("slices.{name:?}"), |report| slice.validate(name, &self.upstream_names(), report));
        }
        self.build_table(report);
        if self.routes.is_empty() {
            report.problem("routes", "no route is configured, so nothing would be served", "add a [[routes]] table");
        }
    }
}
