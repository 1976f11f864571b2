//! GCRA, the arithmetic that every store shares: how much of a key's quota is used, and whether one
//! more request fits.
//!
//! ITU-T Recommendation I.371, annex A, gives the generic cell rate algorithm in two forms that decide
//! alike. This is the second, the continuous-state leaky bucket: a key has *used* so many requests of
//! its burst, and use drains away at the rate. The first form keeps the one time at which all is
//! drained instead; that time means something else as soon as the rate changes, and rates here change
//! while they are in force. A used request stays a used request.
//!
//! `redis.lua` does the same in the same order with the same IEEE 754 doubles, so both stores decide
//! alike to the last bit; a test drives them with one sequence.

use std::time::Duration;

use super::quota::Quota;

/// Draining leaves rounding errors; a request fits although it is short of this much.
pub(super) const SLACK: f64 = 1e-6;

/// A quota as the arithmetic needs it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Flow {
    /// Requests that drain in a microsecond.
    pub(super) per_us: f64,
    /// Requests that may be used at once.
    pub(super) burst: f64,
}

impl Flow {
    pub(super) fn of(quota: Quota) -> Self {
        let window_us = f64::from(quota.rate.window_s()) * 1e6;
        Self { per_us: f64::from(quota.rate.requests()) / window_us, burst: f64::from(quota.burst.get()) }
    }

    /// One gateway's part, when each of this many has to keep to its own.
    pub(super) fn part_of(self, gateways: u32) -> Self {
        let gateways = f64::from(gateways);
        Self { per_us: self.per_us / gateways, burst: (self.burst / gateways).max(1.0) }
    }

    /// Whether one more request fits on top of these.
    pub(super) fn fits(self, used: f64) -> bool {
        used + 1.0 <= self.burst + SLACK
    }

    /// How many more fit now.
    pub(super) fn remaining(self, used: f64) -> u32 {
        whole(self.burst - used + SLACK)
    }

    /// How long until one more fits.
    pub(super) fn wait(self, used: f64) -> Duration {
        self.drains(used + 1.0 - self.burst - SLACK)
    }

    /// How long until nothing is used.
    pub(super) fn reset(self, used: f64) -> Duration {
        self.drains(used)
    }

