//! The table at the end: medians over the rounds, and differences and ratios within each round.

use std::{collections::BTreeMap, time::Duration};

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
            "{:<46} {:>8} {:>8} {:>8} {:>8} {:>8} {:>9} {:>9}",
            format!("32 connections, {} requests/s, 1 KiB answers", self.rate),
            "CPU us",
            "p50 us",
            "p99 us",
            "x off",
            "peak MiB",
            "compared",
            "dropped"
        );
        for name in &self.order {
            let rounds = &self.rounds[name];
            let median_of = |value: fn(&Round) -> f64| median(rounds.iter().map(value).collect());
            let off = self.rounds[if name.starts_with("nginx") { NGINX } else { OFF }].iter();
            let slower = rounds.iter().zip(off).map(|(one, off)| one.load.p99_us / off.load.p99_us).collect();
            println!(
                "{name:<46} {:>8.1} {:>8.0} {:>8.0} {:>8.2} {:>8.1} {:>8.1}% {:>8.1}%",
                median_of(Round::cpu_us),
                median_of(|round| round.load.p50_us),
                median_of(|round| round.load.p99_us),
                median(slower),
                median_of(|round| round.memory_bytes as f64 / f64::from(1 << 20)),
                median_of(|round| round.copies.compared as f64 * 100.0 / round.load.requests as f64),
                median_of(|round| round.copies.dropped as f64 * 100.0 / round.load.requests as f64),
            );
        }
        println!("CPU us for each copy that was sent, answered and (by the gateway) compared:");
        let mirror = self.of_a_copy(MIRROR, NGINX, |round| round.load.requests as f64);
        for name in [SAME, REORDERED] {
            let copy = self.of_a_copy(name, OFF, |round| round.copies.compared as f64);
            let ratios = copy.iter().zip(&mirror).map(|(copy, mirror)| copy / mirror).collect();
            println!("{name:<46} {:>8.1}   x nginx mirror {:.2}", median(copy), median(ratios));
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
