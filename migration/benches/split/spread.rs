//! Times that were measured, from the shortest to the longest.

use std::time::Duration;

/// Sorted, in milliseconds; at least one.
pub struct Spread(Vec<f64>);

impl Spread {
    pub fn of(times: impl IntoIterator<Item = Duration>) -> Self {
        let mut ms: Vec<f64> = times.into_iter().map(|time| time.as_secs_f64() * 1_000.0).collect();
        ms.sort_by(f64::total_cmp);
        Self(ms)
    }

    /// The time that this share of all does not exceed, from 0 to 1; not a number where there is none.
    pub fn at(&self, share: f64) -> f64 {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a place in a list"
        )]
        let place = (self.0.len().saturating_sub(1) as f64 * share).ceil() as usize;
        self.0.get(place).copied().unwrap_or(f64::NAN)
    }
}
