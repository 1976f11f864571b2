//! Times, and the lines that show them.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// Times of one thing, to the nanosecond.
pub struct Times(Histogram<u64>);

impl Times {
    pub fn new() -> Self {
        Self(Histogram::new_with_max(120_000_000_000, 3).unwrap())
    }

    pub fn add(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    pub fn add_since(&mut self, start: Instant) {
        self.add(start.elapsed());
    }

    pub fn add_all(&mut self, other: &Self) {
        self.0.add(&other.0).unwrap();
    }

    pub fn reset(&mut self) {
        self.0.reset();
    }

    pub fn count(&self) -> u64 {
        self.0.len()
    }

    pub fn ms(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1e6
    }

    /// How many times longer this takes than the other.
    pub fn ratio(&self, other: &Self, quantile: f64) -> f64 {
        self.ms(quantile) / other.ms(quantile)
    }
}

/// The head of a table of times.
pub fn head(what: &str) {
    println!("\n{what:<52} {:>6} {:>10} {:>10}", "n", "p50 ms", "p99 ms");
}

/// One of its lines.
pub fn line(name: &str, times: &Times) {
    println!("{name:<52} {:>6} {:>10.3} {:>10.3}", times.count(), times.ms(0.5), times.ms(0.99));
}
