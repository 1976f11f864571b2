//! Bringing to its end what was accepted, for whoever moves a service's rows to another database.

use std::{future::Future, time::Duration};

use tokio::time::Instant;

/// Where a service is asked for it: between the toolkit and the service, and no part of any contract.
pub const FLUSH_PATH: &str = "/.well-known/strangler/flush";

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// Waits until nothing is left; answers how much is at `deadline`.
///
/// # Errors
/// The first that `count` has.
pub async fn none_left<E, F>(deadline: Instant, mut count: impl FnMut() -> F) -> Result<u64, E>
where
    F: Future<Output = Result<u64, E>>,
{
    loop {
        let left = count().await?;
        if left == 0 || Instant::now() >= deadline {
            return Ok(left);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_waited_for_until_the_deadline() {
        let deadline = Instant::now() + Duration::from_secs(1);
        let mut left = 3;
        let fewer = none_left(deadline, || {
            left -= 1;
            std::future::ready(Ok::<_, ()>(left))
        });
        assert_eq!(fewer.await, Ok(0));
        assert_eq!(none_left(deadline, || std::future::ready(Ok::<_, ()>(7))).await, Ok(7));
        assert!(Instant::now() >= deadline);
        assert_eq!(none_left(deadline, || std::future::ready(Err("away"))).await, Err("away"));
    }
}