    fn drains(self, used: f64) -> Duration {
        let seconds = used.max(0.0) / self.per_us / 1e6;
        // A burst of the largest size at the lowest rate takes some thousand years.
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates, and rounds down")]
fn whole(requests: f64) -> u32 {
    requests as u32
}

/// What a key has used, and when that was so. Times are microseconds of the store's own clock.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Budget {
    used: f64,
    at_us: u64,
}

impl Budget {
    /// What is used now. A clock that goes back drains nothing.
    pub(super) fn used_at(self, now_us: u64, flow: Flow) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "exact for 285 years of microseconds")]
        let elapsed_us = now_us.saturating_sub(self.at_us) as f64;
        let used = self.used - elapsed_us * flow.per_us;
        if used < 0.0 { 0.0 } else { used }
    }

    /// This with so much used now.
    pub(super) fn with_used(self, used: f64, now_us: u64) -> Self {
        Self { used, at_us: self.at_us.max(now_us) }
    }

    /// When nothing will be used any more, rounded up.
    pub(super) fn drained_at_us(self, flow: Flow) -> u64 {
        let drains_us = u64::try_from(flow.reset(self.used).as_micros()).unwrap_or(u64::MAX);
        self.at_us.saturating_add(drains_us).saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU32, time::Duration};

    use governor::{Quota as ReferenceQuota, RateLimiter, clock::FakeRelativeClock};
    use proptest::prelude::*;

    use super::*;

    fn quota(rate: &str, burst: u32) -> Quota {
        Quota::new(rate.parse().expect("a good rate"), Some(burst)).expect("a good burst")
    }

    /// Admits a request if it fits, as a store does.
    fn admit(budget: &mut Budget, now_us: u64, flow: Flow) -> bool {
        let used = budget.used_at(now_us, flow);
        let fits = flow.fits(used);
        if fits {
            *budget = budget.with_used(used + 1.0, now_us);
        }
        fits
    }

    #[test]
    fn a_burst_is_admitted_at_once_and_then_the_rate() {
        let flow = Flow::of(quota("10/s", 3));
        let mut budget = Budget::default();
        let admitted = |budget: &mut Budget, now_us| admit(budget, now_us, flow);
        assert_eq!([(); 4].map(|()| admitted(&mut budget, 5_000_000)), [true, true, true, false]);
        assert_eq!(flow.remaining(budget.used_at(5_000_000, flow)), 0);
        assert_eq!(flow.wait(budget.used_at(5_000_000, flow)).as_millis(), 99, "less than the slack");
        assert!(!admitted(&mut budget, 5_099_990), "a hair too early");
        assert!(admitted(&mut budget, 5_100_000), "a tenth of a second drains one");
        assert!(!admitted(&mut budget, 5_100_000));
        assert_eq!(flow.remaining(budget.used_at(5_300_000, flow)), 2);
        assert_eq!(flow.reset(budget.used_at(5_300_000, flow)).as_millis(), 100);
        assert_eq!(flow.remaining(budget.used_at(60_000_000, flow)), 3, "never more than the burst");
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing_away() {
        let flow = Flow::of(quota("10/s", 1));
        let mut budget = Budget::default();
        assert!(admit(&mut budget, 9_000_000, flow));
        assert!(!admit(&mut budget, 1_000_000, flow));
        assert!(!admit(&mut budget, 9_099_000, flow), "the step back has drained nothing");
        assert!(admit(&mut budget, 9_100_000, flow));
    }

    #[test]
    fn what_is_used_stays_used_when_the_rate_changes() {
        let (slow, fast) = (Flow::of(quota("1/min", 10)), Flow::of(quota("100/s", 10)));
        let mut budget = Budget::default();
        assert!((0..10).all(|_| admit(&mut budget, 1, slow)));
        assert!(!admit(&mut budget, 1, fast));
        assert!(admit(&mut budget, 10_001, fast), "a raised rate drains at once what the old one left");
        let lower = Flow::of(quota("100/s", 2));
        assert!(!admit(&mut budget, 20_001, lower) && admit(&mut budget, 100_001, lower), "down to the smaller burst");
    }

    #[test]
    fn the_slowest_rate_and_the_largest_burst_overflow_nothing() {
        let flow = Flow::of(quota("1/d", 1_000_000));
        let budget = Budget::default().with_used(1e6, 1_700_000_000_000_000);
        assert_eq!(flow.reset(1e6).as_secs(), 86_400_000_000);
        assert_eq!(budget.drained_at_us(flow), 1_700_000_000_000_001 + 86_400_000_000_000_000);
        assert!(!flow.fits(1e6) && flow.fits(1e6 - 1.0));
        let part = Flow::of(quota("1/d", 1)).part_of(1_000);
        assert!(part.fits(0.0), "the smallest part still lets one request through");
    }

    proptest! {
        /// The same requests are admitted by another implementation of GCRA. These rates divide a second
        /// into whole nanoseconds, to which governor rounds.
        #[test]
        fn it_decides_as_governor_does(
            requests in prop::sample::select(&[1_u32, 2, 4, 5, 8, 10, 50, 64, 100, 125, 500, 1_000, 1_250, 2_000][..]),
            burst in 1..50_u32,
            steps_us in prop::collection::vec(prop_oneof![Just(0_u64), 1..2_000_u64, 1..3_000_000_u64], 1..200),
        ) {
            let flow = Flow::of(quota(&format!("{requests}/s"), burst));
            let clock = FakeRelativeClock::default();
            let some = |number| NonZeroU32::new(number).expect("at least one");
            let reference = RateLimiter::direct_with_clock(
                ReferenceQuota::per_second(some(requests)).allow_burst(some(burst)), clock.clone());
            let (mut budget, mut now_us) = (Budget::default(), 0);
            for step in steps_us {
                now_us += step;
                clock.advance(Duration::from_micros(step));
                prop_assert_eq!(admit(&mut budget, now_us, flow), reference.check().is_ok(), "at {} us", now_us);
            }
        }

        /// What the whole algorithm is for.
        #[test]
        fn no_stretch_of_time_admits_more_than_rate_and_burst(
            requests in 1..5_000_u32,
            burst in 1..100_u32,
            steps_us in prop::collection::vec(0..20_000_u64, 1..400),
        ) {
            let flow = Flow::of(quota(&format!("{requests}/s"), burst));
            let (mut budget, mut now_us) = (Budget::default(), 0);
            let mut admitted = Vec::new();
            for step in steps_us {
                now_us += step;
                if admit(&mut budget, now_us, flow) {
                    admitted.push(now_us);
                }
            }
            for (index, from) in admitted.iter().enumerate() {
                for (count, to) in admitted[index..].iter().enumerate() {
                    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
                    let allowed = (to - from) as f64 * flow.per_us + flow.burst;
                    prop_assert!(count as f64 + 1.0 <= allowed + 2.0 * SLACK, "{} in {} us", count + 1, to - from);
                }
            }
        }
    }
}
