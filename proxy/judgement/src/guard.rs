//! The judge of one route: takes in how each request ended, and says when it is enough.

use std::{fmt, time::Duration};

use serde::Serialize;

use crate::{
    betting::EProcess,
    bounds::Bounds,
    bursts::Bursts,
    evidence::{Evidence, MetricEvidence, SideCounts},
    metric::Metric,
    pairing::{Pair, Pairing},
    quantile::RunningQuantile,
};

/// The old side or the new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The old side.
    Legacy,
    /// The new side.
    Candidate,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// As it should, for all that can be seen.
    Good,
    /// The side refused it: a client error.
    Refused,
    /// The side failed: a server error, a timeout, a broken connection.
    Failed,
}

/// A request that a side has served or should have served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// How it ended.
    pub outcome: Outcome,
    /// From the choice of the side to the header of its answer.
    pub latency: Duration,
    /// A hash of the request's key, if it has one.
    pub key: Option<u64>,
}

/// What follows from the evidence.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Nothing speaks against the candidate, and there was enough to see.
    Continue,
    /// The candidate is worse than it may be.
    RollBack(Reason),
    /// Neither: too little was seen.
    NoData,
}

/// Why a candidate is rolled back.
#[derive(Debug, Clone, PartialEq)]
pub struct Reason {
    /// The test that found it.
    pub metric: Metric,
    /// Its e-value.
    pub e_value: f64,
    /// The bound that it reached.
    pub bound: f64,
    /// What was seen, in words.
    pub seen: String,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { metric, e_value, bound, seen } = self;
        write!(f, "{metric}: {seen} (e-value {e_value:.0}, bound {bound:.0})")
    }
}

/// The shares at which legacy's latency is looked at.
const SHARES: [f64; 2] = [0.5, 0.95];

/// The judge of one route. See the crate for what it tests, and on what assumptions.
#[derive(Debug, Clone)]
pub struct Guard {
    bounds: Bounds,
    tests: [EProcess; Metric::ALL.len()],
    pairing: Pairing,
    bursts: Bursts,
    baseline: [RunningQuantile; SHARES.len()],
    /// Pairs with a slower answer than the baseline: of legacy, of the candidate.
    slower: [[u64; 2]; SHARES.len()],
    step: Counts,
    whole: Counts,
    found: Option<Reason>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    legacy: SideCounts,
    candidate: SideCounts,
    pairs: u64,
    comparisons: u64,
    mismatches: u64,
}

