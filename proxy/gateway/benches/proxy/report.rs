//! The table at the end: medians over the rounds, and ratios within each round.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    contender::{BARE, MEASURED_BESIDE_UNCOUNTED, UNCOUNTED},
    load::Load,
    median::median,
};

struct Round {
    cpu_us: f64,
    requests_a_second: f64,
    p50_us: f64,
    p99_us: f64,
    memory_bytes: u64,
}

pub struct Report {
    order: Vec<&'static str>,
    rounds: BTreeMap<&'static str, Vec<Round>>,
}

impl Report {
    pub fn new(order: impl Iterator<Item = &'static str>) -> Self {
        Self { order: order.collect(), rounds: BTreeMap::new() }
    }

    pub fn add(&mut self, name: &'static str, load: Load, cpu: Duration, memory_bytes: u64) {
        self.rounds.entry(name).or_default().push(Round {
            cpu_us: cpu.as_secs_f64() * 1e6 / load.requests as f64,
            requests_a_second: load.requests as f64 / load.seconds,
            p50_us: load.p50_us,
            p99_us: load.p99_us,
            memory_bytes,
        });
    }

    pub fn print(&self) {
        println!("{}", testkit::machine());
        println!(
            "{:<46} {:>9} {:>10} {:>9} {:>9} {:>9} {:>9}",
            "32 connections, 1 KiB answers", "CPU us", "x bare", "req/s", "p50 us", "p99 us", "peak MiB"
        );
        for name in &self.order {
            let median_of = |value: fn(&Round) -> f64| median(self.rounds[name].iter().map(value).collect());
            println!(
                "{name:<46} {:>9.1} {:>10.2} {:>9.0} {:>9.0} {:>9.0} {:>9.1}",
                median_of(|round| round.cpu_us),
                self.cpu_ratio(name, BARE),
                median_of(|round| round.requests_a_second),
                median_of(|round| round.p50_us),
                median_of(|round| round.p99_us),
                median_of(|round| round.memory_bytes as f64 / f64::from(1 << 20)),
            );
        }
        println!("CPU x {UNCOUNTED}:");
        for name in MEASURED_BESIDE_UNCOUNTED {
            println!("{name:<46} {:>9.2}", self.cpu_ratio(name, UNCOUNTED));
        }
    }

    /// The middle of the ratios of all rounds.
    fn cpu_ratio(&self, name: &str, to: &str) -> f64 {
        let pairs = self.rounds[name].iter().zip(&self.rounds[to]);
        median(pairs.map(|(one, other)| one.cpu_us / other.cpu_us).collect())
    }
}
