//! What came back, by side, by second and by step.

use std::{collections::HashMap, time::Instant};

use hdrhistogram::Histogram;

use super::platform::{Failure, Side};

/// One request that ended.
pub(super) struct Sample {
    /// Index of the function.
    pub(super) key: usize,
    /// A call of the function, as opposed to a read of its description.
    pub(super) is_call: bool,
    pub(super) started: Instant,
    pub(super) ended: Instant,
    /// The side and the latency in microseconds, or why it failed.
    pub(super) outcome: Result<(Side, u64), Failure>,
}

/// What one side did.
#[derive(Clone)]
pub(super) struct SideTally {
    /// Requests that were answered as they should be.
    pub(super) requests: u64,
    /// Requests that this side failed.
    pub(super) errors: u64,
    /// Latency of calls, in microseconds.
    calls_us: Histogram<u64>,
}

impl Default for SideTally {
    fn default() -> Self {
        // Up to a minute, three significant digits.
        Self {
            requests: 0,
            errors: 0,
            calls_us: Histogram::new_with_max(60_000_000, 3).expect("the bounds are in order"),
        }
    }
}

impl SideTally {
    pub(super) fn calls(&self) -> u64 {
        self.calls_us.len()
    }

    /// A quantile of the latency of calls, in milliseconds.
    pub(super) fn call_ms(&self, quantile: f64) -> Option<f64> {
        (!self.calls_us.is_empty()).then(|| self.calls_us.value_at_quantile(quantile) as f64 / 1_000.0)
    }
}

/// One request that failed.
#[derive(Clone)]
pub(super) struct Failed {
    pub(super) side: Option<Side>,
    pub(super) why: String,
    pub(super) ended: Instant,
}

/// What happened in a stretch of time.
#[derive(Clone, Default)]
pub(super) struct Tally {
    pub(super) legacy: SideTally,
    pub(super) candidate: SideTally,
    /// Requests that failed, on either side or on neither.
    pub(super) failures: Vec<Failed>,
    /// The side that last served each key.
    pub(super) side_of_key: HashMap<usize, Side>,
    /// Keys that were served by both sides, which a split that is sticky never does.
    pub(super) keys_on_both_sides: usize,
}

impl Tally {
    pub(super) fn add(&mut self, sample: &Sample) {
        let (side, latency_us) = match &sample.outcome {
            Ok(served) => *served,
            Err(failure) => {
                if let Some(side) = failure.side {
                    self.side(side).errors += 1;
                }
                let Failure { side, why } = failure.clone();
                return self.failures.push(Failed { side, why, ended: sample.ended });
            }
        };
        let tally = self.side(side);
        tally.requests += 1;
        if sample.is_call {
            tally.calls_us.saturating_record(latency_us);
        }
        if self.side_of_key.insert(sample.key, side).is_some_and(|before| before != side) {
            self.keys_on_both_sides += 1;
        }
    }

    fn side(&mut self, side: Side) -> &mut SideTally {
        match side {
            Side::Legacy => &mut self.legacy,
            Side::Candidate => &mut self.candidate,
        }
    }

    pub(super) fn requests(&self) -> u64 {
        self.legacy.requests + self.candidate.requests + self.failures.len() as u64
    }

    /// Keys seen, and how many of them on the candidate.
    pub(super) fn keys(&self) -> (usize, usize) {
        let on_candidate = self.side_of_key.values().filter(|side| **side == Side::Candidate).count();
        (self.side_of_key.len(), on_candidate)
    }

    /// Share of keys seen on the candidate, in percent.
    pub(super) fn observed_percent(&self) -> Option<f64> {
        let (keys, on_candidate) = self.keys();
        (keys > 0).then(|| on_candidate as f64 * 100.0 / keys as f64)
    }
}

/// Sees to it that no key goes back to legacy while percentages only rise.
#[derive(Default)]
pub(super) struct Ratchet {
    /// When the candidate had first served a key, by whether it was called or read: those are two routes.
    on_candidate: HashMap<(usize, bool), Instant>,
    /// Requests that went to legacy although an earlier one of their key was on the candidate.
    pub(super) went_back: u64,
}

impl Ratchet {
    pub(super) fn add(&mut self, sample: &Sample) {
        let Ok((side, _)) = sample.outcome else { return };
        let key = (sample.key, sample.is_call);
        match (side, self.on_candidate.get(&key)) {
            (Side::Candidate, None) => {
                self.on_candidate.insert(key, sample.ended);
            }
            // Of two that overlap, either may have been decided first.
            (Side::Legacy, Some(since)) if sample.started > *since => self.went_back += 1,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_goes_back_is_noticed() {
        let start = Instant::now();
        let after = |ms| start + std::time::Duration::from_millis(ms);
        let mut ratchet = Ratchet::default();
        let mut went_back_after = |key, is_call, side, from, to| {
            let outcome = Ok((side, 1));
            ratchet.add(&Sample { key, is_call, started: after(from), ended: after(to), outcome });
            ratchet.went_back
        };
        assert_eq!(went_back_after(1, true, Side::Legacy, 0, 10), 0);
        assert_eq!(went_back_after(1, true, Side::Candidate, 20, 40), 0);
        assert_eq!(went_back_after(1, true, Side::Legacy, 30, 60), 0, "they overlap");
        assert_eq!(went_back_after(1, false, Side::Legacy, 50, 60), 0, "another route");
        assert_eq!(went_back_after(2, true, Side::Legacy, 50, 60), 0, "another key");
        assert_eq!(went_back_after(1, true, Side::Legacy, 50, 60), 1);
    }

    fn sample(key: usize, outcome: Result<(Side, u64), Failure>) -> Sample {
        Sample { key, is_call: true, started: Instant::now(), ended: Instant::now(), outcome }
    }

    #[test]
    fn every_request_is_counted_once() {
        let mut tally = Tally::default();
        tally.add(&sample(1, Ok((Side::Legacy, 30_000))));
        tally.add(&sample(2, Ok((Side::Candidate, 1_000))));
        tally.add(&sample(1, Ok((Side::Candidate, 1_000))));
        tally.add(&sample(3, Err(Failure::of(None, "no answer"))));
        tally.add(&sample(4, Err(Failure::of(Some(Side::Candidate), "status 500"))));
        assert_eq!(tally.requests(), 5);
        assert_eq!((tally.legacy.errors, tally.candidate.errors, tally.failures.len()), (0, 1, 2));
        assert_eq!(tally.keys(), (2, 2));
        assert_eq!(tally.keys_on_both_sides, 1);
        let p50 = tally.legacy.call_ms(0.5).expect("a call");
        assert!((29.9..30.1).contains(&p50), "{p50}");
    }
}
