//! A bound on bytes a second, shared by all who read.

use std::time::Duration;

use tokio::{sync::Mutex, time::Instant};

/// Hands out time: whoever sends bytes waits until it is their turn.
#[derive(Debug)]
pub(crate) struct Throttle {
    bytes_per_second: Option<u64>,
    free_from: Mutex<Instant>,
}

impl Throttle {
    pub(crate) fn new(bytes_per_second: Option<u64>) -> Self {
        Self { bytes_per_second, free_from: Mutex::new(Instant::now()) }
    }

    /// Waits until `bytes` may be sent. What was not used in the past is not saved up.
    pub(crate) async fn pass(&self, bytes: usize) {
        let Some(rate) = self.bytes_per_second else { return };
        let micros = (bytes as u64).saturating_mul(1_000_000) / rate.max(1);
        let turn = {
            let mut free_from = self.free_from.lock().await;
            let turn = (*free_from).max(Instant::now());
            *free_from = turn + Duration::from_micros(micros);
            turn
        };
        tokio::time::sleep_until(turn).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_rate_is_of_all_together() {
        let throttle = Throttle::new(Some(100_000));
        let begun = Instant::now();
        tokio::join!(throttle.pass(5_000), throttle.pass(5_000), throttle.pass(5_000));
        assert!(begun.elapsed() >= Duration::from_millis(100), "{:?}", begun.elapsed());
        let unlimited = Throttle::new(None);
        unlimited.pass(usize::MAX).await;
    }
}
