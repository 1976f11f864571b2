//! The table at the end: medians over the rounds, and differences and ratios within each round. A ratio comes with
//! the interval that holds its true value in 95 of 100 runs, so that a difference can be told from noise.

use std::{collections::BTreeMap, fmt, time::Duration};

use crate::{
    contender::{MIRROR, NGINX, OFF, REORDERED, SAME},
    copies::Copies,
    load::Load,
    median::median,
};

/// One contender in one round.
pub struct Round {
    pub load: Load,
    pub cpu: Duration,
    pub copies: Copies,
    pub memory_bytes: u64,
}

impl Round {
    fn cpu_us(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.load.requests as f64
    }
}

pub struct Report {
    rate: u32,
    order: Vec<&'static str>,
    rounds: BTreeMap<&'static str, Vec<Round>>,
}

impl Report {
    pub fn new(rate: u32, order: impl Iterator<Item = &'static str>) -> Self {
        Self { rate, order: order.collect(), rounds: BTreeMap::new() }
    }

    pub fn add(&mut self, name: &'static str, round: Round) {
        self.rounds.entry(name).or_default().push(round);
    }

    pub fn print(&self) {
        println!("{}", testkit::machine());
        println!(
            "{:<46} {:>8} {:>8} {:>8} {:>19} {:>8} {:>9} {:>9}",
            format!("32 connections, {} requests/s, 1 KiB answers", self.rate),
            "CPU us",
            "p50 us",
            "p99 us",
            "x off (95 %)",
            "peak MiB",
            "compared",
            "dropped"
        );
        for name in &self.order {
            let rounds = &self.rounds[name];
            let median_of = |value: fn(&Round) -> f64| median(rounds.iter().map(value).collect());
            let off = self.rounds[if name.starts_with("nginx") { NGINX } else { OFF }].iter();
            let slower: Vec<f64> = rounds.iter().zip(off).map(|(one, off)| one.load.p99_us / off.load.p99_us).collect();
            println!(
                "{name:<46} {:>8.1} {:>8.0} {:>8.0} {:>19} {:>8.1} {:>8.1}% {:>8.1}%",
                median_of(Round::cpu_us),
                median_of(|round| round.load.p50_us),
                median_of(|round| round.load.p99_us),
                Interval::of(&slower).to_string(),
                median_of(|round| round.memory_bytes as f64 / f64::from(1 << 20)),
                median_of(|round| round.copies.compared as f64 * 100.0 / round.load.requests as f64),
                median_of(|round| round.copies.dropped as f64 * 100.0 / round.load.requests as f64),
            );
        }
        println!("CPU us for each copy that was sent, answered and (by the gateway) compared:");
        let mirror = self.of_a_copy(MIRROR, NGINX, |round| round.load.requests as f64);
        for name in [SAME, REORDERED] {
            let copy = self.of_a_copy(name, OFF, |round| round.copies.compared as f64);
            let ratios: Vec<f64> = copy.iter().zip(&mirror).map(|(copy, mirror)| copy / mirror).collect();
            println!("{name:<46} {:>8.1}   x nginx mirror {}", median(copy), Interval::of(&ratios));
        }
        println!("{MIRROR:<46} {:>8.1}", median(mirror));
    }

    /// What a copy costs in each round: what is spent beyond the same program without copies.
    fn of_a_copy(&self, name: &str, without: &str, copies: fn(&Round) -> f64) -> Vec<f64> {
        let pairs = self.rounds[name].iter().zip(&self.rounds[without]);
        let cost = |(with, without): (&Round, &Round)| {
            (with.cpu_us() - without.cpu_us()) * with.load.requests as f64 / copies(with)
        };
        pairs.map(cost).collect()
    }
}

/// The geometric mean of ratios, and where the true one is with a probability of 95 %.
struct Interval {
    mean: f64,
    from: f64,
    to: f64,
}

impl Interval {
    fn of(ratios: &[f64]) -> Self {
        let logarithms: Vec<f64> = ratios.iter().map(|ratio| ratio.ln()).collect();
        let count = logarithms.len() as f64;
        let mean = logarithms.iter().sum::<f64>() / count;
        let squares: f64 = logarithms.iter().map(|one| (one - mean).powi(2)).sum();
        let freedom = count - 1.0;
        // Student's distribution at 97.5 %, by the series of Cornish and Fisher.
        let times = 1.96 + 2.372 / freedom + 2.823 / freedom.powi(2);
        let error = times * (squares / freedom / count).sqrt();
        Self { mean: mean.exp(), from: (mean - error).exp(), to: (mean + error).exp() }
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One round has no interval.
        if self.from.is_nan() {
            return write!(f, "{:.2}", self.mean);
        }
        write!(f, "{:.2} ({:.2} to {:.2})", self.mean, self.from, self.to)
    }
}
