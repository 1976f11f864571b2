//! Where a comparison goes when it is made: to whoever keeps mismatches, judges the candidate, or reads the log.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use comparison::{Answer, Comparison, Difference, Rules};
use pingora::http::RequestHeader;
use telemetry::TraceContext;

use super::{
    outcome::Outcome,
    shadowed_route::ShadowedRoute,
    store::{Evidence, Mismatch, Mismatches},
};
use crate::decision::Side;

/// How many differences a line of the log names.
const LOGGED_DIFFERENCES: usize = 3;

/// A request whose two answers have been compared.
pub(super) struct Finished<'a> {
    pub(super) route: &'a ShadowedRoute,
    /// What it was compared by.
    pub(super) rules: &'a Rules,
    pub(super) served_by: Side,
    pub(super) request: (&'a RequestHeader, &'a [u8]),
    /// Of legacy, then of the candidate.
    pub(super) answers: [Answer<'a>; 2],
    pub(super) comparison: &'a Comparison,
    /// The span of the request that was served, then that of its copy.
    pub(super) spans: [TraceContext; 2],
}

impl Finished<'_> {
    /// Tells everyone. On the threads of shadowing, so nobody's request waits for it.
    pub(super) fn hand_on(&self, mismatches: &Mismatches) -> Outcome {
        let outcome = Outcome::from(self.comparison.outcome);
        if outcome == Outcome::Different {
            mismatches.keep(self.mismatch(mismatches.body_limit()));
            self.tell();
        }
        outcome
    }

    fn tell(&self) {
        let [served, copied] = self.spans;
        self.route.metrics.differed(served);
        if let Some(unsaid) = self.route.mismatches.may_say(SystemTime::now()) {
            tracing::warn!(
                route = %self.route.name, served_by = self.served_by.as_str(), trace_id = %served.trace_id(),
                served_span_id = %served.span_id(), copied_span_id = %copied.span_id(),
                differences = %Listed(&self.comparison.differences), unsaid, "the two sides answered differently"
            );
        }
    }

    fn mismatch(&self, body_limit: usize) -> Mismatch {
        let ((head, body), [legacy, candidate], [served, copied]) = (self.request, self.answers, self.spans);
        let evidence = Evidence {
            route: &self.route.name,
            template: &self.route.template,
            served_by: self.served_by.as_str(),
            trace_id: served.trace_id().to_string(),
            span_ids: [served.span_id().to_string(), copied.span_id().to_string()],
            method: head.method.as_str(),
            target: head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str),
            headers: &head.headers,
            body,
            legacy,
            candidate,
            comparison: self.comparison,
        };
        Mismatch::of(evidence, self.rules, body_limit)
    }
}

struct Listed<'a>(&'a [Difference]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, difference) in self.0.iter().take(LOGGED_DIFFERENCES).enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{} at {}", difference.kind, difference.path.as_str())?;
        }
        let more = self.0.len().saturating_sub(LOGGED_DIFFERENCES);
        if more > 0 { write!(f, " and {more} more") } else { Ok(()) }
    }
}

/// Lets one mismatch of a route into the log each second. The others are counted, stored and in the metrics.
#[derive(Default)]
pub(super) struct MismatchLog {
    said_s: AtomicU64,
    unsaid: AtomicU64,
}

impl MismatchLog {
    /// Whether this one may be said, and then how many were not since the last.
    fn may_say(&self, now: SystemTime) -> Option<u64> {
        let now_s = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if self.said_s.swap(now_s, Ordering::Relaxed) == now_s {
            self.unsaid.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.unsaid.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn one_mismatch_a_second_is_said() {
        let log = MismatchLog::default();
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!([log.may_say(at(5)), log.may_say(at(5)), log.may_say(at(5))], [Some(0), None, None]);
        assert_eq!([log.may_say(at(6)), log.may_say(at(6)), log.may_say(at(9))], [Some(2), None, Some(1)]);
    }
}
