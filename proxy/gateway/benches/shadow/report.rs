//! The table at the end. A ratio comes with the interval that holds its true value in 95 of 100 runs, so that a
//! difference can be told from noise: the percentile bootstrap over rounds (Efron, 1979), in which both sides of a ratio
//! are of the same rounds. Ratios of latencies are the middle one of those of all rounds: a machine that stands still for a
//! moment makes the p99 of that round, and would make that of all requests together. Where it does so in most rounds, these
//! ratios say little; so there is also the ratio of the middle ones of the p99 of each quarter of a second, most of which such
//! a moment spares. What happens in few of them is not in it, and is in the others.

use std::{collections::BTreeMap, fmt, time::Duration};

use hdrhistogram::Histogram;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::{
    contender::{MIRROR, NGINX, OFF, OFF_AGAIN, REORDERED, SAME},
    copies::Copies,
    load::Load,
    median::median,
};

/// Runs that the bootstrap draws.
const DRAWN: usize = 1_000;
/// A quarter of a second.
const QUARTER_US: u32 = 250_000;

/// One contender in one round.
pub struct Round {
    pub load: Load,
    pub cpu: Duration,
    pub copies: Copies,
    pub memory_bytes: u64,
}

/// What is kept of it.
struct Kept {
    latencies_us: Histogram<u64>,
    /// The p99 of each quarter of a second.
    quarters_us: Vec<f64>,
    requests: f64,
    cpu_us: f64,
    copies: Copies,
    memory_bytes: u64,
}

pub struct Report {
    rate: u32,
    order: Vec<&'static str>,
    rounds: BTreeMap<&'static str, Vec<Kept>>,
}

impl Report {
    pub fn new(rate: u32, order: impl Iterator<Item = &'static str>) -> Self {
        Self { rate, order: order.collect(), rounds: BTreeMap::new() }
    }

    pub fn add(&mut self, name: &'static str, round: &Round) -> anyhow::Result<()> {
        let mut latencies_us = no_latencies();
        let mut quarters: BTreeMap<u32, Histogram<u64>> = BTreeMap::new();
        for (due, latency) in &round.load.answered_us {
            latencies_us.record((*latency).into())?;
            quarters.entry(due / QUARTER_US).or_insert_with(no_latencies).record((*latency).into())?;
        }
        self.rounds.entry(name).or_default().push(Kept {
            latencies_us,
            quarters_us: quarters.values().map(|quarter| quarter.value_at_quantile(0.99) as f64).collect(),
            requests: round.load.requests() as f64,
            cpu_us: round.cpu.as_secs_f64() * 1e6,
            copies: round.copies,
            memory_bytes: round.memory_bytes,
        });
        Ok(())
    }

    pub fn print(&self) -> anyhow::Result<()> {
        println!("{}", testkit::machine());
        println!(
            "{:<46} {:>8} {:>8} {:>8} {:>8} {:>19} {:>19} {:>19} {:>8} {:>9} {:>9}",
            format!("32 connections, {} requests/s, 1 KiB answers", self.rate),
            "CPU us",
            "p50 us",
            "p95 us",
            "p99 us",
            "p95 x off (95 %)",
            "p99 x off (95 %)",
            "by quarters (95 %)",
            "peak MiB",
            "compared",
            "dropped"
        );
        let count = self.rounds.values().next().map_or(0, Vec::len);
        let all: Vec<usize> = (0..count).collect();
        for name in &self.order {
            let rounds = &self.rounds[name];
            let off: &[&str] = if name.starts_with("nginx") { &[NGINX] } else { &[OFF, OFF_AGAIN] };
            let slower = |quantile| move |rounds: &[usize]| self.slower(name, off, quantile, rounds);
            let share = |of: fn(&Copies) -> u64| {
                100.0 * rounds.iter().map(|one| of(&one.copies) as f64).sum::<f64>() / self.requests(name, &all)
            };
            println!(
                "{name:<46} {:>8.1} {:>8.0} {:>8.0} {:>8.0} {:>19} {:>19} {:>19} {:>8.1} {:>8.1}% {:>8.1}%",
                self.cpu_us(name, &all),
                self.latency(name, 0.5),
                self.latency(name, 0.95),
                self.latency(name, 0.99),
                Interval::of(count, slower(0.95)).to_string(),
                Interval::of(count, slower(0.99)).to_string(),
                Interval::of(count, |rounds| self.quarter(&[name], rounds) / self.quarter(off, rounds)).to_string(),
                median(rounds.iter().map(|one| one.memory_bytes as f64 / f64::from(1 << 20)).collect()),
                share(|copies| copies.compared),
                share(|copies| copies.dropped),
            );
        }
        if [SAME, REORDERED, NGINX, MIRROR].iter().any(|name| !self.rounds.contains_key(name)) {
            return Ok(());
        }
        println!("CPU us for each copy that was sent, answered and (by the gateway) compared:");
        for name in [SAME, REORDERED] {
            let ratio = |rounds: &[usize]| self.of_a_copy(name, OFF, rounds) / self.of_a_copy(MIRROR, NGINX, rounds);
            let copy = self.of_a_copy(name, OFF, &all);
            println!("{name:<46} {copy:>8.1}   x nginx mirror {}", Interval::of(count, ratio));
        }
        println!("{MIRROR:<46} {:>8.1}", self.of_a_copy(MIRROR, NGINX, &all));
        Ok(())
    }

