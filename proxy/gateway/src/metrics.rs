//! What the gateway counts. Handles are resolved once per route and side, so that a request costs a
//! few atomic additions; labels come from configuration only, never from a request.

use std::sync::{Arc, OnceLock};

use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
    core::{Collector, Metric},
};
use serde::Serialize;
use telemetry::metrics::DURATION_BUCKETS_S;

use crate::{
    control::ControlMetrics,
    decision::{Reason, Side},
    refusal::Refusal,
    rollout::Snapshot,
    route_table::{RouteId, RouteTable, UpstreamId},
};

/// Names of the gateway's metrics.
pub mod names {
    /// Requests by route, side, reason and class of status.
    pub const REQUESTS: &str = "gateway_requests_total";
    /// Requests with a status of 500 or above, or without an answer, by route and side.
    pub const REQUEST_ERRORS: &str = "gateway_request_errors_total";
    /// Seconds from a request's arrival to the end of its answer, by route and side.
    pub const REQUEST_DURATION: &str = "gateway_request_duration_seconds";
    /// Requests being served, by route and side.
    pub const REQUESTS_IN_FLIGHT: &str = "gateway_requests_in_flight";
    /// Requests whose candidate could not be reached and which went to legacy, by route.
    pub const FALLBACKS: &str = "gateway_fallbacks_total";
    /// Requests that the gateway answered itself, by why.
    pub const REFUSED: &str = "gateway_requests_refused_total";
    /// Client connections on all public listeners.
    pub const CONNECTIONS_OPEN: &str = "gateway_connections_open";
    /// Connections that the system could not give.
    pub const ACCEPTS_FAILED: &str = "gateway_accepts_failed_total";
    /// Connections that were closed because the head of a request was not complete in time.
    pub const REQUEST_HEADS_TIMED_OUT: &str = "gateway_request_heads_timed_out_total";
    /// Connections that ended before TLS was agreed on, by cause.
    pub const TLS_HANDSHAKES_FAILED: &str = "gateway_tls_handshakes_failed_total";
    /// When a certificate in force expires, in seconds since 1970, by listener and file.
    pub const TLS_CERTIFICATE_EXPIRY: &str = "gateway_tls_certificate_expiry_timestamp_seconds";
    /// Changed certificate files, by listener and outcome.
    pub const TLS_CERTIFICATE_RELOADS: &str = "gateway_tls_certificate_reloads_total";
    /// 1 while certificate files on disk cannot be used, by listener.
    pub const TLS_CERTIFICATE_REFUSED: &str = "gateway_tls_certificate_refused";
    /// Callers that proved who they are, by method.
    pub const AUTH_ACCEPTED: &str = "gateway_auth_accepted_total";
    /// Callers that did not, by reason.
    pub const AUTH_REFUSED: &str = "gateway_auth_refused_total";
    /// Tokens looked up among those verified before, by outcome.
    pub const AUTH_CACHE: &str = "gateway_auth_token_cache_total";
    /// Keys in force, by source.
    pub const AUTH_KEYS: &str = "gateway_auth_keys";
    /// When keys were last read from their source, in seconds since 1970, by source: their age is the
    /// time since then.
    pub const AUTH_KEYS_CONFIRMED: &str = "gateway_auth_keys_confirmed_timestamp_seconds";
    /// Readings of keys, by source and outcome.
    pub const AUTH_KEY_REFRESHES: &str = "gateway_auth_key_refreshes_total";
    /// Connections that could not be made, by upstream.
    pub const CONNECT_FAILURES: &str = "gateway_upstream_connect_failures_total";
    /// Requests in flight to an upstream.
    pub const UPSTREAM_IN_FLIGHT: &str = "gateway_upstream_in_flight";
    /// Addresses of an upstream.
    pub const UPSTREAM_ADDRESSES: &str = "gateway_upstream_addresses";
    /// Addresses of an upstream that are left out or on probation.
    pub const UPSTREAM_EJECTED: &str = "gateway_upstream_ejected_addresses";
    /// Addresses left out for a while because they failed, by upstream.
    pub const EJECTIONS: &str = "gateway_upstream_ejections_total";
    /// The circuit breaker of an upstream: 0 closed, 1 on probation, 2 open.
    pub const BREAKER_STATE: &str = "gateway_breaker_state";
    /// Openings of the circuit breaker, by upstream.
    pub const BREAKER_OPENED: &str = "gateway_breaker_opened_total";
    /// Tries that an upstream did not take, by upstream and why: `overloaded`, `open`.
    pub const UPSTREAM_REFUSED: &str = "gateway_upstream_refused_total";
    /// Tries after one that failed, by upstream and outcome: `retried`, `budget_exhausted`.
    pub const RETRIES: &str = "gateway_retries_total";
    /// Pooled connections that had ended before they were used, by upstream.
    pub const STALE_CONNECTIONS: &str = "gateway_upstream_stale_connections_total";
    /// 1 while an upstream answers its health probe, by upstream.
    pub const UPSTREAM_HEALTHY: &str = "gateway_upstream_healthy";
    /// The share of keys on the candidate, in percent, by route.
    pub const WEIGHT: &str = "gateway_rollout_weight_percent";
    /// The revision of the rollout document in force.
    pub const REVISION: &str = "gateway_rollout_revision";
    /// Readings of the rollout document, by outcome.
    pub const RELOADS: &str = "gateway_rollout_reloads_total";
    /// 1 while the rollout document is refused and the state before it stays in force.
    pub const DOCUMENT_REFUSED: &str = "gateway_rollout_document_refused";
    /// Requests that waited on the candidate when it was left, and were asked of legacy instead, by route.
    pub const RECALLED: &str = "gateway_recalled_requests_total";
    /// Writes after which the requests of their key stay on a side, by route and side.
    pub const STICKY_WRITES: &str = "gateway_sticky_writes_total";
    /// Requests that went to legacy although their key was to stay on the candidate, by route.
    pub const STICKY_BROKEN: &str = "gateway_sticky_writes_broken_total";
    /// Keys that were forgotten before their time because there were too many.
    pub const STICKY_CROWDED_OUT: &str = "gateway_sticky_writes_crowded_out_total";
    /// Keys that only the candidate can serve, as it said last, by route.
    pub const ONLY_CANDIDATE_KEYS: &str = "gateway_only_candidate_keys";
    /// When it last said so, in seconds since 1970, by route.
    pub const ONLY_CANDIDATE_HEARD: &str = "gateway_only_candidate_heard_timestamp_seconds";
    /// Routes taken back to legacy, by route.
    pub const ROLLBACKS: &str = "gateway_rollbacks_total";
    /// Evidence against a candidate by route and metric, as a share of what rolls it back.
    pub const GUARD_E_VALUE: &str = "gateway_guard_evidence_ratio";
    /// What the guard says: 0 no data, 1 continue, 2 roll back, by route.
    pub const GUARD_VERDICT: &str = "gateway_guard_verdict";
    /// Routes that their guard took back to legacy, by route.
    pub const GUARD_ROLLBACKS: &str = "gateway_guard_rollbacks_total";
    /// The step of a ramp under way, from 1, by route; 0 for none.
    pub const RAMP_STEP: &str = "gateway_ramp_step";
    /// Seconds since the lease of a ramp was renewed, by route; -1 for none.
    pub const RAMP_LEASE_AGE: &str = "gateway_ramp_lease_age_seconds";
    /// Requests that a limit policy was asked about, by policy and outcome.
    pub const LIMIT_DECISIONS: &str = "gateway_limit_decisions_total";
    /// Requests whose key found no room of its own and was counted with others, by policy.
    pub const LIMIT_CROWDED: &str = "gateway_limit_crowded_total";
    /// Keys with a budget in this process, by policy.
    pub const LIMIT_KEYS: &str = "gateway_limit_keys";
    /// Requests that Redis did not decide about, by why.
    pub const LIMIT_FALLBACKS: &str = "gateway_limit_fallbacks_total";
    /// 1 while Redis decides about limits.
    pub const LIMIT_STORE_UP: &str = "gateway_limit_store_up";
    /// Seconds that Redis took to decide.
    pub const LIMIT_STORE_DURATION: &str = "gateway_limit_store_duration_seconds";
    /// Revisions of the rollout document made by this gateway, by kind.
    pub const ROLLOUT_CHANGES: &str = "gateway_rollout_changes_total";
    /// Changes of the rollout that were not made.
    pub const ROLLOUT_CHANGES_REFUSED: &str = "gateway_rollout_changes_refused_total";
    /// 1 while the store of the rollout document answers.
    pub const ROLLOUT_STORE_UP: &str = "gateway_rollout_store_up";
    /// When the store last answered, in seconds since 1970.
    pub const ROLLOUT_STORE_HEARD: &str = "gateway_rollout_store_heard_timestamp_seconds";
    /// Rollbacks in force that the store does not have yet.
    pub const ROLLOUT_PENDING: &str = "gateway_rollout_pending_rollbacks";
    /// Requests of routes that can be shadowed, by route, outcome and reason.
    pub const SHADOW_REQUESTS: &str = "gateway_shadow_requests_total";
    /// Copies that have no outcome yet, by route.
    pub const SHADOW_IN_FLIGHT: &str = "gateway_shadow_in_flight";
    /// Seconds to the header of the answer of shadowed requests, by route and side.
    pub const SHADOW_DURATION: &str = "gateway_shadow_duration_seconds";
    /// Bytes held by copies and their answers.
    pub const SHADOW_BYTES: &str = "gateway_shadow_bytes";
    /// Mismatches that were stored.
    pub const MISMATCHES_STORED: &str = "gateway_mismatches_stored_total";
    /// Mismatches that found no room and were not stored; their clusters were counted.
    pub const MISMATCHES_DROPPED: &str = "gateway_mismatches_dropped_total";
    /// 1 while the store of mismatches takes what it is given.
    pub const MISMATCH_STORE_UP: &str = "gateway_mismatch_store_up";
    /// Requests sent to legacy once more, by route and outcome.
    pub const SHADOW_NOISE: &str = "gateway_shadow_noise_total";
    /// 1 while an upstream agrees to dry runs.
    pub const DRY_RUN_AGREED: &str = "gateway_shadow_dry_run_agreed";
    /// Answers that did not prove that they were a dry run, by upstream. Anything above 0 is an alarm.
    pub const DRY_RUN_UNPROVEN: &str = "gateway_shadow_dry_run_unproven_total";
    /// 1 while a fence holds the writes of a slice.
    pub const FENCE_STANDING: &str = "gateway_fence_standing";
    /// Fences that have ended, by slice and end: `lifted`, `expired`.
    pub const FENCES: &str = "gateway_fences_total";
    /// Seconds that fences stood, by slice.
    pub const FENCE_HELD: &str = "gateway_fence_held_seconds";
    /// Writes that a fence holds, by slice.
    pub const FENCE_WAITING: &str = "gateway_fence_waiting";
    /// Seconds that writes were held which then went on, by slice.
    pub const FENCE_WAITED: &str = "gateway_fence_waited_seconds";
    /// Writes answered with 503 because of a fence, by slice and reason: `too_many`, `too_long`.
    pub const FENCE_REFUSED: &str = "gateway_fence_refused_total";
    /// Lines of the access log that were not written.
    pub const LOG_LINES_LOST: &str = "gateway_access_log_lines_lost_total";
}

