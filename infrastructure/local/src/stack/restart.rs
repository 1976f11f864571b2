//! When a part that ended is started again, and when it no longer is.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use layered_config::{HumanDuration, Report, Validate};
use schemars::JsonSchema;
use serde::Deserialize;

/// When a part that ended is started again, and when the stack is given up.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RestartPolicy {
    /// The longest pause before the first restart; it doubles with each further end.
    pub first_delay: HumanDuration,
    /// The pause never grows past this.
    pub longest_delay: HumanDuration,
    /// This many ends of one part within `within` bring the whole stack down.
    pub give_up_after: usize,
    /// Older ends are forgotten.
    pub within: HumanDuration,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            first_delay: HumanDuration::from_millis(200),
            longest_delay: HumanDuration::from_secs(5),
            give_up_after: 8,
            within: HumanDuration::from_secs(60),
        }
    }
}

impl Validate for RestartPolicy {
    fn validate(&self, report: &mut Report) {
        if self.give_up_after == 0 {
            report.problem("give_up_after", "nothing could ever end", "write at least 1");
        }
        if self.longest_delay < self.first_delay {
            report.problem("longest_delay", "it is below `first_delay`", "make it at least as long");
        }
    }
}

/// What to do about an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    RestartAfter(Duration),
    GiveUp,
}

/// The recent ends of one part.
#[derive(Debug, Default)]
pub(super) struct Ends(VecDeque<Instant>);

impl Ends {
    /// How many ends are remembered.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Counts an end at `now`. `random` is in 0..1: the pause is drawn from the whole range, so that
    /// parts that ended together do not come back together.
    pub(super) fn record(&mut self, policy: &RestartPolicy, now: Instant, random: f64) -> Verdict {
        self.0.retain(|end| now.duration_since(*end) < policy.within.get());
        self.0.push_back(now);
        if self.0.len() >= policy.give_up_after {
            return Verdict::GiveUp;
        }
        let doublings = u32::try_from(self.0.len() - 1).unwrap_or(u32::MAX).min(30);
        let longest = policy.first_delay.get().saturating_mul(1 << doublings).min(policy.longest_delay.get());
        Verdict::RestartAfter(longest.mul_f64(random.clamp(0.0, 1.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_their_limit_and_then_it_gives_up() {
        let policy = RestartPolicy { give_up_after: 7, ..RestartPolicy::default() };
        let (mut ends, now) = (Ends::default(), Instant::now());
        let pauses: Vec<_> = (0..6).map(|_| ends.record(&policy, now, 1.0)).collect();
        let expected = [200, 400, 800, 1_600, 3_200, 5_000].map(|ms| Verdict::RestartAfter(Duration::from_millis(ms)));
        assert_eq!(pauses, expected);
        assert_eq!(ends.record(&policy, now, 1.0), Verdict::GiveUp);
    }

    #[test]
    fn old_ends_are_forgotten() {
        let policy = RestartPolicy { give_up_after: 2, ..RestartPolicy::default() };
        let (mut ends, now) = (Ends::default(), Instant::now());
        ends.record(&policy, now, 0.0);
        let later = now + policy.within.get();
        assert_eq!(ends.record(&policy, later, 0.5), Verdict::RestartAfter(Duration::from_millis(100)));
    }
}
