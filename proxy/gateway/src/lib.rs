//! The gateway: moves live HTTP traffic from the legacy side of a route to its candidate side, a
//! share of its keys at a time, and back at any moment.
//!
//! A request goes through these modules, in this order:
//!
//! 1. [`RequestPath`] reads the path in the one way that no upstream can read otherwise;
//! 2. [`RouteTable`] finds the most specific route for host, path, method, headers and query;
//!    [`KeySource`] finds the route's key;
//! 3. a write to a slice whose writes are held waits until they no longer are;
//! 4. [`RouteDecision`] is made, purely, from route, key and the live [`Snapshot`];
//! 5. the upstream of that side is connected; a candidate that cannot be reached falls back;
//! 6. one line goes to the access log and a few numbers to the metrics.
//!
//! `gateway.rs` is the glue between them and pingora. [`Control`] owns the live state and every way
//! to change it: the rollout document's file, the admin API, signals.
//!
//! Two files configure it. [`Config`] is static: listeners, upstreams, routes. The
//! [`RolloutDocument`] is what moves: which share of each route's keys is on the candidate.

mod access_log;
mod admin;
mod admission;
mod answer;
mod auth;
mod bounded_answer;
mod client_address;
mod config;
mod control;
mod decision;
mod dispatch;
mod failure;
mod forwarding;
mod gateway;
mod header_case;
mod http_rules;
mod key_body;
mod limit;
mod listener;
mod log_rotation;
mod metrics;
mod only_candidate;
mod ramp;
mod recall;
mod refusal;
mod request_context;
mod request_host;
mod request_path;
mod resilience;
mod rollout;
mod route_table;
mod run;
mod shadow;
mod signals;
mod slices;
mod sticky_writes;
mod tls;
mod trace;
mod upgrade;
mod upstream;
mod validate;

pub use auth::{Algorithm, AuthError, AuthMethod, Identity, UnknownAlgorithm};
pub use config::{
    AccessLogConfig, AdminConfig, AuthConfig, CertificateConfig, Config, HostPort, Http2Config, HttpConfig,
    LogDestination, PostgresConfig, RolloutConfig, RouteConfig, StoreKind, TlsConfig, TlsVersion, UpgradeConfig,
    UpstreamConfig, UpstreamHttp2Config, UpstreamProtocol, UpstreamTlsConfig,
};
pub use config::{AdminRole, AdminTokenConfig, ApiKeysConfig, JwtConfig, Require, RouteAuthConfig};
pub use config::{BreakerConfig, EjectionConfig, RetriesConfig, RetryBudgetConfig};
pub use config::{ExpectedConfig, HeaderEditsConfig};
pub use config::{GuardConfig, NoDataConfig, RampConfig, RampGateConfig, RampStepConfig};
pub use config::{LimitStore, LimitsConfig, PolicyConfig, RedisConfig, WhenUnavailable};
pub use config::{RequestMetricsConfig, RouteShadowConfig, Sample, ShadowConfig, SliceConfig};
pub use control::{
    Authorship, Break, Change, ChangeError, Changed, Control, Difference, Expect, Fault, FileError, Head, HistoryError,
    HistoryQuery, Kind, LogEntry, NO_HASH, Plan, Revision, Rollback, RouteMove, StartError, StoreError, Verification,
    Verified,
};
pub use decision::{Reason, RouteDecision, Side};
pub use limit::{
    BurstProblem, Counts, Limit, LiveLimits, MAX_BURST, Policies, Policy, PolicyId, Quota, Rate, RateProblem,
};
pub use limit::{Caller, Counted, LimitFields, Limiter, LinkKeeper, NotAdmitted};
pub use metrics::{LatencyTotals, Metrics, SideTotals, names as metric_names};
pub use only_candidate::{OnlyCandidateConfig, OnlyCandidateSource};
pub use request_host::{HostProblem, canonical_host};
pub use request_path::{PathParameters, PathProblem, RequestPath};
pub use resilience::{FailureKind, FailureKinds, FallbackCase, FallbackOn, Resilience, RetryPolicy};
pub use rollout::{
    BUCKETS, Bucket, DataStage, DocumentText, Entry, MAX_IGNORED, MAX_KEY_BYTES, MAX_OVERRIDES, MAX_PINS, Pins,
    RampRecord, Ramping, RolloutDocument, RouteState, Snapshot, Stage, Weight, WeightProblem,
};
pub use route_table::{
    AmbiguousRoutes, Conditions, Expected, HeaderCondition, HeaderEdits, HeaderProblem, HostPattern,
    HostPatternProblem, JsonKey, JsonPointer, KeyInput, KeyProblem, KeySource, MatchInput, PointerProblem,
    QueryCondition, RepeatedKey, Rewrite, RewriteProblem, Route, RouteId, RouteLimits, RouteSlice, RouteTable, Sides,
    Slice, SliceId, Template, TemplateProblem, UpstreamId, Writes,
};
pub use run::{RunError, run};
pub use sticky_writes::{RouteStickyWritesConfig, StickyWritesConfig};
pub use tls::CertificateError;
pub use upstream::{UpstreamError, UpstreamTlsProblem};
pub use validate::{Summary, probe, validate};
