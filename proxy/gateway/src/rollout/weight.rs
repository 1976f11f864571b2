//! The share of keys on the candidate, and the stage it stands for.

use std::fmt;

use serde::{Serialize, Serializer};

use super::bucket::{BUCKETS, Bucket};
use crate::route_table::Sides;

/// A share in basis points: 0 is nobody, 10,000 everybody.
///
/// A key is on the candidate while its bucket is below the weight. So a larger weight takes the
/// keys of every smaller one with it, and raising it never moves a key back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Weight(u16);

/// Why a percentage is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WeightProblem {
    /// Below 0, above 100 or no number.
    #[error("a share is from 0 to 100 percent")]
    OutOfRange,
    /// Finer than a basis point.
    #[error("a share has at most two decimals")]
    TooFine,
}

impl Weight {
    /// Nobody.
    pub const NONE: Self = Self(0);
    /// Everybody.
    pub const ALL: Self = Self(BUCKETS);

    /// Reads a percentage with at most two decimals.
    ///
    /// # Errors
    /// When it is out of range or finer than that.
    pub fn from_percent(percent: f64) -> Result<Self, WeightProblem> {
        if !(0.0..=100.0).contains(&percent) {
            return Err(WeightProblem::OutOfRange);
        }
        let points = percent * 100.0;
        // No decimal fraction but the dyadic ones is exact in binary; 1e-6 points is far above that
        // error and far below the next decimal a person could have meant.
        if (points - points.round()).abs() > 1e-6 {
            return Err(WeightProblem::TooFine);
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in 0..=10,000")]
        Ok(Self(points.round() as u16))
    }

    /// A share in basis points; more than all is all.
    #[must_use]
    pub fn from_points(points: u16) -> Self {
        Self(points.min(BUCKETS))
    }

    /// The share in basis points.
    #[must_use]
    pub fn points(self) -> u16 {
        self.0
    }

    /// The share in percent.
    #[must_use]
    pub fn percent(self) -> f64 {
        f64::from(self.0) / 100.0
    }

    /// Whether the keys in this bucket are on the candidate.
    #[must_use]
    pub fn includes(self, bucket: Bucket) -> bool {
        bucket.get() < self.0
    }

    /// How far a route with these sides has come. One that only the monolith serves is at 100 % when its rows are the
    /// candidate's.
    #[must_use]
    pub fn stage(self, sides: Sides) -> Stage {
        match sides {
            Sides::Legacy(_) if self == Self::ALL => Stage::Candidate,
            Sides::Legacy(_) => Stage::Legacy,
            Sides::Candidate(_) => Stage::Retired,
            Sides::Both { .. } if self == Self::NONE => Stage::Legacy,
            Sides::Both { .. } if self == Self::ALL => Stage::Candidate,
            Sides::Both { .. } => Stage::Canary,
        }
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.percent())
    }
}

impl Serialize for Weight {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.percent())
    }
}

/// How far a route has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Every request goes to legacy.
    Legacy,
    /// Some keys go to the candidate.
    Canary,
    /// Every key goes to the candidate, and legacy stands by.
    Candidate,
    /// There is no legacy side any more.
    Retired,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn percentages_are_read_to_the_basis_point() {
        for (percent, points) in [(0.0, 0), (0.01, 1), (0.29, 29), (10.0, 1_000), (33.33, 3_333), (99.99, 9_999)] {
            assert_eq!(Weight::from_percent(percent), Ok(Weight(points)), "{percent}");
        }
        assert_eq!(Weight::from_percent(100.0), Ok(Weight::ALL));
        for percent in [-0.01, 100.01, f64::NAN, f64::INFINITY] {
            assert_eq!(Weight::from_percent(percent), Err(WeightProblem::OutOfRange), "{percent}");
        }
        for percent in [0.001, 10.005, 99.999] {
            assert_eq!(Weight::from_percent(percent), Err(WeightProblem::TooFine), "{percent}");
        }
    }

    proptest! {
        #[test]
        fn every_weight_survives_its_percentage(points in 0..=BUCKETS) {
            prop_assert_eq!(Weight::from_percent(Weight(points).percent()), Ok(Weight(points)));
        }

        #[test]
        fn a_larger_weight_keeps_every_key(salt in "[a-z]{1,12}", key in ".{0,80}", low in 0..=BUCKETS, high in 0..=BUCKETS) {
            let (low, high) = (low.min(high), low.max(high));
            let bucket = Bucket::of(&salt, &key);
            prop_assert!(!Weight(low).includes(bucket) || Weight(high).includes(bucket));
            prop_assert!(Weight::ALL.includes(bucket) && !Weight::NONE.includes(bucket));
        }

        /// A fair hash misses by two points over 20,000 keys once in 10^8 times.
        #[test]
        fn the_share_is_the_weight(salt in "[a-z]{1,12}", percent in 0..=100_u32) {
            let percent = f64::from(percent);
            let share = share(&salt, percent, 20_000);
            prop_assert!((share - percent).abs() <= 2.0, "{} % of keys at {} %", share, percent);
        }
    }

    #[test]
    fn two_thousand_keys_are_within_three_points() {
        for percent in [0.5, 1.0, 10.0, 25.0, 50.0, 75.0, 90.0, 99.0] {
            let share = share("invoke", percent, 2_000);
            assert!((share - percent).abs() <= 3.0, "{share} % of keys at {percent} %");
        }
    }

    /// The share of this many keys that the weight takes, in percent.
    fn share(salt: &str, percent: f64, keys: u32) -> f64 {
        let weight = Weight::from_percent(percent).expect("a good percentage");
        let taken = (0..keys).filter(|key| weight.includes(Bucket::of(salt, &format!("key-{key}"))));
        taken.count() as f64 * 100.0 / f64::from(keys)
    }
}
