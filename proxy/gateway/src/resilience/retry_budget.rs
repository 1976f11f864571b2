use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// Tokens are kept in thousandths.
const TOKEN: i64 = 1_000;

/// How much may be repeated, so that repetitions cannot make an outage worse.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct BudgetSettings {
    /// Repetitions for each request, on average.
    pub(crate) ratio: f64,
    /// Repetitions in a second that are always allowed, for upstreams with few requests.
    pub(crate) min_per_second: u32,
    /// The most that are saved up.
    pub(crate) burst: u32,
}

/// A token bucket that requests fill and repetitions empty, as Finagle's retry budget does: over any
/// time, repetitions are at most `burst + ratio × requests + min_per_second × seconds`.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    settings: BudgetSettings,
    began: Instant,
    tokens: AtomicI64,
    /// When time was last paid in, in milliseconds since the beginning.
    paid_ms: AtomicU64,
}

impl RetryBudget {
    /// A full one.
    pub(crate) fn new(settings: BudgetSettings, now: Instant) -> Self {
        let budget = Self { settings, began: now, tokens: AtomicI64::new(0), paid_ms: AtomicU64::new(0) };
        budget.pay(budget.most());
        budget
    }

    /// Pays in for a request, not for its repetitions.
    pub(crate) fn deposit(&self) {
        #[expect(clippy::cast_possible_truncation, reason = "a ratio is at most a few, so this is some thousands")]
        self.pay((self.settings.ratio * TOKEN as f64) as i64);
    }

    /// Takes the right to one repetition out. `false` when the budget is spent.
    pub(crate) fn withdraw(&self, now: Instant) -> bool {
        self.pay_for_time(now);
        let one_less = |tokens: i64| (tokens >= TOKEN).then_some(tokens - TOKEN);
        self.tokens.fetch_update(Ordering::AcqRel, Ordering::Relaxed, one_less).is_ok()
    }

    fn most(&self) -> i64 {
        i64::from(self.settings.burst) * TOKEN
    }

    fn pay(&self, tokens: i64) {
        let most = self.most();
        // A full bucket, the usual case, is looked at and left alone.
        let more = |have: i64| (have < most).then(|| (have + tokens).min(most));
        let _ = self.tokens.fetch_update(Ordering::AcqRel, Ordering::Relaxed, more);
    }

    fn pay_for_time(&self, now: Instant) {
        let since_began = now.saturating_duration_since(self.began).as_millis();
        let now_ms = u64::try_from(since_began).unwrap_or(u64::MAX);
        // Of all who ask at once, one gets the time that has passed.
        let before_ms = self.paid_ms.fetch_max(now_ms, Ordering::AcqRel);
        let passed = Duration::from_millis(now_ms.saturating_sub(before_ms));
        let tokens = passed.as_millis().saturating_mul(self.settings.min_per_second.into());
        self.pay(i64::try_from(tokens).unwrap_or(i64::MAX / 2));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn time_pays_too() {
        let now = Instant::now();
        let budget = RetryBudget::new(BudgetSettings { ratio: 0.0, min_per_second: 2, burst: 3 }, now);
        let after = |ms| now + Duration::from_millis(ms);
        assert_eq!((0..5).filter(|_| budget.withdraw(now)).count(), 3, "it begins full");
        assert!(!budget.withdraw(after(499)) && budget.withdraw(after(500)) && !budget.withdraw(after(501)));
        assert_eq!((0..9).filter(|_| budget.withdraw(after(60_000))).count(), 3, "and is never more than full");
    }

    proptest! {
        #[test]
        fn it_bounds_how_much_worse_repetitions_make_it(
            ratio in 0.0_f64..1.0,
            burst in 0_u32..20,
            asks in prop::collection::vec(0_u32..5, 1..200),
        ) {
            let now = Instant::now();
            let budget = RetryBudget::new(BudgetSettings { ratio, min_per_second: 0, burst }, now);
            let mut repeated = 0_u32;
            for (requests, asked) in asks.into_iter().enumerate() {
                budget.deposit();
                repeated += u32::try_from((0..asked).filter(|_| budget.withdraw(now)).count()).expect("a few");
                let most = f64::from(burst) + ratio * (requests + 1) as f64;
                prop_assert!(f64::from(repeated) <= most + 1e-9, "{repeated} of {most}");
            }
        }
    }
}
