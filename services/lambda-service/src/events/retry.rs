//! How long an event waits for its next attempt: pure but for the dice.

use std::time::Duration;

/// Exponential, with jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RetryPolicy {
    /// What the first wait is drawn around.
    pub(super) first: Duration,
    /// The longest wait.
    pub(super) most: Duration,
}

impl RetryPolicy {
    /// The wait before retry `number` (from 1); `dice` is even in 0..1.
    ///
    /// Half of the bound is certain and half is drawn ("equal jitter": Brooker, "Exponential Backoff And Jitter",
    /// 2015), so that retries neither come at once nor all together.
    pub(super) fn wait(self, number: u32, dice: f64) -> Duration {
        let doublings = number.saturating_sub(1).min(31);
        let bound = self.first.checked_mul(1 << doublings).unwrap_or(self.most).min(self.most);
        bound / 2 + (bound / 2).mul_f64(dice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_are_spread_over_their_second_half() {
        let policy = RetryPolicy { first: Duration::from_secs(1), most: Duration::from_secs(5) };
        for (number, bound_ms) in [(0, 1000), (1, 1000), (2, 2000), (3, 4000), (4, 5000), (40, 5000), (u32::MAX, 5000)]
        {
            assert_eq!(policy.wait(number, 0.0), Duration::from_millis(bound_ms / 2), "{number}");
            assert_eq!(policy.wait(number, 0.5), Duration::from_millis(bound_ms * 3 / 4), "{number}");
            assert!(policy.wait(number, 0.999_999) <= Duration::from_millis(bound_ms), "{number}");
        }
        let long = RetryPolicy { first: Duration::MAX, most: Duration::MAX };
        assert!(long.wait(9, 0.9) <= Duration::MAX);
    }
}