impl Guard {
    /// A guard that has seen nothing, with bounds that have no [`Bounds::problems`].
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        let tests = Metric::ALL.map(|metric| EProcess::new(largest_loss(metric, &bounds)));
        Self {
            tests,
            pairing: Pairing::new(bounds.fresh),
            bursts: Bursts::new(bounds.bad_per_key, bounds.key_window),
            baseline: SHARES.map(RunningQuantile::new),
            slower: [[0; 2]; SHARES.len()],
            step: Counts::default(),
            whole: Counts::default(),
            found: None,
            bounds,
        }
    }

    /// The e-value at which a test rolls back: one over its share of `alpha`.
    #[must_use]
    pub fn bound(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a handful")]
        let tests = Metric::ALL.len() as f64;
        tests * f64::from(self.bounds.guards) / self.bounds.alpha
    }

    /// Takes in how a request ended, at this time on a clock that never goes back. What it returns is
    /// [`Verdict::RollBack`] from the request on that was one too many.
    pub fn observe(&mut self, side: Side, sample: Sample, now: Duration) -> Verdict {
        let bad = sample.outcome != Outcome::Good;
        if bad && sample.key.is_some_and(|key| !self.bursts.counts(key, now)) {
            return self.verdict(0);
        }
        for counts in [&mut self.step, &mut self.whole] {
            counts.side(side).add(sample.outcome);
        }
        if side == Side::Candidate {
            self.bet(Metric::ErrorRate, share(sample.outcome == Outcome::Failed) - self.bounds.error_rate);
        }
        if let Some(pair) = self.pairing.add(side, sample, now) {
            self.step.pairs += 1;
            self.whole.pairs += 1;
            self.compare(&pair);
        }
        self.verdict(0)
    }

    /// Takes in whether the answers of both sides to a request differed.
    pub fn observe_comparison(&mut self, different: bool) -> Verdict {
        for counts in [&mut self.step, &mut self.whole] {
            counts.comparisons += 1;
            counts.mismatches += u64::from(different);
        }
        self.bet(Metric::Mismatches, share(different) - self.bounds.mismatch_rate);
        self.verdict(0)
    }

    /// What follows, when less than so many pairs in this step are too little.
    #[must_use]
    pub fn verdict(&self, least_pairs: u64) -> Verdict {
        match &self.found {
            Some(reason) => Verdict::RollBack(reason.clone()),
            None if self.step.pairs >= least_pairs.max(1) => Verdict::Continue,
            None => Verdict::NoData,
        }
    }

    /// Another step begins: its counts are new, the tests go on.
    pub fn begin_step(&mut self) {
        self.step = Counts::default();
    }

    /// What is known.
    #[must_use]
    pub fn evidence(&self) -> Evidence {
        let Counts { legacy, candidate, pairs, comparisons, mismatches } = self.step;
        let metric = |(metric, test): (Metric, &EProcess)| MetricEvidence {
            metric,
            e_value: test.e_value(),
            looks: test.looks(),
        };
        Evidence {
            legacy,
            candidate,
            pairs,
            pairs_in_all: self.whole.pairs,
            comparisons,
            mismatches,
            bound: self.bound(),
            metrics: Metric::ALL.into_iter().zip(&self.tests).map(metric).collect(),
            baseline_ms: [self.baseline[0].get(), self.baseline[1].get()],
        }
    }

    fn compare(&mut self, pair: &Pair) {
        let excess = |bad: Outcome| share(pair.candidate.outcome == bad) - share(pair.legacy.outcome == bad);
        let (failed, refused) = (excess(Outcome::Failed), excess(Outcome::Refused));
        self.bet(Metric::Errors, failed - self.bounds.error_margin);
        self.bet(Metric::Refusals, refused - self.bounds.refusal_margin);
        if pair.legacy.outcome != Outcome::Good || pair.candidate.outcome != Outcome::Good {
            // A failure that comes fast is not a fast answer.
            return;
        }
        let [legacy, candidate] = [pair.legacy, pair.candidate].map(|sample| sample.latency.as_secs_f64() * 1e3);
        let margins = [self.bounds.median_margin, self.bounds.tail_margin];
        for (index, metric) in [Metric::Median, Metric::Tail].into_iter().enumerate() {
            // As it was before this pair: a bet is placed before the outcome is known.
            if let Some(baseline) = self.baseline[index].get() {
                let slower = [legacy > baseline, candidate > baseline];
                for (count, slower) in self.slower[index].iter_mut().zip(slower) {
                    *count += u64::from(slower);
                }
                self.bet(metric, share(slower[1]) - share(slower[0]) - margins[index]);
            }
            self.baseline[index].observe(legacy);
        }
    }

    fn bet(&mut self, metric: Metric, observation: f64) {
        let test = &mut self.tests[metric as usize];
        test.observe(observation);
        let e_value = test.e_value();
        if e_value >= self.bound() && self.found.is_none() {
            self.found = Some(Reason { metric, e_value, bound: self.bound(), seen: self.seen(metric) });
        }
    }

    /// What speaks against the candidate, in words.
    fn seen(&self, metric: Metric) -> String {
        let Counts { legacy, candidate, comparisons, mismatches, .. } = self.whole;
        let of = |side: SideCounts, bad: u64| format!("{bad} of {} requests", side.requests);
        let slower = |index: usize, share: &str| {
            let [legacy, candidate] = self.slower[index];
            let looks = self.tests[metric as usize].looks();
            let baseline = self.baseline[index].get().unwrap_or_default();
            format!(
                "{candidate} of {looks} answers of the candidate took longer than legacy's {share} ({baseline:.1} ms), \
                 against {legacy} of legacy"
            )
        };
        match metric {
            Metric::Errors | Metric::ErrorRate => format!(
                "the candidate failed {}, legacy {}",
                of(candidate, candidate.failed),
                of(legacy, legacy.failed)
            ),
            Metric::Refusals => format!(
                "the candidate refused {}, legacy {}",
                of(candidate, candidate.refused),
                of(legacy, legacy.refused)
            ),
            Metric::Median => slower(0, "median"),
            Metric::Tail => slower(1, "95th percentile"),
            Metric::Mismatches => format!("{mismatches} of {comparisons} compared answers differed"),
        }
    }
}

impl Counts {
    fn side(&mut self, side: Side) -> &mut SideCounts {
        match side {
            Side::Legacy => &mut self.legacy,
            Side::Candidate => &mut self.candidate,
        }
    }
}

impl SideCounts {
    fn add(&mut self, outcome: Outcome) {
        self.requests += 1;
        self.failed += u64::from(outcome == Outcome::Failed);
        self.refused += u64::from(outcome == Outcome::Refused);
    }
}

/// The lowest that an observation can be, without its sign.
fn largest_loss(metric: Metric, bounds: &Bounds) -> f64 {
    match metric {
        Metric::Errors => 1.0 + bounds.error_margin,
        Metric::ErrorRate => bounds.error_rate,
        Metric::Refusals => 1.0 + bounds.refusal_margin,
        Metric::Median => 1.0 + bounds.median_margin,
        Metric::Tail => 1.0 + bounds.tail_margin,
        Metric::Mismatches => bounds.mismatch_rate,
    }
}

fn share(is: bool) -> f64 {
    f64::from(u8::from(is))
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
