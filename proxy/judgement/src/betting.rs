//! One test: a gambler whose wealth grows while a metric's innocence is false.

/// How many stakes are tried side by side.
const STAKES: usize = 8;

/// What part of the largest possible stake each of them is. The best one depends on how bad the
/// candidate is, which nobody knows; a mixture costs `ln 8` against knowing it.
const PARTS: [f64; STAKES] = [0.002, 0.006, 0.02, 0.06, 0.17, 0.4, 0.7, 0.95];

/// Wealth above this counts as this: it is far beyond any bound.
const MOST: f64 = 1e150;

/// A test of "the mean of what is observed is at most 0, whatever went before", looked at after each
/// observation.
///
/// The wealth is a mixture over stakes, so that no guess about the size of the defect is needed, and
/// over starting points, so that a candidate that was good for a million requests has no credit to
/// lose when it turns bad. Both are averages of supermartingales and so are one themselves. The
/// share of the wealth kept for starting points after the `t`-th observation is `1 / (1 + ln(1 + t))`:
/// it falls so slowly that a defect which begins after a hundred thousand observations is still found
/// after a few more than one that was there from the start.
#[derive(Debug, Clone)]
pub struct EProcess {
    /// The largest stake that can never lose more than everything: one over the largest loss.
    largest_stake: f64,
    /// For each part, the wealth of all that have started.
    started: [f64; STAKES],
    /// The share of those that have not.
    waiting: f64,
    looks: u64,
}

impl EProcess {
    /// A test of observations that are never below minus `largest_loss`, which is above 0.
    #[must_use]
    pub fn new(largest_loss: f64) -> Self {
        Self { largest_stake: 1.0 / largest_loss, started: [0.0; STAKES], waiting: 1.0, looks: 0 }
    }

    /// Takes in the next observation: above 0 speaks against the candidate.
    pub fn observe(&mut self, observation: f64) {
        self.looks += 1;
        #[expect(clippy::cast_precision_loss, reason = "no test lasts for 2^53 requests")]
        let waiting = 1.0 / (1.0 + (1.0 + self.looks as f64).ln());
        let starting = self.waiting - waiting;
        self.waiting = waiting;
        for (started, part) in self.started.iter_mut().zip(PARTS) {
            let gain = 1.0 + part * self.largest_stake * observation;
            *started = ((*started + starting) * gain.max(0.0)).min(MOST);
        }
    }

    /// The wealth: at 1 nothing is known, at `1 / alpha` innocence is refused at that level.
    #[must_use]
    pub fn e_value(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a handful")]
        let mean = self.started.iter().sum::<f64>() / STAKES as f64;
        self.waiting + mean
    }

    /// How many observations were taken in.
    #[must_use]
    pub fn looks(&self) -> u64 {
        self.looks
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_is_known_at_the_start() {
        assert!((EProcess::new(1.0).e_value() - 1.0).abs() < 1e-12);
    }

    /// The mean over all outcomes of a fair game is what the wealth was before it.
    #[test]
    fn a_fair_game_wins_nothing_on_average() {
        fn mean(process: &EProcess, rounds: u32) -> f64 {
            if rounds == 0 {
                return process.e_value();
            }
            let after = |observation| {
                let mut next = process.clone();
                next.observe(observation);
                mean(&next, rounds - 1)
            };
            // Innocent to the edge: 0.9 with one in ten, otherwise -0.1.
            0.1 * after(0.9) + 0.9 * after(-0.1)
        }
        let fair = mean(&EProcess::new(0.1), 12);
        assert!((fair - 1.0).abs() < 1e-9, "{fair}");
    }

    #[test]
    fn a_late_defect_is_found_nearly_as_soon_as_an_early_one() {
        let until = |good: u32| {
            let mut process = EProcess::new(0.2);
            (0..good).for_each(|_| process.observe(-0.2));
            (1..).find(|_| {
                process.observe(0.8);
                process.e_value() >= 600.0
            })
        };
        let (early, late) = (until(0), until(100_000));
        assert!(early <= Some(8) && late <= Some(18), "{early:?} {late:?}");
    }

    proptest! {
        #[test]
        fn wealth_is_never_negative_and_always_a_number(observations in prop::collection::vec(-1.0..=1.0_f64, 0..400)) {
            let mut process = EProcess::new(1.0);
            for observation in observations {
                process.observe(observation);
                prop_assert!(process.e_value().is_finite() && process.e_value() >= 0.0);
            }
        }
    }
}