/// The first digit of a status, or that nothing was answered.
const STATUS_CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

fn status_class(status: Option<u16>) -> usize {
    status.map_or(0, |status| usize::from(status / 100).min(5))
}

/// Every metric of the gateway.
pub struct Metrics {
    requests: IntCounterVec,
    counts_requests: bool,
    routes: Vec<RouteMetrics>,
    refused: [IntCounter; Refusal::ALL.len()],
    connect_failures: Vec<IntCounter>,
    upstream_healthy: Vec<IntGauge>,
    revision: IntGauge,
    reloads_applied: IntCounter,
    reloads_refused: IntCounter,
    document_refused: IntGauge,
    log_lines_lost: IntCounter,
    pub(crate) control: Arc<ControlMetrics>,
}

struct RouteMetrics {
    name: String,
    sides: [SideMetrics; 2],
    fallbacks: IntCounter,
    rollbacks: IntCounter,
    weight: Gauge,
}

/// What one side of one route has done.
pub(crate) struct SideMetrics {
    /// By reason and class of status; made when first counted, so that combinations that never
    /// happen are not exported.
    requests: [[OnceLock<IntCounter>; STATUS_CLASSES.len()]; Reason::ALL.len()],
    errors: IntCounter,
    pub(crate) in_flight: IntGauge,
    duration: Histogram,
}

