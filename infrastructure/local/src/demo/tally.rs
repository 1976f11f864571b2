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

/// What happened in a stretch of time.
#[derive(Clone, Default)]
pub(super) struct Tally {
    pub(super) legacy: SideTally,
    pub(super) candidate: SideTally,
    /// Why requests failed, on either side or on neither.
    pub(super) failures: Vec<String>,
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
                return self.failures.push(failure.why.clone());
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

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(key: usize, outcome: Result<(Side, u64), Failure>) -> Sample {
        Sample { key, is_call: true, started: Instant::now(), outcome }
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
