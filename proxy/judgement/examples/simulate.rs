//! Plays whole ramps against the guard and prints how often it was wrong, and how soon it was right.
//!
//! `cargo run --release -p judgement --example simulate [RAMPS] [SEED]`

#![allow(clippy::print_stdout)]

use std::{env, time::Duration};

use judgement::{Bounds, Guard, Outcome, Sample, Side, Verdict};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

/// Steps of a ramp: the share on the candidate, and how many pairs of requests end it.
const STEPS: [(f64, u64); 6] = [(0.01, 500), (0.05, 1_000), (0.1, 2_000), (0.25, 2_000), (0.5, 2_000), (0.9, 1_000)];

/// Defects are counted on to this many requests of the candidate.
const PATIENCE: u64 = 400_000;

/// How a side behaves at a point of a ramp, from 0 to 1.
#[derive(Clone, Copy)]
struct Behaviour {
    failed: fn(f64) -> f64,
    refused: f64,
    /// Times the usual latency, which is log-normal around 20 ms.
    slowness: f64,
    mismatched: f64,
}

const USUAL: Behaviour = Behaviour { failed: |_| 0.01, refused: 0.03, slowness: 1.0, mismatched: 0.0 };

fn normal(rng: &mut StdRng) -> f64 {
    let (a, b): (f64, f64) = (rng.random_range(f64::MIN_POSITIVE..1.0), rng.random());
    (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}

fn sample(rng: &mut StdRng, side: Behaviour, at: f64) -> Sample {
    let chance: f64 = rng.random();
    let failed = (side.failed)(at);
    let outcome = match chance {
        _ if chance < failed => Outcome::Failed,
        _ if chance < failed + side.refused => Outcome::Refused,
        _ => Outcome::Good,
    };
    let latency = Duration::from_secs_f64(0.020 * side.slowness * (0.5 * normal(rng)).exp());
    Sample { outcome, latency, key: Some(rng.random()) }
}

/// The request of the candidate at which the guard rolled back, of so many in the whole ramp.
fn ramp(rng: &mut StdRng, bounds: &Bounds, legacy: Behaviour, candidate: Behaviour) -> (Option<u64>, u64) {
    let mut guard = Guard::new(bounds.clone());
    let (mut requests, mut now) = (0, Duration::ZERO);
    for (number, (weight, pairs)) in STEPS.into_iter().enumerate() {
        guard.begin_step();
        while guard.verdict(pairs) != Verdict::Continue {
            now += Duration::from_millis(1);
            #[expect(clippy::cast_precision_loss, reason = "a few steps")]
            let at = number as f64 / STEPS.len() as f64;
            let on_candidate = rng.random_bool(weight);
            let verdict = if on_candidate {
                requests += 1;
                let compared = rng.random_bool(candidate.mismatched);
                let request = sample(rng, candidate, at);
                match guard.observe(Side::Candidate, request, now) {
                    Verdict::RollBack(reason) => Verdict::RollBack(reason),
                    _ => guard.observe_comparison(compared),
                }
            } else {
                let request = sample(rng, legacy, at);
                guard.observe(Side::Legacy, request, now)
            };
            if let Verdict::RollBack(_) = verdict {
                return (Some(requests), requests);
            }
        }
    }
    (None, requests)
}

/// The request of the candidate, from the defect on, at which the guard rolled back at this weight.
fn until_stopped(rng: &mut StdRng, weight: f64, good_before: u64, candidate: Behaviour) -> u64 {
    let mut guard = Guard::new(Bounds::default());
    let (mut requests, mut now) = (0, Duration::ZERO);
    loop {
        now += Duration::from_millis(1);
        let verdict = if rng.random_bool(weight) {
            requests += 1;
            let behaviour = if requests <= good_before { USUAL } else { candidate };
            let request = sample(rng, behaviour, 0.0);
            let compared = rng.random_bool(behaviour.mismatched);
            match guard.observe(Side::Candidate, request, now) {
                Verdict::RollBack(reason) => Verdict::RollBack(reason),
                _ => guard.observe_comparison(compared),
            }
        } else {
            guard.observe(Side::Legacy, sample(rng, USUAL, 0.0), now)
        };
        if matches!(verdict, Verdict::RollBack(_)) || requests >= PATIENCE {
            return requests.saturating_sub(good_before);
        }
    }
}

/// The interval in which the true rate lies with 95 % (Wilson 1927).
#[expect(clippy::cast_precision_loss, reason = "thousands")]
fn wilson(hits: u64, of: u64) -> (f64, f64) {
    let (n, z) = (of as f64, 1.96);
    let (share, square) = (hits as f64 / n, z * z);
    let middle = (share + square / (2.0 * n)) / (1.0 + square / n);
    let half = z / (1.0 + square / n) * (share * (1.0 - share) / n + square / (4.0 * n * n)).sqrt();
    ((middle - half).max(0.0), middle + half)
}

fn false_alarms(ramps: u64, rng: &mut StdRng) {
    let edge = Behaviour { failed: |_| 0.012, ..USUAL };
    let wave: fn(f64) -> f64 = |at| if (0.3..0.6).contains(&at) { 0.15 } else { 0.01 };
    let cases = [
        ("equal sides", USUAL, USUAL),
        (
            "candidate at the edge of every margin",
            USUAL,
            Behaviour { refused: 0.08, slowness: 1.12, mismatched: 0.0002, ..edge },
        ),
        ("both fail 15 % for two steps", Behaviour { failed: wave, ..USUAL }, Behaviour { failed: wave, ..USUAL }),
        (
            "nothing ever fails",
            Behaviour { failed: |_| 0.0, refused: 0.0, ..USUAL },
            Behaviour { failed: |_| 0.0, refused: 0.0, ..USUAL },
        ),
    ];
    println!("| no worse than allowed | ramps | false alarms | 95 % interval |\n|---|---|---|---|");
    for (name, legacy, candidate) in cases {
        let wrong = (0..ramps).filter(|_| ramp(rng, &Bounds::default(), legacy, candidate).0.is_some()).count() as u64;
        let (low, high) = wilson(wrong, ramps);
        println!("| {name} | {ramps} | {wrong} | {:.2} to {:.2} % |", low * 100.0, high * 100.0);
    }
}

fn detections(runs: usize, rng: &mut StdRng) {
    let cases = [
        ("fails every request", Behaviour { failed: |_| 1.0, ..USUAL }),
        ("fails 20 % against 1 %", Behaviour { failed: |_| 0.2, ..USUAL }),
        ("fails 5 % against 1 %", Behaviour { failed: |_| 0.05, ..USUAL }),
        ("fails 2 % against 1 %", Behaviour { failed: |_| 0.02, ..USUAL }),
        ("refuses every request", Behaviour { refused: 0.99, ..USUAL }),
        ("latency times 1.5", Behaviour { slowness: 1.5, ..USUAL }),
        ("one answer of 500 differs", Behaviour { mismatched: 0.002, ..USUAL }),
    ];
    println!(
        "\n| defect | at | from the start: median | 95th | after 10,000 good requests: median | 95th |\n|---|---|---|---|---|---|"
    );
    for (name, candidate) in cases {
        for weight in [0.05, 0.5] {
            let mut figures = Vec::new();
            for good_before in [0, 10_000] {
                let mut counts: Vec<u64> =
                    (0..runs).map(|_| until_stopped(rng, weight, good_before, candidate)).collect();
                counts.sort_unstable();
                figures.extend([counts[runs / 2], counts[runs * 95 / 100]]);
            }
            let figures: Vec<String> = figures.iter().map(u64::to_string).collect();
            println!("| {name} | {} % | {} |", weight * 100.0, figures.join(" | "));
        }
    }
}

fn main() {
    let number = |index, default| env::args().nth(index).and_then(|text| text.parse().ok()).unwrap_or(default);
    let (ramps, seed) = (number(1, 2_000), number(2, 4));
    let mut rng = StdRng::seed_from_u64(seed);
    false_alarms(ramps, &mut rng);
    detections(301, &mut rng);
}
