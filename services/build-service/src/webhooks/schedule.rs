//! What becomes of a message after an attempt. Pure.

use std::time::Duration;

use crate::store::Outcome;

/// The receiver wants no more of it (Standard Webhooks: "410 Gone").
const GONE: u16 = 410;

/// How often, how long, and how far apart messages are tried.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    /// The bound of the wait before the second attempt.
    pub first: Duration,
    /// The longest bound.
    pub most: Duration,
    /// The most attempts.
    pub max_attempts: i32,
    /// The longest time from when it was first to be sent.
    pub max_age: Duration,
}

impl Schedule {
    /// What becomes of a message that was answered with `status`, or not answered, at its `attempt`th attempt
    /// (from 1), `age` after it was first to be sent. `random` is evenly between 0 and 1.
    pub fn outcome(&self, status: Option<u16>, attempt: i32, age: Duration, random: f64) -> Outcome {
        match status {
            Some(200..=299) => return Outcome::Delivered,
            Some(GONE) => return Outcome::GivenUp,
            _ => {}
        }
        let delay = self.delay(attempt, random);
        if attempt >= self.max_attempts || age + delay > self.max_age {
            Outcome::GivenUp
        } else {
            Outcome::Again(delay)
        }
    }

    /// Half of a bound that doubles, and up to as much again by chance: receivers that come back are not met
    /// by everything at once, and no attempt follows at the heels of the one before.
    fn delay(&self, attempt: i32, random: f64) -> Duration {
        let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or(0).min(31);
        let bound = self.first.saturating_mul(1 << doublings).min(self.most);
        bound.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEDULE: Schedule = Schedule {
        first: Duration::from_secs(4),
        most: Duration::from_secs(60),
        max_attempts: 8,
        max_age: Duration::from_secs(600),
    };

    fn outcome(status: Option<u16>, attempt: i32, age_s: u64) -> Outcome {
        SCHEDULE.outcome(status, attempt, Duration::from_secs(age_s), 0.0)
    }

    #[test]
    fn only_success_is_success_and_only_gone_ends_it_at_once() {
        for status in [200, 202, 204, 299] {
            assert_eq!(outcome(Some(status), 1, 0), Outcome::Delivered);
        }
        assert_eq!(outcome(Some(410), 1, 0), Outcome::GivenUp);
        for status in [None, Some(301), Some(302), Some(400), Some(404), Some(409), Some(429), Some(500), Some(503)] {
            assert_eq!(outcome(status, 1, 0), Outcome::Again(Duration::from_secs(2)), "{status:?}");
        }
    }

    #[test]
    fn waits_double_up_to_the_bound_with_jitter_above_the_half() {
        for (attempt, least_s, most_s) in [(1, 2, 4), (2, 4, 8), (3, 8, 16), (5, 30, 60), (i32::MAX, 30, 60)] {
            assert_eq!(SCHEDULE.delay(attempt, 0.0), Duration::from_secs(least_s));
            assert_eq!(SCHEDULE.delay(attempt, 1.0), Duration::from_secs(most_s));
        }
    }

    #[test]
    fn attempts_and_time_have_an_end() {
        assert_eq!(outcome(Some(500), 8, 0), Outcome::GivenUp);
        assert_eq!(outcome(Some(500), 5, 571), Outcome::GivenUp);
        assert_eq!(outcome(Some(500), 5, 570), Outcome::Again(Duration::from_secs(30)));
    }
}
