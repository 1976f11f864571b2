//! Waiting between attempts: exponential, with full jitter.

use std::{fmt, future::Future, time::Duration};

use tokio_util::sync::CancellationToken;

/// Delays that double from `first` up to `most`, each drawn evenly between zero and that bound, so
/// that many waiters do not come back at the same moment ("full jitter": Brooker, "Exponential
/// Backoff And Jitter", 2015).
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    bound: Duration,
}

impl Backoff {
    /// Delays of at most `first`, then twice that, and so on up to `most`.
    #[must_use]
    pub const fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, bound: first }
    }

    /// The next delay.
    pub fn next_delay(&mut self) -> Duration {
        let delay = self.bound.mul_f64(rand::random::<f64>());
        self.bound = (self.bound * 2).min(self.most);
        delay
    }

    /// Starts over, after a success.
    pub const fn reset(&mut self) {
        self.bound = self.first;
    }
}

impl Default for Backoff {
    /// From 100 ms to 5 s: for dependencies on the same network.
    fn default() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(5))
    }
}

/// Tries until it succeeds, waiting between attempts; `None` once `shutdown` is cancelled. Each
/// failure is logged with `what` was tried.
pub async fn retry<T, E, F>(
    what: &str,
    mut backoff: Backoff,
    shutdown: &CancellationToken,
    mut attempt: impl FnMut() -> F,
) -> Option<T>
where
    E: fmt::Display,
    F: Future<Output = Result<T, E>>,
{
    shutdown
        .run_until_cancelled(async {
            loop {
                match attempt().await {
                    Ok(value) => return value,
                    Err(error) => {
                        let delay = backoff.next_delay();
                        let retry_in_ms = delay.as_millis();
                        tracing::warn!(what, error = format!("{error:#}"), retry_in_ms, "attempt failed");
                        tokio::time::sleep(delay).await;
                    }
                }
            }
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_the_bound_and_start_over() {
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(35));
        for bound_ms in [10, 20, 35, 35] {
            assert!(backoff.next_delay() <= Duration::from_millis(bound_ms));
        }
        backoff.reset();
        assert!(backoff.next_delay() <= Duration::from_millis(10));
    }

    #[tokio::test(start_paused = true)]
    async fn retrying_ends_with_success_or_shutdown() {
        let shutdown = CancellationToken::new();
        let mut left = 3;
        let done = retry("count", Backoff::default(), &shutdown, || {
            left -= 1;
            std::future::ready(if left == 0 { Ok(7) } else { Err("not yet") })
        });
        assert_eq!(done.await, Some(7));
        shutdown.cancel();
        let never = retry("fail", Backoff::default(), &shutdown, || std::future::ready(Err::<(), _>("no")));
        assert_eq!(never.await, None);
    }
}