/// What one side of one route has done since the gateway started.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SideTotals {
    /// Requests that ended.
    pub requests: u64,
    /// Those with a status of 500 or above, or without an answer.
    pub errors: u64,
    /// Requests being served.
    pub in_flight: i64,
    /// How long the requests that ended took.
    pub latency: LatencyTotals,
}

/// A cumulative histogram.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LatencyTotals {
    /// Upper bounds in seconds, ascending.
    pub le_seconds: Vec<f64>,
    /// For each bound, how many requests took at most that long.
    pub counts: Vec<u64>,
    /// All requests together.
    pub sum_seconds: f64,
}

impl Metrics {
    /// Makes every metric and registers it; what is said of each request only if requests are counted.
    ///
    /// # Errors
    /// When the registry has metrics of these names already.
    pub fn new(
        registry: &Registry,
        table: &RouteTable,
        upstreams: &[&str],
        counts_requests: bool,
    ) -> prometheus::Result<Self> {
        let requests = counters(names::REQUESTS, "Requests that ended.", &["route", "side", "reason", "status"])?;
        let errors = counters(names::REQUEST_ERRORS, "Requests answered with 5xx or not at all.", &["route", "side"])?;
        let duration = HistogramVec::new(
            HistogramOpts::new(names::REQUEST_DURATION, "Time from a request's arrival to the end of its answer.")
                .buckets(DURATION_BUCKETS_S.to_vec()),
            &["route", "side"],
        )?;
        let in_flight = gauges(names::REQUESTS_IN_FLIGHT, "Requests being served.", &["route", "side"])?;
        let fallbacks = counters(names::FALLBACKS, "Requests that went to legacy as a fallback.", &["route"])?;
        let rollbacks = counters(names::ROLLBACKS, "Routes taken back to legacy.", &["route"])?;
        let weight =
            GaugeVec::new(Opts::new(names::WEIGHT, "Share of keys on the candidate, in percent."), &["route"])?;
        let refused = counters(names::REFUSED, "Requests that the gateway answered itself.", &["reason"])?;
        let connect_failures = counters(names::CONNECT_FAILURES, "Connections that failed.", &["upstream"])?;
        let healthy = gauges(names::UPSTREAM_HEALTHY, "1 while the health probe is answered.", &["upstream"])?;
        let reloads = counters(names::RELOADS, "Readings of the rollout document.", &["outcome"])?;
        let revision = IntGauge::new(names::REVISION, "Revision of the rollout document in force.")?;
        let document_refused = IntGauge::new(names::DOCUMENT_REFUSED, "1 while the rollout document is refused.")?;
        let log_lines_lost = IntCounter::new(names::LOG_LINES_LOST, "Access log lines that were not written.")?;
        let of_requests: [Box<dyn Collector>; 4] = [
            Box::new(requests.clone()),
            Box::new(errors.clone()),
            Box::new(duration.clone()),
            Box::new(in_flight.clone()),
        ];
        let others: [Box<dyn Collector>; 10] = [
            Box::new(fallbacks.clone()),
            Box::new(rollbacks.clone()),
            Box::new(weight.clone()),
            Box::new(refused.clone()),
            Box::new(connect_failures.clone()),
            Box::new(healthy.clone()),
            Box::new(reloads.clone()),
            Box::new(revision.clone()),
            Box::new(document_refused.clone()),
            Box::new(log_lines_lost.clone()),
        ];
        for collector in of_requests.into_iter().filter(|_| counts_requests).chain(others) {
            registry.register(collector)?;
        }
        let routes = table.iter().map(|(_, route)| RouteMetrics {
            sides: Side::ALL.map(|side| {
                let labels = [route.name.as_str(), side.as_str()];
                SideMetrics {
                    requests: Default::default(),
                    errors: errors.with_label_values(&labels),
                    in_flight: in_flight.with_label_values(&labels),
                    duration: duration.with_label_values(&labels),
                }
            }),
            fallbacks: fallbacks.with_label_values(&[&route.name]),
            rollbacks: rollbacks.with_label_values(&[&route.name]),
            weight: weight.with_label_values(&[&route.name]),
            name: route.name.clone(),
        });
        Ok(Self {
            routes: routes.collect(),
            refused: Refusal::ALL.map(|refusal| refused.with_label_values(&[refusal.code()])),
            connect_failures: upstreams.iter().map(|name| connect_failures.with_label_values(&[name])).collect(),
            upstream_healthy: upstreams.iter().map(|name| healthy.with_label_values(&[name])).collect(),
            reloads_applied: reloads.with_label_values(&["applied"]),
            reloads_refused: reloads.with_label_values(&["refused"]),
            requests,
            counts_requests,
            revision,
            document_refused,
            log_lines_lost,
            control: Arc::new(ControlMetrics::new(registry)?),
        })
    }