    /// The middle one of all rounds, in microseconds.
    fn latency(&self, name: &str, quantile: f64) -> f64 {
        median(self.rounds[name].iter().map(|round| round.latencies_us.value_at_quantile(quantile) as f64).collect())
    }

    /// The middle one of these rounds' ratios to all requests of `than`.
    fn slower(&self, name: &str, than: &[&str], quantile: f64, rounds: &[usize]) -> f64 {
        let of = |names: &[&str], round: usize| {
            let all = names.iter().map(|name| &self.rounds[name][round].latencies_us);
            let all = all.cloned().reduce(|all, more| all + more);
            all.map_or(f64::NAN, |all| all.value_at_quantile(quantile) as f64)
        };
        median(rounds.iter().map(|round| of(&[name], *round) / of(than, *round)).collect())
    }

    /// The middle one of the p99 of each quarter of a second of these rounds, in microseconds.
    fn quarter(&self, names: &[&str], rounds: &[usize]) -> f64 {
        let each = names.iter().flat_map(|name| rounds.iter().map(|round| &self.rounds[*name][*round]));
        median(each.flat_map(|round| &round.quarters_us).copied().collect())
    }

    fn requests(&self, name: &str, rounds: &[usize]) -> f64 {
        rounds.iter().map(|round| self.rounds[name][*round].requests).sum()
    }

    /// Of one request.
    fn cpu_us(&self, name: &str, rounds: &[usize]) -> f64 {
        rounds.iter().map(|round| self.rounds[name][*round].cpu_us).sum::<f64>() / self.requests(name, rounds)
    }

    /// What a copy costs: what is spent beyond the same program without copies. nginx makes one of each request.
    fn of_a_copy(&self, name: &str, without: &str, rounds: &[usize]) -> f64 {
        let compared = |round: &usize| self.rounds[name][*round].copies.compared as f64;
        let requests = self.requests(name, rounds);
        let copies = if name == MIRROR { requests } else { rounds.iter().map(compared).sum() };
        (self.cpu_us(name, rounds) - self.cpu_us(without, rounds)) * requests / copies
    }
}

fn no_latencies() -> Histogram<u64> {
    Histogram::new(3).expect("three digits are no more than five")
}

/// A value, and where the true one is with a probability of 95 %.
struct Interval {
    value: f64,
    from: f64,
    to: f64,
}

impl Interval {
    /// Of what can be said of any choice of the `count` rounds.
    fn of(count: usize, of: impl Fn(&[usize]) -> f64) -> Self {
        // The same choices for each ratio, and in each evaluation of the same figures.
        let mut random = StdRng::seed_from_u64(1);
        let mut drawn = Vec::with_capacity(DRAWN);
        for _ in 0..DRAWN {
            let rounds: Vec<usize> = (0..count).map(|_| random.random_range(0..count)).collect();
            drawn.push(of(&rounds));
        }
        drawn.sort_by(f64::total_cmp);
        let at = |share: f64| drawn[(DRAWN as f64 * share) as usize];
        Self { value: of(&(0..count).collect::<Vec<_>>()), from: at(0.025), to: at(0.975) }
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} ({:.2} to {:.2})", self.value, self.from, self.to)
    }
}
