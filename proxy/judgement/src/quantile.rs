//! A quantile that follows a stream in the memory of two numbers.

/// Robbins and Monro's stochastic approximation (1951), on the logarithm: a step up when an
/// observation is above, a step down when it is not, in the proportion that balances at the quantile.
/// It needs not be exact. A test that uses the value of *before* a pair is valid for any value; a poor
/// one only makes it weaker.
#[derive(Debug, Clone)]
pub(crate) struct RunningQuantile {
    share: f64,
    log_value: Option<f64>,
    seen: u64,
}

/// The largest and the smallest step, as a factor's logarithm. The smallest keeps it following a
/// latency that changes over the day.
const STEPS: (f64, f64) = (0.5, 0.02);

impl RunningQuantile {
    pub(crate) fn new(share: f64) -> Self {
        Self { share, log_value: None, seen: 0 }
    }

    /// The value so far, once there is one.
    pub(crate) fn get(&self) -> Option<f64> {
        self.log_value.map(f64::exp)
    }

    pub(crate) fn observe(&mut self, value: f64) {
        let log = value.max(1e-9).ln();
        self.seen += 1;
        let Some(at) = &mut self.log_value else {
            self.log_value = Some(log);
            return;
        };
        #[expect(clippy::cast_precision_loss, reason = "only its size matters")]
        let step = (STEPS.0 / (self.seen as f64).sqrt()).max(STEPS.1);
        *at += step * if log > *at { self.share } else { self.share - 1.0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_close_and_follows() {
        for share in [0.5, 0.95] {
            let mut quantile = RunningQuantile::new(share);
            for scale in [1.0, 3.0] {
                // A sequence that fills 0..1 evenly.
                for n in 1..=20_000_u32 {
                    quantile.observe(scale * (1.0 + (f64::from(n) * 0.618_033_988_75).fract()));
                }
                let (found, exact) = (quantile.get().expect("seen"), scale * (1.0 + share));
                assert!((found / exact - 1.0).abs() < 0.05, "{found} for {exact}");
            }
        }
    }
}