    /// Counts a request that has ended.
    pub(crate) fn request_ended(&self, route: RouteId, side: Side, reason: Reason, end: RequestEnd) {
        if !self.counts_requests {
            return;
        }
        let route = &self.routes[route.index()];
        let metrics = &route.sides[side.index()];
        let class = status_class(end.status);
        let counter = metrics.requests[reason.index()][class].get_or_init(|| {
            let labels = [route.name.as_str(), side.as_str(), reason.as_str(), STATUS_CLASSES[class]];
            self.requests.with_label_values(&labels)
        });
        counter.inc();
        if end.status.is_none_or(|status| status >= 500) {
            metrics.errors.inc();
        }
        metrics.duration.observe(end.seconds);
    }

    /// The gauge of requests being served by one side of a route.
    pub(crate) fn in_flight(&self, route: RouteId, side: Side) -> Option<&IntGauge> {
        self.counts_requests.then(|| &self.routes[route.index()].sides[side.index()].in_flight)
    }

    pub(crate) fn refused(&self, refusal: Refusal) {
        self.refused[refusal as usize].inc();
    }

    pub(crate) fn fell_back(&self, route: RouteId) {
        self.routes[route.index()].fallbacks.inc();
    }

    pub(crate) fn rolled_back(&self, route: RouteId) {
        self.routes[route.index()].rollbacks.inc();
    }

