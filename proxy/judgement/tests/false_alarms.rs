//! Ville's inequality, seen from outside: a smaller edition of `examples/simulate.rs`.

#![allow(missing_docs)]

use std::time::Duration;

use judgement::{Bounds, Guard, Outcome, Sample, Side, Verdict};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

const RAMPS: u32 = 300;
const PAIRS: u64 = 3_000;

fn sample(rng: &mut StdRng, failed: f64, refused: f64) -> Sample {
    let chance: f64 = rng.random();
    let outcome = match chance {
        _ if chance < failed => Outcome::Failed,
        _ if chance < failed + refused => Outcome::Refused,
        _ => Outcome::Good,
    };
    Sample { outcome, latency: Duration::from_micros(rng.random_range(1_000..20_000)), key: None }
}

/// A candidate that is exactly as bad as it may be, looked at after every request.
#[test]
fn whole_ramps_at_the_edge_of_the_margins_end_in_false_alarm_less_often_than_the_bound() {
    let bounds = Bounds { alpha: 0.05, ..Bounds::default() };
    let mut rng = StdRng::seed_from_u64(4);
    let mut alarms = 0;
    for _ in 0..RAMPS {
        let mut guard = Guard::new(bounds.clone());
        let alarm = (0..PAIRS).any(|number| {
            let now = Duration::from_millis(number);
            guard.observe(Side::Legacy, sample(&mut rng, 0.01, 0.03), now);
            let candidate = sample(&mut rng, 0.01 + bounds.error_margin, 0.03 + bounds.refusal_margin);
            guard.observe(Side::Candidate, candidate, now);
            let different = rng.random_bool(bounds.mismatch_rate);
            matches!(guard.observe_comparison(different), Verdict::RollBack(_))
        });
        alarms += u32::from(alarm);
    }
    // 15 are expected of a test that spends all of its 5 %; 30 in 300 would be one chance in thousands.
    assert!(alarms < 30, "{alarms} false alarms in {RAMPS} ramps");
}
