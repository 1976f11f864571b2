use std::future::Future;
use std::panic::Location;
use std::time::Duration;

use tokio::time::Instant;

const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Waits until `condition` answers true, asking more and more rarely. Fails the test, at the caller's
/// line, when it has not within `deadline`.
#[track_caller]
pub fn eventually<F, C>(deadline: Duration, condition: C) -> impl Future<Output = ()>
where
    F: Future<Output = bool>,
    C: FnMut() -> F,
{
    wait(Location::caller(), deadline, condition)
}

async fn wait<F, C>(caller: &'static Location<'static>, deadline: Duration, mut condition: C)
where
    F: Future<Output = bool>,
    C: FnMut() -> F,
{
    let until = Instant::now() + deadline;
    let mut pause = FIRST_PAUSE;
    loop {
        if matches!(tokio::time::timeout_at(until, condition()).await, Ok(true)) {
            return;
        }
        assert!(Instant::now() < until, "the condition at {caller} did not become true within {deadline:?}");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