    pub(crate) fn connect_failed(&self, upstream: UpstreamId) {
        self.connect_failures[upstream.index()].inc();
    }

    pub(crate) fn upstream_probed(&self, upstream: UpstreamId, healthy: bool) {
        self.upstream_healthy[upstream.index()].set(healthy.into());
    }

    pub(crate) fn document_read(&self, accepted: bool) {
        let outcome = if accepted { &self.reloads_applied } else { &self.reloads_refused };
        outcome.inc();
        self.document_refused.set((!accepted).into());
    }

    /// Shows the state that has come into force.
    pub(crate) fn state_changed(&self, snapshot: &Snapshot) {
        self.revision.set(i64::try_from(snapshot.revision()).unwrap_or(i64::MAX));
        for (index, route) in self.routes.iter().enumerate() {
            route.weight.set(snapshot.get(RouteId(index)).weight.percent());
        }
    }

    pub(crate) fn log_lines_lost(&self, lines: u64) {
        self.log_lines_lost.inc_by(lines);
    }

    /// How often a route fell back since the gateway started.
    #[must_use]
    pub fn fallbacks(&self, route: RouteId) -> u64 {
        self.routes[route.index()].fallbacks.get()
    }

    /// What one side of a route has done since the gateway started; `None` where requests are not counted.
    #[must_use]
    pub fn side_totals(&self, route: RouteId, side: Side) -> Option<SideTotals> {
        if !self.counts_requests {
            return None;
        }
        let metrics = &self.routes[route.index()].sides[side.index()];
        let sample = metrics.duration.metric();
        let histogram = sample.get_histogram();
        let buckets = histogram.get_bucket();
        Some(SideTotals {
            requests: histogram.get_sample_count(),
            errors: metrics.errors.get(),
            in_flight: metrics.in_flight.get(),
            latency: LatencyTotals {
                le_seconds: buckets.iter().map(|bucket| bucket.upper_bound()).collect(),
                counts: buckets.iter().map(|bucket| bucket.cumulative_count()).collect(),
                sum_seconds: histogram.get_sample_sum(),
            },
        })
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestEnd {
    /// The status of the answer, if there was one.
    pub(crate) status: Option<u16>,
    /// From its arrival to the end of its answer.
    pub(crate) seconds: f64,
}

fn counters(name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
    IntCounterVec::new(Opts::new(name, help), labels)
}

fn gauges(name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
    IntGaugeVec::new(Opts::new(name, help), labels)
}
