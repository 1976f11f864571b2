//! Whether a request that failed is sent again.
//!
//! Only a request that may have been carried out twice without harm is: an idempotent method (RFC 9110,
//! section 9.2.2), its whole body still at hand, nothing of an answer with the client yet. What was
//! provably not sent, or not looked at, is repeated whatever its method.

use std::time::Duration;

use http::Method;

use super::{FailureKind, FailureKinds};

/// How a route repeats requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How often one request is repeated, at most.
    pub attempts: u32,
    /// After which failures.
    pub on: FailureKinds,
    /// For which methods; all of them idempotent.
    pub methods: Vec<Method>,
    /// The longest pause before the first repetition; twice as long before each next.
    pub backoff: Duration,
    /// The longest pause of all.
    pub backoff_max: Duration,
}

/// A failed try.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FailedTry<'a> {
    pub(crate) kind: FailureKind,
    pub(crate) method: &'a Method,
    /// How often the request has been repeated already.
    pub(crate) repeated: u32,
    /// The body can be sent from its start again.
    pub(crate) replayable: bool,
    /// The client has got a part of an answer.
    pub(crate) answer_begun: bool,
}

impl RetryPolicy {
    /// Whether this policy repeats the request. The budget has its say afterwards.
    pub(crate) fn repeats(&self, failed: FailedTry<'_>) -> bool {
        let harmless = failed.kind == FailureKind::Connect || self.methods.contains(failed.method);
        harmless
            && failed.replayable
            && !failed.answer_begun
            && failed.repeated < self.attempts
            && self.on.contains(failed.kind)
    }

    /// How long to wait before a request that has been repeated so often is again. `random` is from 0
    /// to 1: with the whole pause left to chance, those who failed together come back apart.
    pub(crate) fn pause(&self, repeated: u32, random: f64) -> Duration {
        let doubled = 1_u32.checked_shl(repeated).unwrap_or(u32::MAX);
        self.backoff.saturating_mul(doubled).min(self.backoff_max).mul_f64(random.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> RetryPolicy {
        RetryPolicy {
            attempts: 2,
            on: FailureKinds::new([FailureKind::Connect, FailureKind::Status(503)]),
            methods: vec![Method::GET, Method::PUT],
            backoff: Duration::from_millis(20),
            backoff_max: Duration::from_millis(50),
        }
    }

    #[test]
    fn only_what_can_do_no_harm_is_repeated() {
        let (get, post) = (Method::GET, Method::POST);
        let good = FailedTry {
            kind: FailureKind::Status(503),
            method: &get,
            repeated: 1,
            replayable: true,
            answer_begun: false,
        };
        assert!(policy().repeats(good));
        for bad in [
            FailedTry { kind: FailureKind::Status(500), ..good },
            FailedTry { kind: FailureKind::Timeout, ..good },
            FailedTry { method: &post, ..good },
            FailedTry { repeated: 2, ..good },
            FailedTry { replayable: false, ..good },
            FailedTry { answer_begun: true, ..good },
        ] {
            assert!(!policy().repeats(bad), "{bad:?}");
        }
        let unsent = FailedTry { kind: FailureKind::Connect, method: &post, ..good };
        assert!(policy().repeats(unsent), "nothing was sent, so the method does not matter");
    }

    #[test]
    fn pauses_grow_up_to_the_longest() {
        let longest: Vec<_> = (0..5).map(|repeated| policy().pause(repeated, 1.0).as_millis()).collect();
        assert_eq!(longest, [20, 40, 50, 50, 50]);
        assert_eq!(policy().pause(40, 0.0), Duration::ZERO);
    }
}
